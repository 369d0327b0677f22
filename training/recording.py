"""What the trainer wrote becomes rows: metrics, checkpoints, the event log in OpenAI's words, the end of a job.

Everything here can be done twice with the same result, and a batch of events is stored in one transaction together with
the place in the file up to which it was read: after any crash the database holds every step exactly once.
"""

import csv
import io
import logging
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.ids import new_id
from training import calibration, keeping, notify
from training.engine.spec import AnyEvent, CheckpointSaved, End, Measured, Note, Phase, Started, Step, Validation
from training.models import FINAL, Checkpoint, JobEvent, Metric, TrainingJob

log = logging.getLogger(__name__)
Status = TrainingJob.Status

RESULT_COLUMNS = {  # OpenAI's and Azure's headings, by our column
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_accuracy",
    "train_mean_token_accuracy": "train_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_accuracy",
    "validation_mean_token_accuracy": "valid_accuracy",
    "full_valid_loss": "full_valid_loss",
    "full_valid_mean_token_accuracy": "full_valid_accuracy",
}
EVENT_KEYS = {  # the API's names in a metrics event and of a checkpoint, by our column
    "train_loss": "train_loss",
    "train_mean_token_accuracy": "train_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_accuracy",
    "full_valid_loss": "full_valid_loss",
    "full_valid_mean_token_accuracy": "full_valid_accuracy",
}
FIGURES = [
    field.name
    for field in Metric._meta.concrete_fields
    if field.name not in {"id", "job", "step", "revision", "time", "more"}
]
PHASES = {
    "loading": "Loading the model",
    "tokenizing": "Tokenizing the dataset",
    "training": "Training",
    "validating": "Validating on the whole validation set",
    "saving": "Saving a checkpoint",
    "reference": "Judging every pair with the weights it starts from",
}


class LostClaim(Exception):
    """Another worker owns this job now, or it was deleted: leave it alone."""


# ---- events to rows ----


def record_events(job: TrainingJob, events: Sequence[AnyEvent], *, offset: int | None = None, claim: str = "") -> None:
    """Store what the trainer wrote. `offset`: the place in events.jsonl after these; `claim`: only while it is ours."""
    rest = [event for event in events if not isinstance(event, End)]
    end = next((event for event in events if isinstance(event, End)), None)
    if rest:
        _record(job, rest, None if end else offset, claim)
    if end:
        finish(job, end, offset=offset, claim=claim)


@transaction.atomic
def _record(job: TrainingJob, events: list[AnyEvent], offset: int | None, claim: str) -> None:
    row = _owned(job, claim)
    for event in events:
        if isinstance(event, Started):
            _started(row, event)
        elif isinstance(event, Note):
            add_event(row, event.message, level=event.level, time=event.time)
        elif isinstance(event, Phase):
            row.phase = event.phase
            _say(row, _phase_text(event))
    _record_steps(row, [event for event in events if isinstance(event, Step | Validation)])
    for event in events:
        if isinstance(event, CheckpointSaved):
            _checkpoint(row, event)
    if offset is not None:
        row.events_offset = offset
    row.save(
        update_fields=[
            *("phase", "status_text", "step", "total_steps", "started_json", "estimated_finish_at"),
            *("revision", "stalls", "events_offset"),
        ]
    )
    job.refresh_from_db()
    notify.job_changed(job.pk)


def _owned(job: TrainingJob, claim: str) -> TrainingJob:
    """The row, locked until the transaction ends."""
    row = TrainingJob.objects.select_for_update().select_related("base_model").filter(pk=job.pk).first()
    if row is None or (claim and row.claim != claim):
        raise LostClaim(job.pk)
    return row


def _started(row: TrainingJob, event: Started) -> None:
    row.started_json = event.model_dump(mode="json")
    row.total_steps, row.step = event.total_steps, event.resumed_step
    add_event(row, "Fine-tuning job started", data=None, time=event.time, once=True)
    if event.resumed_step:
        add_event(row, f"Training continues after step {event.resumed_step}", time=event.time)


def _say(row: TrainingJob, text: str) -> None:
    """What goes on, for people; not over what a person asked for meanwhile."""
    if row.status == Status.RUNNING and not row.wanted:
        row.status_text = text[:300]


def _phase_text(event: Phase) -> str:
    text = PHASES.get(event.phase, event.phase.capitalize())
    return f"{text}: {event.done:,} of {event.total:,}" if event.total else text


def _record_steps(row: TrainingJob, events: list[Any]) -> None:
    """One metric row and one line in the event log a step; a validation joins the row of its step."""
    if not events:
        return
    steps = sorted({event.step for event in events})
    metrics = {
        metric.step: metric for metric in Metric.objects.filter(job=row, step__gte=steps[0], step__lte=steps[-1])
    }
    known = set(metrics)
    for event in events:
        metric = metrics.setdefault(event.step, Metric(job=row, step=event.step, time=event.time))
        _fill(metric, event)
    for position, step in enumerate(steps, start=row.revision + 1):
        metrics[step].revision = position
    row.revision += len(steps)
    changed = [metrics[step] for step in steps]
    for metric in changed:
        metric.pk = None  # insert-or-update by (job, step)
    Metric.objects.bulk_create(
        changed,
        update_conflicts=True,
        unique_fields=["job", "step"],
        update_fields=["revision", "time", "more", *FIGURES],
        batch_size=500,
    )
    JobEvent.objects.bulk_create(
        [_metrics_event(row, metric) for metric in changed if metric.train_loss is not None],
        update_conflicts=True,
        unique_fields=["job", "step"],
        update_fields=["created_at", "message", "data"],
        batch_size=500,
    )
    if set(steps) - known:
        row.stalls = 0
    last = next((event for event in reversed(events) if isinstance(event, Step)), None)
    if last:
        _progress(row, last)


def _fill(metric: Metric, event: Step | Validation) -> None:
    if isinstance(event, Step):
        metric.time = event.time
        for name in FIGURES:
            if name in Step.model_fields:
                setattr(metric, name, _finite(getattr(event, name)))
        metric.more |= _all_finite(event.metrics)
    else:
        prefix = "full_valid" if event.whole else "valid"
        setattr(metric, f"{prefix}_loss", _finite(event.loss))
        setattr(metric, f"{prefix}_accuracy", _finite(event.accuracy))
        metric.more |= {f"{prefix}_{name}": value for name, value in _all_finite(event.metrics).items()}


def _finite(value: float | None) -> float | None:
    """JSON and Postgres have no NaN; a figure that is none is left empty."""
    return value if value is not None and math.isfinite(value) else None


def _all_finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _progress(row: TrainingJob, last: Step) -> None:
    row.step = last.step
    resolved = row.resolved_json
    if resolved:
        epochs = resolved["n_epochs"]
        _say(row, f"Epoch {min(epochs, max(1, math.ceil(last.epoch - 1e-9)))} of {epochs}")
    started = row.started_json
    if started and row.status == Status.RUNNING and last.step > started["resumed_step"]:
        seconds_per_step = (last.time - started["time"]) / (last.step - started["resumed_step"])
        left = max(0, row.total_steps - last.step) * seconds_per_step
        row.estimated_finish_at = _moment(last.time) + timedelta(seconds=left)


def _metrics_event(row: TrainingJob, metric: Metric) -> JobEvent:
    data = {"step": metric.step, "total_steps": row.total_steps}
    data |= {key: getattr(metric, name) for key, name in EVENT_KEYS.items() if getattr(metric, name) is not None}
    data |= metric.more
    return JobEvent(
        job=row,
        type="metrics",
        step=metric.step,
        created_at=_moment(metric.time),
        message=step_message(metric, row.total_steps),
        data=data,
    )


def step_message(metric: Metric, total_steps: int) -> str:
    """For example `Step 131/303: training loss=0.25, validation loss=0.37`."""
    parts = [("training loss", metric.train_loss), ("validation loss", metric.valid_loss)]
    parts.append(("full validation loss", metric.full_valid_loss))
    losses = ", ".join(f"{name}={value:.2f}" for name, value in parts if value is not None)
    return f"Step {metric.step}/{total_steps}: {losses}"


def _checkpoint(row: TrainingJob, event: CheckpointSaved) -> None:
    figures = {name: _finite(getattr(event, name)) for name in CheckpointSaved.model_fields if "_loss" in name}
    figures |= {name: _finite(getattr(event, name)) for name in CheckpointSaved.model_fields if "_accuracy" in name}
    checkpoint, created = Checkpoint.objects.update_or_create(
        job=row,
        step=event.step,
        defaults={
            "epoch": event.epoch,
            "kind": event.kind,
            "path_in_run": event.path,
            "size_bytes": event.size_bytes,
            "sha256": event.sha256,
            "more": _all_finite(event.metrics),
            **figures,
        },
        create_defaults={
            "project_id": row.project_id,
            "base_model": row.base_model,
            "step_name": f"{_new_model_name(row)}:ckpt-step-{event.step}",
            "created_at": _moment(event.time),
            "epoch": event.epoch,
            "kind": event.kind,
            "path_in_run": event.path,
            "size_bytes": event.size_bytes,
            "sha256": event.sha256,
            "more": _all_finite(event.metrics),
            **figures,
        },
    )
    if created and event.step < row.total_steps:  # the last one is announced as the new model
        message = f"Checkpoint created at step {event.step} with Snapshot ID: {checkpoint.step_name}"
        add_event(row, message, time=event.time)
    if created:
        said = keeping.let_go(row)
        if said:
            add_event(row, said, time=event.time)
        notify.project_changed(row.project_id)


def _new_model_name(job: TrainingJob) -> str:
    return f"ft:{job.base_model.name}:{settings.HONE_ORG}:{job.suffix}:{new_id('', 8)}"


def add_event(
    job: TrainingJob,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = {},  # noqa: B006 - never changed
    time: float | None = None,
    once: bool = False,
) -> None:
    """A line of the event log. With `time` (or `once`) the same line is not written a second time."""
    if (once and job.events.filter(message=message).exists()) or (
        time and job.events.filter(message=message, created_at=_moment(time)).exists()
    ):
        return
    job.events.create(message=message, level=level, data=data, created_at=_moment(time) if time else timezone.now())


def _moment(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)


# ---- the end of a job ----


def finish(job: TrainingJob, end: End, *, offset: int | None = None, claim: str = "") -> None:
    """What the trainer's last line means for the job. An interrupted one stays as it is, to be continued."""
    result = _result_csv(job) if end.status == "succeeded" else b""
    whole = end.status == "succeeded" and not end.message  # one that stopped early says nothing of its estimate
    measured = calibration.measure(job) if whole else None
    with transaction.atomic():
        row = _owned(job, claim)
        if offset is not None:
            TrainingJob.objects.filter(pk=row.pk).update(events_offset=offset)
        if row.status == Status.RUNNING:
            if end.status == "succeeded":
                _succeed(row, result, measured, end.message)
            elif end.status == "failed":
                fail(row, end.message or "The trainer failed without a reason.", code=end.code or "server_error")
            elif end.status == "cancelled":
                close(row, Status.CANCELLED, "Cancelled")
            elif end.status == "paused":
                _pause(row)
    job.refresh_from_db()
    notify.job_changed(job.pk)
    notify.project_changed(job.project_id)


def _succeed(row: TrainingJob, result: bytes, measured: Measured | None, closing: str) -> None:
    """`closing` says why it ended before its last step, if it did."""
    last = row.checkpoints.order_by("-step").first()
    if last is None:
        fail(row, "The trainer ended without a checkpoint. Its log is in the job's run folder.", code="server_error")
        return
    if not last.final_name:
        last.final_name = _new_model_name(row)
        last.save(update_fields=["final_name"])
    figures = row.metrics.exclude(trained_tokens=None).order_by("-step").values_list("trained_tokens", flat=True)
    TrainingJob.objects.filter(pk=row.pk).update(
        fine_tuned_model=last.final_name,
        trained_tokens=figures.first(),
        step=last.step,
        measured_json=measured.model_dump() if measured else None,
        result_file=_result_file(row, result),
    )
    if closing:
        add_event(row, closing)
    add_event(row, f"New fine-tuned model created: {last.final_name}")
    add_event(row, "The job has successfully completed")
    close(row, Status.SUCCEEDED, closing[:300] or "Succeeded")


def _result_csv(job: TrainingJob) -> bytes:
    """Plain text, numbers only, empty where nothing was computed; one row a step. The method's own figures stand after
    OpenAI's columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = job.metrics.order_by("step")
    own = sorted({name for more in rows.exclude(more={}).values_list("more", flat=True).iterator() for name in more})
    writer.writerow([*RESULT_COLUMNS, *own])
    for *values, more in rows.values_list(*RESULT_COLUMNS.values(), "more").iterator():
        writer.writerow("" if value is None else value for value in [*values, *(more.get(name) for name in own)])
    return text.getvalue().encode()


def _result_file(row: TrainingJob, content: bytes) -> Any:
    from accounts.errors import ApiError
    from training import files

    try:
        return files.create_file(row.project, row.created_by, "step_metrics.csv", "fine-tune-results", content)
    except (ApiError, OSError) as error:  # a full disk must not undo a finished training
        add_event(row, f"The result file could not be written: {error}", level="warn")
        return None


def _pause(row: TrainingJob) -> None:
    TrainingJob.objects.filter(pk=row.pk).update(
        status=Status.PAUSED,
        status_text=f"Paused after step {row.step}" if row.step else "Paused",
        wanted="",
        phase="",
        estimated_finish_at=None,
    )
    add_event(row, f"Fine-tuning job paused after step {row.step}")
    refresh_queue()


def fail(job: TrainingJob, message: str, *, code: str = "server_error", param: str | None = None) -> bool:
    """The job ends as failed with this reason; False when it had ended before."""
    with transaction.atomic():
        if not close(job, Status.FAILED, "Failed"):
            return False
        TrainingJob.objects.filter(pk=job.pk).update(
            error_code=code[:60], error_message=message, error_param=(param or "")[:60]
        )
        add_event(job, message, level="error")
    return True


def close(job: TrainingJob, status: str, text: str) -> bool:
    """Move a job that has not ended to its final state; False when it had ended before."""
    changed = (
        TrainingJob.objects.filter(pk=job.pk)
        .exclude(status__in=FINAL)
        .update(
            status=status,
            status_text=text,
            finished_at=timezone.now(),
            estimated_finish_at=None,
            phase="",
            wanted="cancel" if status == Status.CANCELLED else "",
        )
    )
    if changed:
        refresh_queue()
        notify.job_changed(job.pk)
        notify.project_changed(job.project_id)
    return bool(changed)


# ---- the queue in words ----


def refresh_queue() -> None:
    """Say in each queued job its place in the queue."""
    queued: Iterable[TrainingJob] = TrainingJob.objects.filter(status=Status.QUEUED).order_by("queued_at", "pk")
    for position, job in enumerate(queued):
        text = queue_text(position)
        if text != job.status_text and TrainingJob.objects.filter(pk=job.pk, status=Status.QUEUED).update(
            status_text=text
        ):
            notify.job_changed(job.pk)
            notify.project_changed(job.project_id)


def queue_text(waiting_before: int) -> str:
    """The place in the queue as every page says it. What trains already is in the queue no more."""
    return f"Number {waiting_before + 1} in the queue" if waiting_before else "Next in the queue"


# ---- a run from its folder ----


@transaction.atomic
def rebuild(job: TrainingJob) -> int:
    """Make a job's metrics, checkpoints and metrics events anew from its run folder; returns the number of steps.

    Checkpoints keep the names they have; a job that has ended keeps its end.
    """
    from training.events import EventReader

    job.metrics.all().delete()
    job.events.filter(type="metrics").delete()
    TrainingJob.objects.filter(pk=job.pk).update(events_offset=0)
    reader = EventReader(job.folder / "events.jsonl")
    while events := reader.read():
        record_events(job, events, offset=reader.offset)
    return job.metrics.count()
