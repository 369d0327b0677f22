"""The tab that sets each estimated figure of a job beside what came."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from django.db.models import Max, Sum
from django.http import HttpRequest

from dashboard.templatetags import figures
from training.engine.spec import Estimate, SecondsParts
from training.models import TrainingJob


class Line(NamedTuple):
    label: str
    show: Callable[[Any], str]
    expected: Any
    came: Any
    part: bool = False  # of the line above

    @property
    def cells(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "expected": self.show(self.expected),
            "came": self.show(self.came),
            "ratio": ratio(self.expected, self.came),
            "part": self.part,
        }


def estimate_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    """Each expected figure beside what came."""
    expected = job.estimate
    if expected is None:
        return {"comparison": []}
    return {
        "comparison": [line.cells for line in lines(job, expected)],
        "warnings": expected.warnings,
        "paused_seconds": paused_seconds(job),
        "calibrated_by": expected.calibrated_by,
        "memory_parts": expected.memory_parts,
    }


def lines(job: TrainingJob, expected: Estimate) -> list[Line]:
    """A figure that is not known yet is None."""
    started, measured = job.started_json or {}, job.measured
    tokens = started["train_tokens"] * job.resolved.n_epochs if started and job.resolved else None
    seconds = measured.seconds if measured else _seconds(job)
    found = [
        Line("Steps", figures.count, expected.steps, job.total_steps or None),
        Line("Tokens through the model", figures.count, expected.tokens, tokens),
        Line("Tokens trained on", figures.count, expected.trained_tokens, job.trained_tokens),
        Line("Rows cut to fit", figures.count, expected.truncated_rows, started.get("truncated_rows")),
        Line("Time", figures.duration, expected.seconds, seconds),
        *_parts(expected.seconds_parts, measured.parts if measured else None),
        Line("Memory", figures.size, expected.memory_bytes, job.metrics.aggregate(top=Max("memory_bytes"))["top"]),
        Line("Disk", figures.size, expected.disk_bytes, measured.disk_bytes if measured else _disk(job)),
    ]
    if price := expected.price:
        show = partial(figures.money, currency=price.currency)
        came = price.cost(tokens, seconds) if tokens and seconds else None
        found.append(Line("Cost", show, expected.cost, came))
    return found


def _parts(expected: SecondsParts | None, came: SecondsParts | None) -> list[Line]:
    names = {"start": "until the first step", "training": "steps", "rest": "validation, checkpoints, end"}
    if not expected:
        return []
    return [
        Line(label, figures.duration, getattr(expected, name), getattr(came, name, None), part=True)
        for name, label in names.items()
    ]


def _seconds(job: TrainingJob) -> float | None:
    return (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None


def paused_seconds(job: TrainingJob) -> float:
    """How long it stood still at a person's wish, after it had begun: the time that came holds this too."""
    told = job.events.filter(message__startswith="Fine-tuning job ").order_by("created_at", "pk")
    total, since = 0.0, None
    for message, at in told.values_list("message", "created_at"):
        if message.startswith("Fine-tuning job paused"):
            since = since or at
        elif message.startswith("Fine-tuning job resumed") and since:
            total += (at - since).total_seconds() if job.started_at and since >= job.started_at else 0.0
            since = None
    return total


def _disk(job: TrainingJob) -> int | None:
    total: int | None = job.checkpoints.aggregate(total=Sum("size_bytes"))["total"]
    return total


def ratio(expected: float | None, came: float | None) -> str:
    if not expected or came is None:
        return figures.DASH
    share = round(100 * (came - expected) / expected)
    return f"{share:+d} %" if share else "0 %"
