"""The pinned prompts are answered by what is served: by rule, once, and again after a crash. On the fake vLLM."""

import pytest
from django.utils import timezone

from accounts.models import Project
from playground import deployments
from playground.film import answering, prompts, strip, tending
from playground.film.models import Film, Frame
from playground.film.prompts import Pinned
from playground.fleet import Fleet
from playground.models import Deployment
from tests.factories import chat_rows, write_jsonl
from tests.serving.conftest import Shelf, row_of, settle, state_is
from training import devices, files
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob

LIVES = timezone.timedelta(seconds=60)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "all_gpus", list)


@pytest.fixture
def checkpoint(shelf: Shelf, base: BaseModel, project: Project) -> Checkpoint:
    """Of a finished job with two pinned prompts."""
    checkpoint = shelf.checkpoint(base)
    prompts.pin(checkpoint.job, prompts.read(checkpoint.job, ["Order 1?", "Order 2?"]))
    return checkpoint


def work_off(*frames: Frame) -> None:
    """What the worker does for each message that it was sent."""
    for frame in frames or Frame.objects.exclude(woken_at=None):
        answering.answer(frame.pk)


def test_what_is_served_answers_greedily_and_the_strip_is_told(
    fleet: Fleet, base: BaseModel, checkpoint: Checkpoint
) -> None:
    job = checkpoint.job
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", base, checkpoint))
    for _ in range(2):  # one frame at a time
        tending.tend()
        assert Frame.objects.exclude(woken_at=None).count() == 1
        work_off()
    shown = strip.of(job)
    assert [head.state for head in shown.heads] == ["answered", "answered"]
    said = [["".join(piece.text for piece in cell.pieces).strip() for cell in line.cells] for line in shown.lines]
    assert said == [[f"{name} heard Order {n}?" for name in ("tiny", checkpoint.step_name)] for n in (1, 2)]
    assert [event.message for event in job.events.order_by("pk")] == [
        "Pinned prompts answered by tiny",
        "Pinned prompts answered by the checkpoint of step 10",
    ]
    tending.tend()
    assert not Film.objects.get().open, "complete: it is not looked at any more"
    assert {row_of(thing).wanted for thing in (base, checkpoint)} == {True}, "a person wanted both"


def test_beside_a_served_base_checkpoints_are_loaded_and_put_away_again(
    fleet: Fleet, base: BaseModel, checkpoint: Checkpoint
) -> None:
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    tending.tend()
    settle(fleet, state_is("ready", checkpoint))
    for _ in range(3):
        tending.tend()
        work_off()
    assert strip.of(checkpoint.job).state == "answered"
    settle(fleet, state_is("off", checkpoint))
    assert row_of(base).wanted


def test_what_a_person_opened_meanwhile_is_not_put_away(fleet: Fleet, base: BaseModel, checkpoint: Checkpoint) -> None:
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    tending.tend()
    settle(fleet, state_is("ready", checkpoint))
    deployments.want(checkpoint=checkpoint)
    for _ in range(3):
        tending.tend()
        work_off()
    assert strip.of(checkpoint.job).state == "answered"
    assert row_of(checkpoint).wanted


def test_nothing_is_loaded_beside_training_or_without_its_base_before_somebody_asks(
    fleet: Fleet, base: BaseModel, checkpoint: Checkpoint, project: Project
) -> None:
    tending.tend()
    assert not Deployment.objects.exists(), "its base is not served"
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    running = TrainingJob.objects.create(project=project, base_model=base, status="running")
    tending.tend()
    assert not Deployment.objects.filter(checkpoint=checkpoint).exists(), "a job trains on the same device"
    tending.ask(checkpoint.job)
    assert row_of(checkpoint).wanted
    running.delete()


def test_beside_training_even_what_is_served_is_asked_nothing_until_somebody_wants_it(
    fleet: Fleet, base: BaseModel, checkpoint: Checkpoint, project: Project
) -> None:
    for thing in ({"base_model": base}, {"checkpoint": checkpoint}):
        deployments.want(**thing)
    settle(fleet, state_is("ready", base, checkpoint))
    for status in ("running", "queued"):
        training = TrainingJob.objects.create(project=project, base_model=base, status=status)
        tending.tend()
        assert not Frame.objects.exclude(woken_at=None).exists(), status
        training.delete()
    TrainingJob.objects.create(project=project, base_model=base, status="running")
    tending.ask(checkpoint.job)
    for _ in range(2):
        tending.tend()
        work_off()
    assert strip.of(checkpoint.job).state == "answered"
    tending.tend()
    assert not Film.objects.get(job=checkpoint.job).now, "what comes later waits for the training again"


def test_what_was_loaded_for_the_strip_is_put_away_when_training_begins(
    fleet: Fleet, base: BaseModel, checkpoint: Checkpoint, project: Project
) -> None:
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    tending.tend()
    settle(fleet, state_is("ready", checkpoint))
    TrainingJob.objects.create(project=project, base_model=base, status="queued")
    tending.tend()
    settle(fleet, state_is("off", checkpoint))
    assert row_of(base).wanted and strip.of(checkpoint.job).state == "waiting"


def test_a_frame_that_a_crash_left_half_is_answered_again_and_only_its_rest(
    fleet: Fleet, base: BaseModel, checkpoint: Checkpoint
) -> None:
    first, second = (Pinned(**each).key for each in Film.objects.get().prompts)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint))
    frame = Frame.objects.create(
        job=checkpoint.job,
        checkpoint=checkpoint,
        answers={first: {"text": "was there", "stop": "stop"}, second: {"text": "hal", "stop": ""}},
        claim="gone.1.1.abcd",
        heartbeat_at=timezone.now() - LIVES,
    )
    work_off(frame)
    frame.refresh_from_db()
    assert frame.answers[first]["text"] == "was there"
    assert frame.answers[second]["text"].strip() == f"{checkpoint.step_name} heard Order 2?"
    assert frame.claim == ""


def test_a_claimed_frame_is_left_to_its_worker(fleet: Fleet, base: BaseModel, checkpoint: Checkpoint) -> None:
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint))
    frame = Frame.objects.create(job=checkpoint.job, checkpoint=checkpoint)
    frame.claim, frame.heartbeat_at = answering.new_claim(), timezone.now()
    frame.save()
    work_off(frame)
    frame.refresh_from_db()
    assert frame.answers == {} and frame.claim


def test_a_prompt_that_is_too_long_fails_alone(fleet: Fleet, base: BaseModel, checkpoint: Checkpoint) -> None:
    job = checkpoint.job
    prompts.pin(job, prompts.read(job, ["Order 1?", "0 " * 14_000]))
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint))
    frame = Frame.objects.create(job=job, checkpoint=checkpoint)
    work_off(frame)
    shown = strip.of(job)
    good, bad = (line.cells[1] for line in shown.lines)
    assert good.pieces and not good.error
    assert "maximum context length" in bad.error and shown.state == "failed" and shown.can_ask


def test_weights_that_cannot_be_served_fail_their_frame_with_the_reason(
    fleet: Fleet, base: BaseModel, checkpoint: Checkpoint
) -> None:
    (checkpoint.path / "adapter_model.safetensors").unlink()
    deployments.want(base_model=base)
    settle(fleet, state_is("ready", base))
    tending.tend()
    settle(fleet, state_is("failed", checkpoint))
    tending.tend()
    frame = checkpoint.frames.get()
    assert frame.failure == row_of(checkpoint).reason != ""
    assert strip.of(checkpoint.job).state == "failed"


def test_a_job_in_the_queue_gets_its_prompts_before_its_file_can_go(
    fleet: Fleet, base: BaseModel, project: Project, shelf: Shelf
) -> None:
    made = write_jsonl(shelf.folder / "valid.jsonl", chat_rows(9))
    file = files.create_file(project, None, "valid.jsonl", "fine-tune", made.read_bytes())
    DatasetFile.objects.filter(pk=file.pk).update(status="processed")
    job = TrainingJob.objects.create(project=project, base_model=base, status="queued", validation_file=file, seed=1)
    tending.tend()
    assert len(Film.objects.get(job=job).prompts) == 4
