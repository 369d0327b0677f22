"""Between the start of a job and its first step the page says what happens, how far it is, and what it waits for."""

import os
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from dashboard import preparing
from playground.models import Deployment
from tests import makers
from tests.web.test_new_job import HTMX, filled
from training import devices, preparation
from training.engine.spec import Estimate, Phase, Recipe, SecondsParts, Started, Step
from training.models import TrainingJob
from training.recording import record_events

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present", "quiet_cpu")]
STARTED = {name: value for name, value in makers.STARTED.items() if name != "time"} | {
    "total_steps": 40,
    "steps_per_epoch": 10,
}


@pytest.fixture
def quiet_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, and whatever else this machine does does not count."""
    monkeypatch.setattr(devices, "all_gpus", list)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.5, 0.5, 0.5))


def head_of(client: Client, job: TrainingJob) -> str:
    page = client.get(reverse("job", args=[job.pk]) + "?part=header", headers={"HX-Request": "true"}).text
    return re.sub(r"\s+", " ", page)


def just_started(project: Project, **columns: object) -> TrainingJob:
    """As the supervisor leaves it before the trainer says a word, at unix time 1000."""
    job = makers.make_job(project, **columns)
    job.started_json, job.phase, job.preparation = None, preparation.STARTING, preparation.begun(1000.0)
    job.save()
    return job


def told(job: TrainingJob, *events: object) -> TrainingJob:
    record_events(job, events)
    return TrainingJob.objects.get(pk=job.pk)


def parts(job: TrainingJob) -> list[tuple[str, str]]:
    found = preparing.preparing(job)
    return [(part.words, part.state) for part in found.parts] if found else []


def test_each_phase_is_shown_with_its_progress_and_the_time_of_those_before(
    owner_client: Client, project: Project
) -> None:
    job = just_started(project)
    assert [state for _, state in parts(job)] == ["now", "next", "next", "next"]
    rows = [Phase(time=1007.0 + n, phase="tokenizing", done=40 * n, total=120) for n in range(3)]
    job = told(job, *rows)
    head = head_of(owner_client, job)
    assert 'Start the trainer</span> <span class="muted tabular nowrap">7 s<' in head
    assert "80 of 120 rows,</span>" in head and '<progress max="120" value="80"' in head
    job = told(job, Phase(time=1010.0, phase="loading"))
    assert parts(job) == [
        ("Start the trainer", "done"),
        ("Read and tokenize the rows", "done"),
        ("Load tiny (1 M parameters)", "now"),
        ("First step, 4 rows", "next"),
    ]
    assert 'Read and tokenize the rows</span> <span class="muted tabular nowrap">3 s<' in head_of(owner_client, job)


def test_the_first_step_is_told_pass_by_pass_and_then_the_list_goes(owner_client: Client, project: Project) -> None:
    job = just_started(project)
    phases = [Phase(time=1001.0 + n, phase=name) for n, name in enumerate(("tokenizing", "loading"))]
    job = told(job, *phases, Started(time=1004.0, **STARTED), Phase(time=1004.0, phase="training"))
    assert 'id="headline">Training: the first step<' in head_of(owner_client, job)
    job = told(job, Phase(time=1006.0, phase="training", done=3, total=4))
    head = head_of(owner_client, job)
    assert ">First step<" in head and "First step, 4 rows" not in head, "its rows are counted once"
    assert "3 of 4 rows" in head and "The first step: 3 of 4" in head
    step = Step(
        time=1008.0, step=1, epoch=0.1, train_loss=2.0, train_accuracy=0.1, learning_rate=1e-3, grad_norm=1.0,
        trained_tokens=80, tokens_per_second=100.0, memory_bytes=1,
    )  # fmt: skip
    job = told(job, step)
    assert not parts(job) and "now__parts" not in head_of(owner_client, job)
    job = told(job, Phase(time=1020.0, phase="validating", done=1, total=4), Phase(time=1021.0, phase="training"))
    assert not parts(job), "later phases are no start"


def test_a_resumed_job_shows_its_own_start_and_preferences_their_reference(project: Project) -> None:
    job = just_started(project, steps=8, recipe=Recipe(method="dpo"))
    assert [words for words, _ in parts(job)][4] == "First step, 4 pairs"
    assert [words for words, _ in parts(job)][3] == "Judge every pair with the weights it starts from"
    job.started_json = dict(makers.STARTED, resumed_step=8)
    job.phase = "training"
    assert preparing.is_preparing(job)
    job.step = 9
    assert not preparing.is_preparing(job)


def test_the_expected_time_to_the_first_step_comes_from_the_estimate(owner_client: Client, project: Project) -> None:
    job = just_started(project)
    assert "expected" not in head_of(owner_client, job)
    estimate = Estimate.model_validate(job.estimate_json)
    estimate.seconds_parts = SecondsParts(start=22.0, training=400.0, rest=10.0)
    TrainingJob.objects.filter(pk=job.pk).update(estimate_json=estimate.model_dump(mode="json"))
    assert "about 32 s expected" in head_of(owner_client, job), "22 s, and one of 40 steps"


def test_a_queued_job_says_behind_what_it_waits_and_for_how_long(owner_client: Client, project: Project) -> None:
    runs = makers.make_job(project, steps=10, label="Runs")
    finish = timezone.now() + timedelta(seconds=100.5)
    TrainingJob.objects.filter(pk=runs.pk).update(estimated_finish_at=finish)
    ahead = makers.make_job(Project.objects.create(name="Elsewhere"), status="queued", label="Their secret")
    job = makers.make_job(project, status="queued")
    TrainingJob.objects.filter(pk=job.pk).update(queued_at=ahead.queued_at + timedelta(seconds=1))
    head = head_of(owner_client, job)
    assert "It waits behind Runs (step 10 of 40) and a job of another project." in head
    assert re.search(r"Its turn comes in about <b>8 min (19|20) s</b>", head), "100 s of one, 400 s of the other"
    assert "Their secret" not in head


def test_with_nothing_before_it_a_queued_job_is_taken_in_a_moment(owner_client: Client, project: Project) -> None:
    head = head_of(owner_client, makers.make_job(project, status="queued"))
    assert "Nothing is before it" in head and "Its turn" not in head


def test_a_job_whose_files_are_checked_says_how_far_that_is(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project, "big.jsonl", status="uploaded", check_share=0.42)
    job = makers.make_job(project, status="validating_files", training_file=file)
    assert "big.jsonl (42.0 %)" in head_of(owner_client, job)
    file.status = "processed"
    file.save()
    assert "Its tokens are counted" in head_of(owner_client, job)


def test_a_busy_machine_says_what_takes_the_time(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    job = just_started(project)
    assert "This machine is busy" not in head_of(owner_client, job)
    makers.make_job(project, steps=10, label="Other")
    base = job.base_model
    Deployment.objects.create(base_model=base, state="ready", wanted=True, used_at=timezone.now())
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 1.0, 1.0))
    head = head_of(owner_client, job)
    assert "Other (step 10 of 40) trains beside it, vLLM serves 1 model on the same device and 1000 processes" in head


def test_the_card_of_a_new_job_says_what_takes_time_now_and_names_no_job_that_it_would_wait_for(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = filled(project)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    makers.make_job(project, steps=10, label="Other")
    monkeypatch.setattr(preparing.launcher, "slots", lambda: [0])

    def card() -> str:
        return owner_client.post(reverse("estimate-job"), asked, headers=HTMX).text

    assert "What it takes" in card() and "This machine is busy" not in card(), "the new job waits for the other one"
    monkeypatch.setattr(preparing.launcher, "slots", lambda: [0, 1])
    assert "This machine is busy now: Other (step 10 of 40) trains now. While that lasts" in card()
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 1.0, 1.0))
    assert "Other (step 10 of 40) trains now and 1000 processes want its" in card()


def test_a_model_that_nobody_asks_anything_keeps_nobody_busy(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    job = just_started(project)
    long_ago = timezone.now() - timedelta(hours=1)
    Deployment.objects.create(base_model=job.base_model, state="ready", wanted=True, used_at=long_ago)
    assert "This machine is busy" not in head_of(owner_client, job)
