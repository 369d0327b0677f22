"""What the pages say of a job: its place in the queue, its parent, the file or the field that is at fault."""

import math
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from dashboard import curves
from dashboard.templatetags import figures
from tests import makers
from training import checks
from training.engine.spec import Recipe
from training.models import JobEvent, TrainingJob
from training.unjudged import unjudged_because

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
    file = makers.make_file(project, "broken.jsonl", status="error", status_details="Line 3 is not JSON.")
    failed = {"status": "failed", "error_message": "Line 3 is not JSON.", "training_file": file}
    job = makers.make_job(project, error_param="training_file", **failed)
    assert f'href="{reverse("dataset", args=[file.pk])}#problems"' in head_of(owner_client, job)
    assert "Rerun as" not in head_of(owner_client, job)
    other = makers.make_job(project, error_param="lora_r", **failed)
    assert "See what is wrong" not in head_of(owner_client, other)
    file.delete()
    assert owner_client.get(reverse("job", args=[job.pk])).status_code == 200


def test_a_job_that_failed_for_its_method_leads_to_the_other_one_and_calls_no_file_wrong(
    owner_client: Client, project: Project
) -> None:
    pairs = makers.make_file(project, "pairs.jsonl", format="preference")
    reason = checks.refusal(pairs, method="sft")
    assert reason
    job = makers.make_job(
        project, status="failed", error_message=reason.message, error_param=reason.param, training_file=pairs
    )
    head = head_of(owner_client, job)
    assert "See what is wrong" not in head and "#problems" not in head and "Look at pairs.jsonl" in head
    assert "Rerun as DPO" in head
    form = owner_client.get(reverse("new-job") + f"?from={job.pk}&method=dpo").context["form"]
    assert form["method"].value() == "dpo" and form["training_file"].value() == pairs.pk


def head_of(client: Client, job: TrainingJob) -> str:
    return client.get(reverse("job", args=[job.pk]) + "?part=header", headers={"HX-Request": "true"}).text


def test_a_refused_form_names_each_field_and_leads_to_it(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project)
    makers.make_base_model()
    data = {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"}
    answer = owner_client.post(reverse("new-job"), data | {"n_epochs": "99", "suffix": "a:b", "adaptation": "magic"})
    assert answer.status_code == 400
    assert "3 things are not right" in answer.text
    for place, label in (("id_n_epochs", "Epochs"), ("id_suffix", "Suffix"), ("field-adaptation", "Weights")):
        assert f'<a href="#{place}">{label}</a>' in answer.text
        assert f'id="{place}"' in answer.text


def test_a_field_that_a_later_check_refuses_is_named_too(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project, rows=4)
    makers.make_base_model()
    data = {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"}
    answer = owner_client.post(reverse("new-job"), data)
    assert '<a href="#id_training_file">Training file</a>: tickets.jsonl has 4 rows' in answer.text


def test_a_job_that_goes_on_says_so_until_it_trains_again(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, steps=8, status_text="Starting")
    for phase in ("", "tokenizing", "loading"):
        TrainingJob.objects.filter(pk=job.pk).update(phase=phase)
        assert 'id="headline">Resuming from step 8<' in head_of(owner_client, job)
    TrainingJob.objects.filter(pk=job.pk).update(phase="training")
    assert "Resuming" not in head_of(owner_client, job)


def test_the_time_taken_leaves_pauses_and_the_queue_out_and_counts_up_only_while_it_runs(
    owner_client: Client, project: Project
) -> None:
    job = makers.make_job(project, steps=8, status="paused")
    began = timezone.now() - timedelta(hours=5)
    created = began - timedelta(hours=5)
    TrainingJob.objects.filter(pk=job.pk).update(started_at=began, created_at=created)
    told = {
        "Files validated, moving job to queued state": -3,
        "Fine-tuning job paused after step 8": 1,
        "Fine-tuning job resumed, moving job to queued state": 2,
        "Fine-tuning job goes on": 4,
    }
    for words, hours in told.items():
        JobEvent.objects.create(job=job, created_at=began + timedelta(hours=hours), message=words)
        if hours == 1:
            head = head_of(owner_client, job)
            assert ">1 h 00 min<" in head and "data-ticks-since" not in head
            assert "without 4 h 00 min paused, after 3 h 00 min in the queue" in head
    TrainingJob.objects.filter(pk=job.pk).update(status="running")
    head = head_of(owner_client, job)
    assert ">2 h 00 min<" in head
    assert "without 1 h 00 min paused and 2 h 00 min in the queue again, after 3 h 00 min in the queue" in head
    assert f'data-ticks-since="{(began + timedelta(hours=3)).isoformat()}"' in head


def test_a_checkpoint_says_that_its_download_is_smaller_than_it_is_on_disk(
    owner_client: Client, project: Project
) -> None:
    job = makers.make_job(project, steps=20)
    job.checkpoints.update(size_bytes=72_300_000)
    page = owner_client.get(reverse("job", args=[job.pk])).text
    assert "72.3 MB" in page and "A download holds the weights alone" in page and ", weights only)" in page


def test_a_job_that_never_waited_says_nothing_of_it(owner_client: Client, project: Project) -> None:
    head = head_of(owner_client, makers.make_job(project, steps=8))
    assert "Time taken" in head and "figure__note" not in head


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (15, "saved on the way, between the validations at steps 10 and 20"),
        (3, "saved on the way, before the first validation at step 10"),
    ],
)
def test_a_checkpoint_saved_on_the_way_says_why_it_has_no_validation_loss(
    owner_client: Client, project: Project, step: int, why: str
) -> None:
    file = makers.make_file(project, "valid.jsonl")
    job = makers.make_job(project, steps=20, validation_file=file)  # 40 steps, 10 an epoch
    saved = makers.make_checkpoint(job, step=step, epoch=2)
    assert f"Not validated: {why}" in owner_client.get(reverse("job", args=[job.pk])).text
    assert owner_client.get(reverse("job", args=[job.pk])).text.count("Not validated") == 1, "the others were judged"
    assert f"Not validated: {why}" in owner_client.get(reverse("playground") + f"?models={saved.name}").text


def test_without_a_validation_file_no_checkpoint_repeats_that_nothing_was_validated(
    owner_client: Client, project: Project
) -> None:
    job = makers.make_job(project, steps=20)
    job.checkpoints.update(full_valid_loss=None)
    assert "Not validated" not in owner_client.get(reverse("job", args=[job.pk])).text


def test_why_a_checkpoint_was_not_validated_knows_other_rhythms_the_end_and_no_file(project: Project) -> None:
    job = makers.make_job(project, steps=20, status="cancelled", validation_file=makers.make_file(project))
    assert unjudged_because(makers.make_checkpoint(job, step=18)).endswith("steps 10 and 20")
    assert unjudged_because(makers.make_checkpoint(job, step=23)) == "saved after the last validation at step 20"
    job.resolved_json |= {"validate_every_steps": 4}
    assert unjudged_because(makers.make_checkpoint(job, step=15)).endswith("steps 12 and 16")
    job.validation_file_name = ""
    assert unjudged_because(makers.make_checkpoint(job, step=16)) == "the job has no validation file"


def test_the_validation_rows_tab_says_when_its_first_rows_come(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project, "valid.jsonl")
    for every, said in ((3, "after step 3."), (0, "at the end of the first epoch."), (10, "at the end of the first")):
        job = makers.make_job(project, validation_file=file)  # 40 steps, 10 an epoch
        resolved = job.resolved_json | {"validate_every_steps": every}
        TrainingJob.objects.filter(pk=job.pk).update(resolved_json=resolved)
        assert said in owner_client.get(reverse("job", args=[job.pk]) + "?tab=rows").text


def test_the_weights_before_a_step_that_stopped_the_job_are_listed_with_why(
    owner_client: Client, project: Project
) -> None:
    valid = makers.make_file(project, "valid.jsonl")
    job = makers.make_job(project, steps=12, total_steps=40, status="failed", validation_file=valid)
    TrainingJob.objects.filter(pk=job.pk).update(error_code="loss_spike", error_message="The training loss rose.")
    makers.make_checkpoint(job, step=12, epoch=2)
    page = owner_client.get(reverse("job", args=[job.pk])).text
    assert page.count("The weights with which the training loss jumped in step 13, which was not done") == 1
    assert "Not validated: saved when the job stopped itself" in page
    TrainingJob.objects.filter(pk=job.pk).update(error_code="non_finite_loss")
    assert "with which the loss became no number in step 13" in owner_client.get(reverse("job", args=[job.pk])).text
    TrainingJob.objects.filter(pk=job.pk).update(error_code="out_of_memory")
    assert "which was not done" not in owner_client.get(reverse("job", args=[job.pk])).text


def test_a_curve_rounds_to_the_figure_that_the_page_shows() -> None:
    """2.52250332 as 2.5225 would be 2.522 with four digits, and 2.523 in the table beside it."""
    sent = curves.short({"train_loss": 2.52250332, "valid_loss": 1.23456789, "none": math.nan, "step": 3})
    assert sent == {"train_loss": 2.52250332, "valid_loss": 1.23457, "none": None, "step": 3}
    assert figures.loss(sent["train_loss"]) == figures.loss(2.52250332) == "2.523"
