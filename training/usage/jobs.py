"""What training took: written when a job ends or pauses, as what it has taken in all less what was written before, so
that no crash and no second writing counts anything twice."""

from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from training.models import TrainingJob
from training.usage.models import Usage

FIGURES = ("trained_tokens", "file_tokens", "device_seconds")


@transaction.atomic
def write(job_id: str) -> None:
    """Up to now. Nothing new writes nothing."""
    job = TrainingJob.objects.select_for_update(of=("self",)).select_related("base_model").filter(pk=job_id).first()
    if job is None:
        return
    written = Usage.objects.filter(job=job).aggregate(**{f"{name}_before": Sum(name) for name in FIGURES})
    new = {name: max(0, value - (written[f"{name}_before"] or 0)) for name, value in so_far(job).items()}
    if not any(new.values()):
        return
    hour, base = timezone.now().replace(minute=0, second=0, microsecond=0), job.base_model.name
    row = Usage.objects.filter(job=job, hour=hour).first() or Usage(
        project_id=job.project_id, job=job, hour=hour, kind=Usage.Kind.TRAINING, user_id=job.created_by_id
    )
    row.model = row.base = base
    for name, value in new.items():
        setattr(row, name, getattr(row, name) + value)
    row.save()


def so_far(job: TrainingJob) -> dict[str, Any]:
    """Since its first start."""
    told = job.metrics.exclude(trained_tokens=None).order_by("-step").values_list("trained_tokens", flat=True)
    return {
        "trained_tokens": told.first() or 0,
        "file_tokens": file_tokens(job),
        "device_seconds": device_seconds(job),
    }


def device_seconds(job: TrainingJob) -> float:
    """That its trainers were alive, times the devices."""
    return job.trainer_seconds * (job.started_json or {}).get("world_size", 1)


def file_tokens(job: TrainingJob) -> int:
    """Of the training file, each epoch anew, as far as the job has come."""
    started, resolved = job.started_json, job.resolved
    if not started or not resolved or not job.total_steps:
        return 0
    return round(started["train_tokens"] * resolved.n_epochs * min(1.0, job.step / job.total_steps))


def cost(job: TrainingJob) -> dict[str, Any] | None:
    """So far, at the price that it was estimated with; None where there was none."""
    price = job.estimate.price if job.estimate else None
    if price is None:
        return None
    return {"amount": round(price.cost(file_tokens(job), job.trainer_seconds), 6), "currency": price.currency}
