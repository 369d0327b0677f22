"""Steps and validations become metric rows, and lines of the event log with OpenAI's names for the figures."""

import math
from datetime import timedelta
from typing import Any

from training.engine.spec import Step, Validation
from training.job_log import moment, say
from training.models import JobEvent, Metric, TrainingJob

Status = TrainingJob.Status

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


LEAST_SHOWN = 1e-9  # a loss below is nothing


def record_steps(row: TrainingJob, events: list[Any]) -> None:
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
                setattr(metric, name, finite(getattr(event, name)))
        metric.more |= all_finite(event.metrics)
    else:
        prefix = "full_valid" if event.whole else "valid"
        setattr(metric, f"{prefix}_loss", finite(event.loss))
        setattr(metric, f"{prefix}_accuracy", finite(event.accuracy))
        metric.more |= {f"{prefix}_{name}": value for name, value in all_finite(event.metrics).items()}


def finite(value: float | None) -> float | None:
    """JSON and Postgres have no NaN; a figure that is none is left empty."""
    return value if value is not None and math.isfinite(value) else None


def all_finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _progress(row: TrainingJob, last: Step) -> None:
    row.step = last.step
    resolved = row.resolved_json
    if resolved:
        epochs = resolved["n_epochs"]
        say(row, f"Epoch {min(epochs, max(1, math.ceil(last.epoch - 1e-9)))} of {epochs}")
    started = row.started_json
    if started and row.status == Status.RUNNING and last.step > started["resumed_step"]:
        seconds_per_step = (last.time - started["time"]) / (last.step - started["resumed_step"])
        left = max(0, row.total_steps - last.step) * seconds_per_step
        row.estimated_finish_at = moment(last.time) + timedelta(seconds=left)


def _metrics_event(row: TrainingJob, metric: Metric) -> JobEvent:
    data = {"step": metric.step, "total_steps": row.total_steps}
    data |= {key: getattr(metric, name) for key, name in EVENT_KEYS.items() if getattr(metric, name) is not None}
    data |= metric.more
    return JobEvent(
        job=row,
        type="metrics",
        step=metric.step,
        created_at=moment(metric.time),
        message=step_message(metric, row.total_steps),
        data=data,
    )


def step_message(metric: Metric, total_steps: int) -> str:
    """For example `Step 131/303: training loss=0.25, validation loss=0.37`."""
    parts = [("training loss", metric.train_loss), ("validation loss", metric.valid_loss)]
    parts.append(("full validation loss", metric.full_valid_loss))
    losses = ", ".join(f"{name}={_figure(value)}" for name, value in parts if value is not None)
    return f"Step {metric.step}/{total_steps}: {losses}"


def _figure(value: float) -> str:
    """OpenAI's two decimals; of a loss that they would call 0.00, its first two digits that tell something."""
    size = abs(value)
    decimals = 2 if size >= 0.005 or size < LEAST_SHOWN else 1 - math.floor(math.log10(size))
    return f"{value:.{decimals}f}"
