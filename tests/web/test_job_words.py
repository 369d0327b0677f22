"""What the pages say of a job: its place in the queue, its parent, the file or the field that is at fault."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from tests import makers
from training.engine.spec import Recipe
from training.models import TrainingJob

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]


def test_every_page_gives_a_job_the_same_place_in_the_queue(owner_client: Client, project: Project) -> None:
    makers.make_job(project, steps=8, label="Runs")
    waiting = [makers.make_job(project, status="queued", label=f"Waits {n}") for n in (1, 2)]
    for n, job in enumerate(waiting):
        TrainingJob.objects.filter(pk=job.pk).update(queued_at=timezone.now() + timedelta(seconds=n))
    for address in (reverse("jobs"), reverse("overview")):
        page = owner_client.get(address).text
        assert page.count("Next in the queue") == 1 and page.count("Number 2 in the queue") == 1, address
    assert ">Number 2 in the queue<" in owner_client.get(reverse("job", args=[waiting[1].pk])).text
    assert "queue <b>2</b>" in owner_client.get(reverse("device")).text
    assert "2 jobs before it in the queue, and one trains now." in owner_client.get(reverse("new-job")).text


def test_a_new_job_is_told_that_it_starts_at_once_or_is_next(owner_client: Client, project: Project) -> None:
    makers.make_file(project)
    assert "it starts at once" in owner_client.get(reverse("new-job")).text
    makers.make_job(project, steps=8)
    assert "A job trains now; this one is next." in owner_client.get(reverse("new-job")).text


def test_the_head_of_a_rerun_names_its_parent_and_what_changed(owner_client: Client, project: Project) -> None:
    parent = makers.make_job(project, status="succeeded", steps=8, label="Parent")
    child = makers.make_job(project, steps=8, parent=parent, recipe=Recipe(n_epochs=9), label="Child")
    twin = makers.make_job(project, steps=8, parent=parent, label="Twin")
    head = head_of(owner_client, child)
    assert "Rerun of" in head and "Parent" in head and "epochs" in head and "auto → 9" in head
    assert f"{reverse('compare-jobs')}?ids={parent.pk},{child.pk}" in head
    assert "with the same configuration" in head_of(owner_client, twin)
    assert "Rerun of" not in head_of(owner_client, parent)


def test_a_job_that_failed_for_its_data_leads_to_the_dataset(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project, "broken.jsonl")
    failed = {"status": "failed", "error_message": "Line 3 is not JSON.", "training_file": file}
    job = makers.make_job(project, error_param="training_file", **failed)
    assert f'href="{reverse("dataset", args=[file.pk])}#problems"' in head_of(owner_client, job)
    other = makers.make_job(project, error_param="lora_r", **failed)
    assert "See what is wrong" not in head_of(owner_client, other)
    file.delete()
    assert owner_client.get(reverse("job", args=[job.pk])).status_code == 200


def head_of(client: Client, job: TrainingJob) -> str:
    return client.get(reverse("job", args=[job.pk]) + "?part=header", headers={"HX-Request": "true"}).text


def test_a_refused_form_names_each_field_and_leads_to_it(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project)
    makers.make_base_model()
    data = {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"}
    answer = owner_client.post(reverse("new-job"), data | {"n_epochs": "99", "suffix": "a:b", "adaptation": "magic"})
    assert answer.status_code == 400
    assert "3 fields are not right" in answer.text
    for place, label in (("id_n_epochs", "Epochs"), ("id_suffix", "Suffix"), ("field-adaptation", "Weights")):
        assert f'<a href="#{place}">{label}</a>' in answer.text
        assert f'id="{place}"' in answer.text


def test_a_field_that_a_later_check_refuses_is_named_too(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project, rows=4)
    makers.make_base_model()
    data = {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"}
    answer = owner_client.post(reverse("new-job"), data)
    assert '<a href="#id_training_file">Training file</a>: tickets.jsonl has 4 rows' in answer.text
