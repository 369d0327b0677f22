import json
import random
import re

import pytest
from django.utils import timezone

from accounts.models import Project
from tests.jobs import make_job
from training import actions
from training.claims import LostClaim
from training.engine.spec import CheckpointSaved, End, Note, Phase, Started, Step, Validation
from training.events import EventReader
from training.metric_rows import step_message
from training.models import Metric, TrainingJob
from training.recording import rebuild, record_events

pytestmark = pytest.mark.django_db


def started(resumed: int = 0, time: float = 1000.0) -> Started:
    return Started(
        time=time,
        total_steps=60,
        steps_per_epoch=20,
        train_rows=20,
        valid_rows=4,
        train_tokens=600,
        trained_tokens_per_epoch=200,
        valid_tokens=100,
        truncated_rows=0,
        parameters=1000,
        trainable_parameters=100,
        device="cpu",
        dtype="float32",
        resumed_step=resumed,
    )


def step(number: int, loss: float = 1.0) -> Step:
    return Step(
        time=1000.0 + number,
        step=number,
        epoch=number / 20,
        train_loss=loss,
        train_accuracy=0.5,
        learning_rate=1e-3,
        grad_norm=0.1,
        trained_tokens=number * 10,
        tokens_per_second=100,
        memory_bytes=1,
    )


def validation(number: int, whole: bool = False, loss: float = 0.37) -> Validation:
    return Validation(time=1000.5 + number, step=number, whole=whole, loss=loss, accuracy=0.6, tokens=10, rows=4)


def checkpoint(number: int) -> CheckpointSaved:
    return CheckpointSaved(
        time=1000.6 + number,
        step=number,
        epoch=number // 20,
        path=f"checkpoints/epoch-{number // 20}-step-{number}",
        kind="lora",
        size_bytes=10,
        sha256="0" * 64,
        train_loss=0.5,
        full_valid_loss=0.4,
        full_valid_accuracy=0.7,
    )


@pytest.fixture
def job(project: Project) -> TrainingJob:
    return make_job(project, status="running", claim="mine", heartbeat_at=timezone.now())


def whole_run() -> list:
    events: list = [Phase(time=999.0, phase="loading"), started()]
    for number in range(1, 61):
        events.append(step(number, 1 / number))
        if number % 5 == 0:
            events.append(validation(number))
        if number % 20 == 0:
            events += [validation(number, whole=True, loss=0.05), checkpoint(number)]
    return events


def test_events_are_told_in_openais_words(job: TrainingJob):
    record_events(
        job,
        [
            started(),
            step(1, 0.254),
            step(2, 0.254),
            validation(2),
            step(3),
            validation(3),
            *[validation(3, True, 0.05)],
        ],
    )
    assert list(job.events.order_by("created_at", "id").values_list("message", flat=True)) == [
        "Fine-tuning job started",
        "Step 1/60: training loss=0.25",
        "Step 2/60: training loss=0.25, validation loss=0.37",
        "Step 3/60: training loss=1.00, validation loss=0.37, full validation loss=0.05",
    ]
    assert job.events.get(message="Fine-tuning job started").data is None
    assert job.events.get(step=1).data == {
        "step": 1,
        "total_steps": 60,
        "train_loss": 0.254,
        "train_mean_token_accuracy": 0.5,
    }
    assert job.events.get(step=3).data["full_valid_mean_token_accuracy"] == 0.6


def test_a_validation_that_comes_later_joins_the_row_of_its_step(job: TrainingJob):
    record_events(job, [started(), step(1), step(2)])
    before = job.metrics.get(step=2).revision
    record_events(job, [validation(2, True)])
    row = job.metrics.get(step=2)
    assert (row.train_loss, row.full_valid_loss, row.valid_loss) == (1.0, 0.37, None)
    assert row.revision > before
    assert "full validation loss=0.37" in job.events.get(step=2).message


def test_a_replay_after_a_crash_gives_every_step_once_with_rising_revisions(job: TrainingJob):
    """Whatever the cuts and repeats, the end is the same as of an unbroken run."""
    events, chance = whole_run(), random.Random(7)
    position = 0
    while position < len(events):
        size = chance.randint(1, 9)
        record_events(job, events[position : position + size])
        position += size
        if chance.random() < 0.3:  # the trainer died and begins some steps earlier
            position = max(1, position - chance.randint(1, 12))
            record_events(job, [started(resumed=0, time=5000.0 + position)])
    assert list(job.metrics.values_list("step", flat=True)) == list(range(1, 61))
    assert list(job.events.filter(type="metrics").order_by("step").values_list("step", flat=True)) == list(range(1, 61))
    revisions = list(job.metrics.values_list("revision", flat=True))
    assert len(set(revisions)) == 60 and max(revisions) <= job.revision
    assert job.metrics.exclude(valid_loss=None).count() == 12
    assert list(job.checkpoints.order_by("step").values_list("step", flat=True)) == [20, 40, 60]
    assert job.events.filter(message__startswith="Checkpoint created").count() == 2
    assert job.events.filter(message="Fine-tuning job started").count() == 1


def test_a_second_worker_cannot_write_into_a_job_it_does_not_own(job: TrainingJob):
    with pytest.raises(LostClaim):
        record_events(job, [step(1)], offset=100, claim="somebody else's")
    assert not job.metrics.exists()


def test_rows_and_the_place_in_the_file_are_stored_together(job: TrainingJob, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("the power went off")

    monkeypatch.setattr("training.recording._checkpoint", broken)
    with pytest.raises(RuntimeError):
        record_events(job, [started(), step(1), checkpoint(20)], offset=500, claim="mine")
    job.refresh_from_db()
    assert (job.events_offset, job.metrics.count(), job.events.count()) == (0, 0, 0)


def test_success_names_the_last_checkpoint_and_writes_the_result_file(job: TrainingJob, settings):
    settings.HONE_ORG = "acme"
    record_events(job, whole_run())
    record_events(job, [End(time=2000.0, status="succeeded")], offset=999, claim="mine")
    job.refresh_from_db()
    assert (job.status, job.events_offset, job.trained_tokens) == ("succeeded", 999, 600)
    first, second, last = job.checkpoints.order_by("step")
    assert re.fullmatch(r"ft:tiny:acme:orders:[A-Za-z0-9]{8}:ckpt-step-20", first.step_name)
    assert first.final_name is None and last.final_name == job.fine_tuned_model == last.name
    assert last.step_name.endswith(":ckpt-step-60")
    assert re.fullmatch(r"ft:tiny:acme:orders:[A-Za-z0-9]{8}", last.final_name)
    names = [first.step_name, second.step_name, last.step_name, last.final_name]
    shape = re.compile(r"ft:[^:/]+:[^:/]+:[^:/]*:[A-Za-z0-9]{8}(:ckpt-step-\d+)?")
    assert all(shape.fullmatch(name) for name in names)
    assert len({name.split(":")[4] for name in names}) == 4  # an id of its own each
    tail = list(job.events.order_by("-created_at", "-id").values_list("message", flat=True)[:2])
    assert tail == ["The job has successfully completed", f"New fine-tuned model created: {last.final_name}"]
    header, row_one, *rows = job.result_file.path.read_text().splitlines()
    assert header == (
        "step,train_loss,train_accuracy,train_mean_token_accuracy,valid_loss,valid_mean_token_accuracy,"
        "validation_mean_token_accuracy,full_valid_loss,full_valid_mean_token_accuracy"
    )
    assert row_one == "1,1.0,0.5,0.5,,,,,"
    assert rows[-1] == f"60,{1 / 60},0.5,0.5,0.37,0.6,0.6,0.05,0.6"
    assert job.result_file.purpose == "fine-tune-results"


def test_an_end_that_is_read_twice_changes_nothing(job: TrainingJob):
    end = End(time=2000.0, status="succeeded")
    record_events(job, [*whole_run(), end])
    before = (job.fine_tuned_model, job.finished_at, job.events.count())
    record_events(job, [end])
    job.refresh_from_db()
    assert (job.fine_tuned_model, job.finished_at, job.events.count()) == before


def test_success_without_a_checkpoint_is_a_failure_with_a_reason(job: TrainingJob):
    record_events(job, [started(), step(1), End(time=2.0, status="succeeded")])
    assert job.status == "failed" and "without a checkpoint" in job.error_message


def test_a_failure_keeps_the_trainers_own_reason(job: TrainingJob):
    record_events(job, [started(), step(1)])
    record_events(job, [End(time=2.0, status="failed", message="The loss became NaN.", code="non_finite_loss")])
    assert (job.status, job.error_message, job.error_code) == ("failed", "The loss became NaN.", "non_finite_loss")
    assert job.events.filter(level="error", message="The loss became NaN.").exists()


def test_a_fault_in_a_file_is_told_with_the_name_that_people_gave_it(job: TrainingJob):
    TrainingJob.objects.filter(pk=job.pk).update(training_file_name="tone.jsonl", validation_file_name="held.jsonl")
    end = End(time=2.0, status="failed", message="Line 3: no answer.", code="invalid_validation_file")
    record_events(job, [started(), end])
    assert job.error_message == "held.jsonl: Line 3: no answer."


def test_a_cancelled_job_keeps_what_its_trainer_still_wrote_and_stays_cancelled(job: TrainingJob):
    from training.actions import cancel_job

    record_events(job, [started(), step(1)])
    cancel_job(job)
    record_events(job, [step(2), Phase(time=3.0, phase="saving"), End(time=3.0, status="cancelled")], claim="mine")
    assert (job.status, job.status_text, job.metrics.count()) == ("cancelled", "Cancelled", 2)


def test_the_time_of_the_end_follows_the_measured_speed(job: TrainingJob):
    record_events(job, [started(), *[step(number) for number in range(1, 11)]])  # one step a second
    assert job.estimated_finish_at and abs(job.estimated_finish_at.timestamp() - (1010 + 50)) < 1e-3
    assert (job.step, job.status_text) == (10, "Epoch 1 of 3")
    record_events(job, [started(resumed=10, time=9000.0), step(11).model_copy(update={"time": 9002.0})])
    assert abs(job.estimated_finish_at.timestamp() - (9002 + 49 * 2)) < 1e-3


def test_a_figure_that_is_no_number_is_left_empty(job: TrainingJob):
    record_events(job, [started(), step(1, float("nan"))])
    assert job.metrics.get(step=1).train_loss is None


def test_a_new_step_clears_the_count_of_starts_in_vain_and_a_repeated_one_does_not(job: TrainingJob):
    record_events(job, [started(), step(1), step(2)])
    TrainingJob.objects.filter(pk=job.pk).update(stalls=2)
    record_events(job, [step(2)])
    assert job.stalls == 2
    record_events(job, [step(3)])
    assert job.stalls == 0


def test_a_run_is_rebuilt_from_its_folder_with_the_same_names(job: TrainingJob):
    job.folder.mkdir(parents=True, exist_ok=True)
    events = [
        *whole_run(),
        Note(time=2000.0, level="warn", message="The disk is nearly full"),
        End(time=2001.0, status="succeeded"),
    ]
    path = job.folder / "events.jsonl"
    path.write_text("".join(event.model_dump_json() + "\n" for event in events))
    reader = EventReader(path)
    while batch := reader.read():
        record_events(job, batch, offset=reader.offset)

    def figures() -> tuple:
        columns = ("step", "train_loss", "valid_loss", "full_valid_loss", "trained_tokens")
        messages = job.events.order_by("created_at", "message").values_list("message", "level", "step")
        names = job.checkpoints.order_by("step").values_list("step_name", "final_name", "full_valid_loss")
        return list(job.metrics.values_list(*columns)), list(messages), list(names)

    before = json.dumps(figures())
    job.metrics.filter(step__gt=30).delete()
    assert rebuild(job) == 60
    assert json.dumps(figures()) == before
    job.refresh_from_db()
    assert job.status == "succeeded" and job.events_offset == path.stat().st_size


@pytest.mark.parametrize(
    ("loss", "words"),
    [(0.374, "0.37"), (12.0, "12.00"), (0.0083, "0.01"), (0.00023, "0.00023"), (0.0000471, "0.000047"), (0.0, "0.00")],
)
def test_a_low_loss_keeps_digits_that_tell_something(loss: float, words: str) -> None:
    assert step_message(Metric(step=7, train_loss=loss), 60) == f"Step 7/60: training loss={words}"


def test_what_a_trainer_tells_after_its_job_was_cancelled_is_counted_and_leaves_no_phase(project: Project) -> None:
    job = make_job(project, status="running")
    record_events(job, [started(), Phase(time=1.0, phase="training", done=0, total=0), step(1), step(2)])
    actions.cancel_job(job)
    at_once = job.trained_tokens
    assert (job.status, job.phase) == ("cancelled", "")
    assert at_once == job.metrics.get(step=2).trained_tokens
    late = [step(3), Phase(time=4.0, phase="saving", done=0, total=0), End(time=5.0, status="cancelled")]
    record_events(job, late)
    assert (job.status, job.phase, job.step) == ("cancelled", "", 3)
    assert job.trained_tokens == job.metrics.get(step=3).trained_tokens > at_once
