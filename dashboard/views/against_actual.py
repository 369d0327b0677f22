"""The tab that sets each estimated figure of a job beside what came."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from django.db.models import Max
from django.http import HttpRequest

from dashboard.templatetags import figures
from training.engine.spec import Estimate, SecondsParts
from training.model_folders import size_of
from training.models import TrainingJob
from training.standing import stood


class Line(NamedTuple):
    label: str
    show: Callable[[Any], str]
    expected: Any
    came: Any
    part: bool = False  # of the line above
    grows: bool = False  # with the steps: comparable only when all of them were done

    def cells(self, whole: bool) -> dict[str, Any]:
        return {
            "label": self.label,
            "expected": self.show(self.expected),
            "came": self.show(self.came),
            "ratio": ratio(self.expected, self.came) if whole or not self.grows else figures.DASH,
            "part": self.part,
        }


def estimate_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    """Each expected figure beside what came."""
    expected = job.estimate
    if expected is None:
        return {"comparison": []}
    return {
        "comparison": [line.cells(_is_whole(job)) for line in lines(job, expected)],
        "partly": job.is_final and not _is_whole(job),
        "warnings": expected.warnings,
        "stood": stood(job),
        "calibrated_by": expected.calibrated_by,
        "memory_parts": expected.memory_parts,
    }


def _is_whole(job: TrainingJob) -> bool:
    """It went through all steps of its estimate, or still may."""
    return not job.is_final or (job.status == "succeeded" and job.step >= job.total_steps)


def lines(job: TrainingJob, expected: Estimate) -> list[Line]:
    """A figure that is not known, or not yet, is None."""
    started, measured = job.started_json or {}, job.measured
    whole = _is_whole(job)
    tokens = started["train_tokens"] * job.resolved.n_epochs if whole and started and job.resolved else None
    seconds = measured.seconds if measured and not stood(job).after_start else _seconds(job)
    found = [
        Line("Steps", figures.count, expected.steps, (job.total_steps if whole else job.step) or None, grows=True),
        Line("Tokens through the model", figures.count, expected.tokens, tokens, grows=True),
        Line("Tokens trained on", figures.count, expected.trained_tokens, job.trained_tokens, grows=True),
        Line("Rows cut to fit", figures.count, expected.truncated_rows, started.get("truncated_rows")),
        Line("Time", figures.duration, expected.seconds, seconds, grows=True),
        *_parts(expected.seconds_parts, measured.parts if measured else None),
        Line("Memory", figures.size, expected.memory_bytes, job.metrics.aggregate(top=Max("memory_bytes"))["top"]),
        *_disk(job, expected),
    ]
    if price := expected.price:
        show = partial(figures.money, currency=price.currency)
        came = price.cost(tokens, seconds) if tokens and seconds else None
        found.append(Line("Cost", show, expected.cost, came, grows=True))
    return found


def _parts(expected: SecondsParts | None, came: SecondsParts | None) -> list[Line]:
    names = {"start": "until the first step", "training": "steps", "rest": "validation, checkpoints, end"}
    if not expected:
        return []
    return [
        Line(label, figures.duration, getattr(expected, name), getattr(came, name, None), part=True, grows=True)
        for name, label in names.items()
    ]


def _seconds(job: TrainingJob) -> float | None:
    """From its first turn to its end, without what it stood still."""
    if not (job.finished_at and job.started_at):
        return None
    return max(0.0, (job.finished_at - job.started_at).total_seconds() - stood(job).after_start)


def _disk(job: TrainingJob, expected: Estimate) -> list[Line]:
    """What was saved between the epochs' ends, as somebody asked or a rule did, was not in the estimate: a line of its
    own."""
    ends, between = [], []
    for checkpoint in job.checkpoints.select_related("job"):
        (ends if checkpoint.ends_epoch else between).append(checkpoint)
    beside = sum(size_of(checkpoint.path) for checkpoint in between)
    if job.measured:
        came: int | None = max(0, job.measured.disk_bytes - beside)
    else:
        came = sum(checkpoint.size_bytes for checkpoint in ends) if ends else None
    found = [Line("Disk", figures.size, expected.disk_bytes, came, grows=True)]
    label = f"{len(between)} checkpoint{'' if len(between) == 1 else 's'} saved between, not estimated"
    return [*found, Line(label, figures.size, None, beside, part=True)] if between else found


def ratio(expected: float | None, came: float | None) -> str:
    if not expected or came is None:
        return figures.DASH
    share = round(100 * (came - expected) / expected)
    return f"{share:+d} %" if share else "0 %"
