"""Which jobs a dataset serves, also through the parts that were split off it."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from tests import makers

pytestmark = pytest.mark.django_db


def test_a_job_that_trains_on_a_split_counts_for_the_whole_file(owner_client: Client, project: Project) -> None:
    whole = makers.make_file(project, "whole.jsonl")
    train, valid = (makers.make_file(project, f"whole-{part}.jsonl", parent=whole) for part in ("train", "valid"))
    makers.make_job(project, training_file=train, validation_file=valid, label="On the split")
    page = owner_client.get(reverse("dataset", args=[whole.pk]) + "?tab=used").text
    assert page.count("On the split") == 2 and "No job yet" not in page  # under each part
    listed = owner_client.get(reverse("datasets")).text
    assert "1 of them through a part that was split off" in listed


def test_the_result_file_of_a_job_is_no_part(owner_client: Client, project: Project) -> None:
    whole = makers.make_file(project, "whole.jsonl")
    makers.make_file(project, "step_metrics.csv", parent=whole, purpose="fine-tune-results")
    assert "step_metrics.csv" not in owner_client.get(reverse("dataset", args=[whole.pk])).text
