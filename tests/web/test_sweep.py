"""Several values in a box of the form make a job for each, compared on one page."""

from typing import Any

import pytest
from django.urls import reverse

from accounts.models import Project
from tests import makers
from training.models import DatasetFile, TrainingJob

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]


@pytest.fixture
def filled(project: Project) -> dict[str, Any]:
    makers.make_base_model()
    file = makers.make_file(project)
    return {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora", "seed": "7"}


def test_two_lists_make_a_job_for_each_pair_and_lead_to_their_comparison(owner_client, project, filled) -> None:
    asked = filled | {"learning_rate_multiplier": "0.5; 1 ;1", "lora_r": "8;16", "label": "Tickets"}
    answer = owner_client.post(reverse("new-job"), asked)
    jobs = list(TrainingJob.objects.order_by("created_at", "id"))
    assert answer.status_code == 302 and answer.url == f"{reverse('compare-jobs')}?ids={','.join(j.pk for j in jobs)}"
    numbers = [(job.recipe.learning_rate_multiplier, job.recipe.lora_r) for job in jobs]
    assert numbers == [(0.5, 8), (0.5, 16), (1.0, 8), (1.0, 16)]
    assert len({job.sweep for job in jobs}) == 1 and {job.seed for job in jobs} == {7}
    assert jobs[0].label == "Tickets: learning rate multiplier 0.5, LoRA rank 8"
    page = owner_client.get(answer.url).text
    assert "Compare 4 jobs" in page and "LoRA rank" in page
    assert "One of 4 jobs of a sweep." in owner_client.get(reverse("job", args=[jobs[0].pk])).text


def test_a_split_is_made_once_for_the_whole_sweep(owner_client, project, filled) -> None:
    split = {"validation": "split", "split_share": "20", "split_seed": "0", "n_epochs": "1;2;3"}
    owner_client.post(reverse("new-job"), filled | split)
    assert TrainingJob.objects.count() == 3
    assert len(set(TrainingJob.objects.values_list("training_file", "validation_file"))) == 1
    assert DatasetFile.objects.count() == 3, "the file and its two parts"


def test_one_value_that_cannot_be_makes_no_job_at_all(owner_client, filled) -> None:
    page = owner_client.post(reverse("new-job"), filled | {"lora_r": "8; 0"})
    assert page.status_code == 400 and not TrainingJob.objects.exists()
    assert "You entered 0." in page.text and 'value="8; 0"' in page.text, "the box still holds what was typed"


def test_more_jobs_than_one_page_compares_are_refused(owner_client, filled) -> None:
    asked = filled | {"lora_r": "1;2;3;4", "n_epochs": "1;2;3"}
    page = owner_client.post(reverse("new-job"), asked)
    assert page.status_code == 400 and "These lists make 12 jobs; a sweep has at most 10." in page.text
    assert "a sweep has at most 10" in owner_client.post(reverse("estimate-job"), asked).text
    assert not TrainingJob.objects.exists()


def test_the_card_counts_the_jobs_and_adds_their_times(owner_client, filled) -> None:
    card = owner_client.post(reverse("estimate-job"), filled | {"n_epochs": "1; 2"}).text
    assert "A sweep of 2 jobs" in card
    assert "Create 2 jobs" in card and "This is the first of the 2 jobs" in card, "the code is one job's"
    one = owner_client.post(reverse("estimate-job"), filled | {"n_epochs": "2;"}).text
    assert "A sweep of" not in one and "Create job<" in one and "This is the first" not in one


def test_only_a_separator_is_an_empty_box(owner_client, filled) -> None:
    owner_client.post(reverse("new-job"), filled | {"n_epochs": " ; "})
    assert TrainingJob.objects.get().recipe.n_epochs == "auto"
