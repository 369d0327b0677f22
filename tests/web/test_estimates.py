"""What a job is expected to take, on the form; and beside what came, on its page."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard.templatetags import figures
from tests import makers
from training import standing
from training.engine.spec import Estimate, Measured, Price, SecondsParts
from training.models import TrainingJob

pytestmark = pytest.mark.django_db


@pytest.fixture
def card(owner_client: Client, project: Project):
    makers.make_base_model()
    file = makers.make_file(project)
    data = {"model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora"}
    return lambda: owner_client.post(reverse("estimate-job"), data).text


def test_the_card_says_that_nothing_has_calibrated_it_and_shows_no_price(card) -> None:
    shown = card()
    assert "not yet calibrated on this machine" in shown and "Cost" not in shown
    assert "Memory for" in shown and "logits" in shown


def test_the_card_shows_the_cost_where_a_price_is_set(card, settings) -> None:
    settings.HONE_PRICE_MILLION_TOKENS, settings.HONE_PRICE_CURRENCY = 1000, "€"
    assert "€14.40" in card()  # 4,800 tokens, 3 epochs, €1,000 a million


def test_the_card_counts_the_finished_jobs_that_calibrate_it(card, project: Project) -> None:
    from training import devices

    parts = SecondsParts(start=5, training=5, rest=5)
    measured = Measured(seconds=15, parts=parts, memory_bytes=10**9, disk_bytes=1).model_dump()
    job = makers.make_job(project, status="succeeded", steps=40, measured_json=measured)
    job.resolved_json |= {"dtype": "bfloat16" if devices.device_facts().bfloat16 else "float32"}
    job.estimate_json |= {"device": devices.device_facts().name}
    job.save()
    assert "calibrated by 1 finished job" in card()


def test_the_job_page_sets_the_estimate_beside_what_came(owner_client: Client, project: Project) -> None:
    parts = SecondsParts(start=10, training=200, rest=190)
    job = makers.make_job(project, status="succeeded", steps=40)
    expected = Estimate.model_validate(job.estimate_json)
    expected = expected.model_copy(update={"seconds_parts": parts, "calibrated_by": 3, "price": Price(device_hour=9)})
    came = SecondsParts(start=20, training=100, rest=180)
    measured = Measured(seconds=300, parts=came, memory_bytes=850_000_000, disk_bytes=88_000_000)
    job.estimate_json, job.measured_json = expected.model_dump(), measured.model_dump()
    job.save()
    page = owner_client.get(reverse("job", args=[job.pk]), {"tab": "estimate"}).text
    for words in (
        "until the first step",
        "+100 %",
        "-50 %",
        "-25 %",
        "calibrated by 3 finished jobs",
        "$1.00",
        "$0.75",
    ):
        assert words in page, words


@pytest.mark.parametrize("status", ["cancelled", "failed", "succeeded"])
def test_a_run_that_ended_before_its_last_step_is_not_held_against_the_whole_estimate(
    owner_client: Client, project: Project, status: str
) -> None:
    job = makers.make_job(project, status=status, steps=11, total_steps=30, trained_tokens=3_000)
    page = owner_client.get(reverse("job", args=[job.pk]), {"tab": "estimate"})
    found = {line["label"]: line for line in page.context["comparison"]}
    for label in ("Steps", "Tokens through the model", "Tokens trained on", "Time", "Disk"):
        assert found[label]["ratio"] == figures.DASH, label
    assert (found["Steps"]["came"], found["Tokens trained on"]["came"]) == ("11", "3,000")
    assert found["Memory"]["ratio"].endswith("%")
    assert "The job ended at step 11 of 30, and the estimate is of the whole run" in page.text


def test_a_checkpoint_saved_on_demand_is_not_held_against_the_estimated_disk(
    owner_client: Client, project: Project
) -> None:
    measured = Measured(seconds=300, memory_bytes=1, disk_bytes=80_000_000 + 5_000).model_dump()
    job = makers.make_job(project, status="succeeded", steps=40, measured_json=measured)
    on_demand = makers.make_checkpoint(job, step=15, epoch=2)
    on_demand.path.mkdir(parents=True)
    (on_demand.path / "adapter_model.safetensors").write_bytes(bytes(5_000))
    lines = owner_client.get(reverse("job", args=[job.pk]), {"tab": "estimate"}).context["comparison"]
    disk, beside = (next(line for line in lines if word in line["label"]) for word in ("Disk", "saved between"))
    assert (disk["came"], disk["ratio"]) == ("80 MB", "0 %")
    assert (beside["label"], beside["came"]) == ("1 checkpoint saved between, not estimated", "5 kB")


def test_the_time_that_came_leaves_out_a_pause_and_the_queue_after_it(owner_client: Client, project: Project) -> None:
    job = makers.make_job(project, status="succeeded", steps=40)
    said = (
        "Fine-tuning job paused after step 3",
        "Fine-tuning job resumed, moving job to queued state",
        standing.GOES_ON,
    )
    makers.add_events(job, *said)
    address = reverse("job", args=[job.pk])
    assert job.started_at
    TrainingJob.objects.filter(pk=job.pk).update(finished_at=job.started_at + timedelta(minutes=20))
    for event, minutes in zip(job.events.order_by("pk"), (1, 5, 11), strict=True):
        job.events.filter(pk=event.pk).update(created_at=job.started_at + timedelta(minutes=minutes))
    page = owner_client.get(address, {"tab": "estimate"})
    assert "leaves out a pause of 4 min 00 s and 6 min 00 s in the queue after that" in page.text
    assert next(line for line in page.context["comparison"] if line["label"] == "Time")["came"] == "10 min 00 s"
    job.events.all().delete()
    assert "leaves out" not in owner_client.get(address, {"tab": "estimate"}).text
