"""What the trainer wrote becomes rows: metrics (metric_rows.py), checkpoints, the event log (job_log.py), the end of a
job (endings.py).

Everything here can be done twice with the same result, and a batch of events is stored in one transaction together with
the place in the file up to which it was read: after any crash the database holds every step exactly once.
"""

from collections.abc import Sequence

from django.db import transaction

from training import keeping, notify, preparation
from training.claims import owned
from training.endings import finish, new_model_name
from training.engine.spec import AnyEvent, CheckpointSaved, End, Note, Phase, Started, Step, Validation
from training.events import EventReader
from training.job_log import add_event, moment, say
from training.metric_rows import all_finite, finite, record_steps
from training.models import Checkpoint, TrainingJob

PHASES = {
    "loading": "Loading the model",
    "tokenizing": "Tokenizing the dataset",
    "training": "Training",
    "validating": "Validating on the whole validation set",
    "saving": "Saving a checkpoint",
    "reference": "Judging every pair with the weights it starts from",
}


def record_events(job: TrainingJob, events: Sequence[AnyEvent], *, offset: int | None = None, claim: str = "") -> None:
    """Store what the trainer wrote. `offset`: the place in events.jsonl after these; `claim`: only while it is ours."""
    rest = [event for event in events if not isinstance(event, End)]
    end = next((event for event in events if isinstance(event, End)), None)
    if rest:
        _record(job, rest, None if end else offset, claim)
    if end:
        finish(job, end, offset=offset, claim=claim)


@transaction.atomic
def _record(job: TrainingJob, events: Sequence[AnyEvent], offset: int | None, claim: str) -> None:
    row = owned(job, claim)
    for event in events:
        if isinstance(event, Started):
            _started(row, event)
        elif isinstance(event, Note):
            add_event(row, event.message, level=event.level, time=event.time)
        elif isinstance(event, Phase):
            row.phase = "" if row.is_final else event.phase
            row.preparation = preparation.noted(row.preparation, event)
            say(row, _phase_text(event))
    record_steps(row, [event for event in events if isinstance(event, Step | Validation)])
    for event in events:
        if isinstance(event, CheckpointSaved):
            _checkpoint(row, event)
    if offset is not None:
        row.events_offset = offset
    row.save(
        update_fields=[
            *("phase", "preparation", "status_text", "step", "total_steps", "started_json", "estimated_finish_at"),
            *("revision", "stalls", "events_offset"),
        ]
    )
    job.refresh_from_db()
    notify.job_changed(job.pk)


def _started(row: TrainingJob, event: Started) -> None:
    row.started_json = event.model_dump(mode="json")
    row.total_steps, row.step = event.total_steps, event.resumed_step
    add_event(row, "Fine-tuning job started", data=None, time=event.time, once=True)
    if event.resumed_step:
        add_event(row, f"Training continues after step {event.resumed_step}", time=event.time)


def _phase_text(event: Phase) -> str:
    first_step = event.phase == preparation.FIRST_STEP and event.total
    text = "The first step" if first_step else PHASES.get(event.phase, event.phase.capitalize())
    return f"{text}: {event.done:,} of {event.total:,}" if event.total else text


def _checkpoint(row: TrainingJob, event: CheckpointSaved) -> None:
    figures = ("_loss", "_accuracy")
    saved = {
        "epoch": event.epoch,
        "kind": event.kind,
        "path_in_run": event.path,
        "size_bytes": event.size_bytes,
        "sha256": event.sha256,
        "more": all_finite(event.metrics),
        **{name: finite(getattr(event, name)) for name in CheckpointSaved.model_fields if name.endswith(figures)},
    }
    new = {
        "project_id": row.project_id,
        "base_model": row.base_model,
        "step_name": f"{new_model_name(row)}:ckpt-step-{event.step}",
        "created_at": moment(event.time),
    }
    checkpoint, created = Checkpoint.objects.update_or_create(
        job=row, step=event.step, defaults=saved, create_defaults=new | saved
    )
    if created and event.step < row.total_steps:  # the last one is announced as the new model
        message = f"Checkpoint created at step {event.step} with Snapshot ID: {checkpoint.step_name}"
        add_event(row, message, time=event.time)
    if created:
        said = keeping.let_go(row)
        if said:
            add_event(row, said, time=event.time)
        notify.project_changed(row.project_id)


@transaction.atomic
def rebuild(job: TrainingJob) -> int:
    """Make a job's metrics, checkpoints and metrics events anew from its run folder; returns the number of steps.

    Checkpoints keep the names they have; a job that has ended keeps its end.
    """
    job.metrics.all().delete()
    job.events.filter(type="metrics").delete()
    TrainingJob.objects.filter(pk=job.pk).update(events_offset=0)
    reader = EventReader(job.folder / "events.jsonl")
    while events := reader.read():
        record_events(job, events, offset=reader.offset)
    return job.metrics.count()
