"""Which checkpoints stay on disk, and the name that always means the best one."""

from typing import Any

import pytest
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project
from playground import contenders
from playground.deployments import find_target
from tests.jobs import make_job, make_resolved
from tests.unit.test_engine_estimate import CPU, MODEL, facts
from training.engine import estimate as e
from training.engine.errors import InvalidRecipe
from training.engine.resolve import resolve
from training.engine.spec import CheckpointSaved, Recipe
from training.models import Checkpoint, TrainingJob
from training.recording import record_events

LOSSES = {10: 0.9, 20: 0.5, 30: 0.4, 40: 0.6, 50: 0.7}


def job_that_keeps(project: Project, **policy: Any) -> TrainingJob:
    resolved = make_resolved(n_epochs=5, **policy)
    return make_job(project, resolved=resolved, status="running", claim="mine", heartbeat_at=timezone.now())


def save(job: TrainingJob, step: int, loss: float | None = None, accuracy: float | None = None) -> None:
    """As the trainer does it: the folder first, then the line that tells of it."""
    path = f"checkpoints/epoch-1-step-{step}"
    (job.folder / path).mkdir(parents=True)
    told = CheckpointSaved(
        time=1000.0 + step, step=step, epoch=1, path=path, kind="lora", size_bytes=10, sha256="0" * 64,
        full_valid_loss=LOSSES[step] if loss is None else loss, full_valid_accuracy=accuracy,
    )  # fmt: skip
    record_events(job, [told])


def steps_on_disk(job: TrainingJob) -> list[int]:
    found = sorted(int(path.name.rsplit("-", 1)[1]) for path in (job.folder / "checkpoints").iterdir())
    assert found == sorted(job.checkpoints.values_list("step", flat=True))
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({}, [10, 20, 30, 40, 50]),
        ({"keep_checkpoints": "last", "keep_count": 2}, [40, 50]),
        ({"keep_checkpoints": "best", "keep_count": 2}, [20, 30, 50]),  # the newest too: the job goes on from it
        ({"keep_checkpoints": "best", "keep_count": 1}, [30, 50]),
    ],
)
def test_the_policy_acts_whenever_a_checkpoint_is_there(project: Project, policy: dict, kept: list[int]) -> None:
    job = job_that_keeps(project, **policy)
    for step in LOSSES:
        save(job, step)
    assert steps_on_disk(job) == kept
    told = [event.message for event in job.events.all() if "deleted" in event.message]
    assert bool(told) is bool(policy)


@pytest.mark.django_db(transaction=True)
def test_best_by_accuracy_is_the_highest(project: Project) -> None:
    job = job_that_keeps(project, keep_checkpoints="best", keep_count=1, keep_metric="full_valid_accuracy")
    for step, accuracy in ((10, 0.9), (20, 0.5), (30, 0.6)):
        save(job, step, accuracy=accuracy)
    assert steps_on_disk(job) == [10, 30]


@pytest.mark.django_db(transaction=True)
def test_one_with_a_name_and_one_that_a_job_waits_for_stay(project: Project) -> None:
    job = job_that_keeps(project, keep_checkpoints="last", keep_count=1)
    save(job, 10)
    Checkpoint.objects.filter(step=10).update(label="the one for the demo")
    save(job, 20)
    make_job(project, start_checkpoint=Checkpoint.objects.get(step=20))
    for step in (30, 40):
        save(job, step)
    assert steps_on_disk(job) == [10, 20, 40]


def test_the_estimate_counts_what_is_kept() -> None:
    disks = {}
    for keep in ("all", "last", "best"):
        recipe = Recipe(n_epochs=10, keep_checkpoints=keep, keep_count=2)
        resolved = resolve(recipe, facts(), MODEL, CPU, valid=facts(rows=20))
        disks[keep] = e.estimate(resolved, facts(), MODEL, CPU).disk_bytes
    assert disks["all"] // 10 == disks["last"] // 3 == disks["best"] // 4


def test_the_best_need_a_validation_set() -> None:
    with pytest.raises(InvalidRecipe, match="told by the validation set") as refused:
        resolve(Recipe(keep_checkpoints="best"), facts(), MODEL, CPU)
    assert refused.value.param == "keep_checkpoints"


@pytest.mark.django_db(transaction=True)
def test_a_lasting_name_means_the_best_checkpoint_of_a_job_at_that_moment(project: Project) -> None:
    job = job_that_keeps(project)
    save(job, 10)
    first = job.checkpoints.get(step=10)
    stem = first.step_name.removesuffix(":ckpt-step-10")
    lasting = (job.best_name, f"{job.pk}:best", f"{stem}:best", f"{first.step_name}:best")
    assert {find_target(project, name) for name in lasting} == {first}
    for step in (20, 30, 40):
        save(job, step)
    best = job.checkpoints.get(step=30)
    assert {find_target(project, name) for name in lasting} == {best}
    assert [contender.checkpoint for contender in contenders.named(project, [job.best_name])] == [best]

    elsewhere = Project.objects.create(name="Elsewhere")
    for name, where in ((job.best_name, elsewhere), ("ft:tiny:hone::00000000:best", project), ("tiny:best", project)):
        with pytest.raises(ApiError) as refused:
            find_target(where, name)
        assert refused.value.status == 404


@pytest.mark.django_db(transaction=True)
def test_without_a_validation_set_the_lasting_name_says_why_it_means_nothing(project: Project) -> None:
    job = job_that_keeps(project)
    with pytest.raises(ApiError, match="none has one yet"):
        find_target(project, job.best_name)
    job.validation_file_name, job.fine_tuned_model = "", "ft:tiny:hone::abcdefgh"
    job.status, job.finished_at = "succeeded", timezone.now()
    job.save()
    with pytest.raises(ApiError, match=r"has no validation file. Ask for `ft:tiny:hone::abcdefgh`") as refused:
        find_target(project, f"{job.pk}:best")
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")
    with pytest.raises(ApiError, match="does not exist or you do not have access to it"):
        find_target(Project.objects.create(name="Elsewhere"), f"{job.pk}:best")
