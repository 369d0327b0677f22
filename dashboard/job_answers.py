"""Jobs, their events and checkpoints as /v1 tells them; those that came from OpenAI: imported_answers."""

from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef

from dashboard import imported_answers, schemas
from playground.deployments import FIGURES
from playground.models import Verification
from training import metric_rows
from training.models import Checkpoint, JobEvent, TrainingJob
from training.quotas import turns
from training.rules import OPENAI_METHODS
from training.trackers import tending
from training.unjudged import unjudged_because
from training.usage import jobs as usage


def with_related(jobs: Any) -> Any:
    """With what `as_job` tells."""
    judged = Checkpoint.objects.filter(job=OuterRef("pk"), full_valid_loss__isnull=False)
    related = jobs.select_related("base_model", "start_checkpoint", "imported").prefetch_related("trackers")
    return related.annotate(is_judged=Exists(judged))


def as_job(job: TrainingJob, positions: dict[str, int] | None = None) -> dict[str, Any]:
    """Complete at every moment; numbers take the place of "auto" as soon as they are known. `positions`: those of the
    queue, where they are known already."""
    if hasattr(job, "imported"):
        return imported_answers.as_job(job) | {"hone": progress_of(job, positions) | imported_answers.origin(job)}
    settled: dict[str, Any] = {**job.recipe.model_dump(), **(job.resolved_json or {})}
    hyperparameters = {name: settled[name] for name in schemas.SUPERVISED_FIELDS}
    running = job.status == TrainingJob.Status.RUNNING
    return {
        "id": job.id,
        "model": job.start_checkpoint.name if job.start_checkpoint else job.base_model.name,
        "created_at": int(job.created_at.timestamp()),
        "finished_at": job.finished_at and int(job.finished_at.timestamp()),
        "fine_tuned_model": job.fine_tuned_model or None,
        "organization_id": f"org-{settings.HONE_ORG}",
        "result_files": [job.result_file_id] if job.result_file_id else [],
        "status": job.status,
        "training_file": job.training_file_id or job.training_file_name,
        "validation_file": job.validation_file_id or job.validation_file_name or None,
        "hyperparameters": hyperparameters,
        "trained_tokens": job.trained_tokens if job.is_final else None,
        "error": {
            "code": job.error_code or None,
            "message": job.error_message or None,
            "param": job.error_param or None,
        },
        "user_provided_suffix": job.suffix or None,
        "seed": job.seed,
        "estimated_finish": int(job.estimated_finish_at.timestamp()) if running and job.estimated_finish_at else None,
        "integrations": [row.integration for row in job.trackers.all()],
        "metadata": job.metadata,
        "method": method_as_asked(settled),
        "lora": lora_of(settled),
        "training": {name: settled[name] for name in schemas.TRAINING_FIELDS},
        "hone": progress_of(job, positions),
    }


def method_as_asked(settled: dict[str, Any]) -> dict[str, Any]:
    kind = OPENAI_METHODS[settled["method"]]
    fields = schemas.DPO_FIELDS if kind == "dpo" else schemas.SUPERVISED_FIELDS
    return {"type": kind, kind: {"hyperparameters": {name: settled[name] for name in fields}}}


def lora_of(settled: dict[str, Any]) -> dict[str, Any] | None:
    if settled["adaptation"] == "full":
        return None
    return {ours: settled[theirs] for ours, theirs in schemas.LORA_FIELDS.items()}


def progress_of(job: Any, positions: dict[str, int] | None = None) -> dict[str, Any]:
    """Of a row of `jobs_of`."""
    if positions is None:
        positions = turns.positions() if job.status == TrainingJob.Status.QUEUED else {}
    return {
        "label": job.label or None,
        "status_text": job.status_text or None,
        "phase": job.phase or None,
        "step": job.step,
        "total_steps": job.total_steps or None,
        "best_model": job.best_name if job.is_judged else None,
        "queue_position": positions.get(job.pk),
        "device_seconds": round(usage.device_seconds(job), 1),
        "cost": usage.cost(job),
        "trackers": [tracked.as_dict() for tracked in tending.states(job)],
    }


def as_event(event: JobEvent) -> dict[str, Any]:
    return {
        "id": event.event_id,
        "created_at": int(event.created_at.timestamp()),
        "level": event.level,
        "message": event.message,
        "type": event.type,
        "data": event.data,
    }


def as_checkpoint(row: Checkpoint) -> dict[str, Any]:
    figures = {name: getattr(row, field) for name, field in metric_rows.EVENT_KEYS.items()}
    return {
        "id": row.id,
        "created_at": int(row.created_at.timestamp()),
        "fine_tuning_job_id": row.job_id,
        "fine_tuned_model_checkpoint": row.name,
        "step_number": row.step,
        "metrics": {
            "step": row.step,
            **{name: value for name, value in figures.items() if value is not None},
            **{f"full_valid_{name}": value for name, value in row.more.items()},
        },
        "epoch": row.epoch,
        "size_bytes": row.size_bytes,
        "not_validated": unjudged_because(row) or None,
        "not_servable": None,
        "parity": as_parity(getattr(row, "verification", None)),
    }


def as_parity(found: Verification | None) -> dict[str, Any] | None:
    if found is None:
        return None
    figures = {name: getattr(found, name) for name in FIGURES if name != "tokens"}
    times = {"vllm": found.vllm_version, "checked_at": int(found.checked_at.timestamp())}
    return {"outcome": found.outcome, "reason": found.reason or None, **figures, **times}
