"""Where training and serving share a device, the owner's rule says who goes first. On the fake vLLM."""

import pytest
from django.utils import timezone

from accounts.models import Project
from playground import deployments, sharing
from playground.fleet import Fleet
from playground.models import Deployment
from tests import makers
from tests.serving.conftest import row_of, settle, state_is
from training import actions, devices
from training.models import BaseModel, TrainingJob


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both use the CPU."""
    monkeypatch.setattr(devices, "all_gpus", list)


@pytest.fixture
def job(project: Project) -> TrainingJob:
    return makers.make_job(project, suffix="long", status="running")


def test_by_default_both_run(fleet: Fleet, base: BaseModel, job: TrainingJob) -> None:
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    sharing.tend()
    job.refresh_from_db()
    assert job.wanted == "" and not sharing.serving_waits_for()


def test_serving_waits_for_a_job_and_comes_back(
    fleet: Fleet, base: BaseModel, project: Project, settings: object
) -> None:
    settings.HONE_SHARED_DEVICE = "serving-waits"  # type: ignore[attr-defined]
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    job = makers.make_job(project, suffix="long", status="running")
    settle(fleet, lambda: not fleet.members)
    waiting = row_of(base)
    assert (waiting.state, waiting.wanted, waiting.url) == ("queued", True, "")
    assert waiting.reason == "Waiting until the job that trains now has finished: on this machine training goes first."
    sharing.tend()
    job.refresh_from_db()
    assert job.wanted == "", "the job goes on"
    TrainingJob.objects.filter(pk=job.pk).update(status="succeeded", finished_at=timezone.now())
    settle(fleet, state_is("ready", base))
    assert row_of(base).proof_json, "compared anew after the restart"


def test_training_pauses_while_models_are_in_use_and_goes_on_by_itself(
    fleet: Fleet, base: BaseModel, job: TrainingJob, settings: object
) -> None:
    settings.HONE_SHARED_DEVICE = "training-pauses"  # type: ignore[attr-defined]
    deployments.want(base_model=base)
    sharing.tend()
    fleet.tick()
    job.refresh_from_db()
    assert job.wanted == "pause" and not fleet.members
    assert row_of(base).reason == "Waiting until the job that trains now has saved and paused."
    TrainingJob.objects.filter(pk=job.pk).update(status="paused", status_text="Paused", wanted="")  # as its worker does
    settle(fleet, state_is("ready", base))
    sharing.tend()
    job.refresh_from_db()
    assert job.status_text == "Paused while models are in use; it goes on after 5 minutes without a request"

    Deployment.objects.update(used_at=timezone.now() - timezone.timedelta(seconds=sharing.QUIET_SECONDS + 1))
    sharing.tend()
    job.refresh_from_db()
    assert job.status == "paused", "its device is not free yet"
    settle(fleet, state_is("off", base))
    sharing.tend()
    job.refresh_from_db()
    assert (job.status, job.paused_for_serving) == ("queued", False)


def test_what_a_person_paused_stays_paused(fleet: Fleet, project: Project, settings: object) -> None:
    settings.HONE_SHARED_DEVICE = "training-pauses"  # type: ignore[attr-defined]
    job = actions.pause_job(makers.make_job(project, suffix="kept", status="queued"))
    sharing.tend()
    job.refresh_from_db()
    assert job.status == "paused"


def test_on_devices_of_their_own_neither_waits(job: TrainingJob, settings: object) -> None:
    def gpu(index: str) -> devices.Gpu:
        return devices.Gpu(index, f"GPU-{index}", "H200", 140 << 30, 0, 0.0, 9.0)

    settings.HONE_SHARED_DEVICE = "serving-waits"  # type: ignore[attr-defined]
    settings.HONE_TRAIN_GPUS, settings.HONE_SERVE_GPUS = ["0"], ["1"]  # type: ignore[attr-defined]
    devices.all_gpus = lambda: [gpu("0"), gpu("1")]  # put back by no_gpu's monkeypatch
    assert not sharing.serving_waits_for()
    settings.HONE_SERVE_GPUS = ["0"]  # type: ignore[attr-defined]
    assert sharing.serving_waits_for()
