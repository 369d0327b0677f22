"""Estimates of this server: what a finished job took, and what the finished ones say of the next one."""

from datetime import timedelta
from pathlib import Path

from django.db.models import Avg, F, FloatField, Max
from django.db.models.functions import Cast
from django.utils import timezone

from training import home
from training.engine.calibrate import FinishedRun, Kind, calibrate
from training.engine.estimate import as_trained, estimate, formula_memory, formula_seconds
from training.engine.facts import StartFacts
from training.engine.spec import (
    DataFacts,
    DeviceFacts,
    Estimate,
    Measured,
    ModelFacts,
    Price,
    Resolved,
    SecondsParts,
)
from training.models import TrainingJob
from training.standing import stood

LOOKED_AT = 40  # finished jobs that may calibrate, newest first


def expect(
    method: str,
    resolved: Resolved,
    data: DataFacts,
    model: ModelFacts,
    device: DeviceFacts,
    valid: DataFacts | None = None,
    start: StartFacts | None = None,
    price: Price | None = None,
) -> Estimate:
    """The estimate, calibrated by this server's finished jobs."""
    rows = as_trained(data, resolved).rows
    kind = kind_of(method, resolved, model, data.tokens / max(1, rows))
    found = calibrate(finished_runs(device), kind)
    return estimate(resolved, data, model, device, valid, start, calibration=found, price=price)


def kind_of(method: str, resolved: Resolved, model: ModelFacts, row_tokens: float) -> Kind:
    return Kind(model.name, model.parameters, method, resolved.adaptation, resolved.dtype, row_tokens)


def finished_runs(device: DeviceFacts) -> list[FinishedRun]:
    """Of every project: how fast this machine is says nothing of anybody's data."""
    jobs = TrainingJob.objects.filter(status="succeeded", estimate_json__device=device.label)
    jobs = jobs.exclude(measured_json=None).exclude(started_json=None).select_related("base_model")
    return [finished_run(job, device) for job in jobs.order_by("-finished_at")[:LOOKED_AT]]


def finished_run(job: TrainingJob, device: DeviceFacts) -> FinishedRun:
    """A succeeded job beside what today's formulas say of it."""
    resolved, measured, started, model = job.resolved, job.measured, job.started_json, job.base_model.facts
    assert resolved and measured and started
    tokens, valid_tokens = (started[name] * resolved.n_epochs for name in ("train_tokens", "valid_tokens"))
    rows = started["train_rows"]
    return FinishedRun(
        kind=kind_of(job.recipe.method, resolved, model, started["train_tokens"] / max(1, rows)),
        formula_seconds=formula_seconds(resolved, model, device, tokens, valid_tokens, rows),
        formula_bytes=formula_memory(resolved, model, device).total,
        measured=measured,
    )


def measure(job: TrainingJob) -> Measured | None:
    """What a job took that has just trained to its end; None when it left too little to tell."""
    started, resolved = job.started_json, job.resolved
    figures = job.metrics.exclude(tokens_per_second=None).aggregate(
        seconds_a_token=Avg(1.0 / Cast(F("tokens_per_second"), FloatField())), memory=Max("memory_bytes")
    )
    if not started or not resolved or not job.started_at or not figures["seconds_a_token"]:
        return None
    seconds = (timezone.now() - job.started_at) / timedelta(seconds=1) - stood(job).after_start
    start = started["time"] - job.started_at.timestamp()
    training = started["train_tokens"] * resolved.n_epochs * figures["seconds_a_token"]
    parts = SecondsParts(start=start, training=training, rest=max(0.0, seconds - start - training))
    unbroken = job.attempt <= 1 and not started["resumed_step"]
    return Measured(
        seconds=seconds,
        parts=parts if unbroken else None,
        memory_bytes=figures["memory"] or 0,
        disk_bytes=folder_bytes(job.folder),
    )


def folder_bytes(folder: Path) -> int:
    """Of checkpoints and resume points."""
    return home.size_of(folder / "checkpoints") + home.size_of(folder / "resume")
