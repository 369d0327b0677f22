"""Jobs that came from OpenAI, as the API tells them: as OpenAI told them, with what it left out filled in."""

from typing import Any

from training.imported.models import ImportedCheckpoint
from training.imported.words import STAYED
from training.models import TrainingJob

NUMBERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
NULLS = {"code": None, "message": None, "param": None}


def as_job(job: TrainingJob) -> dict[str, Any]:
    """OpenAI's own model, ids, figures and times. Without `hone`."""
    told, imported = job.imported.answer, job.imported
    numbers = imported.hyperparameters
    asked = {name: numbers.get(name) or "auto" for name in NUMBERS}
    of_method = {**((told.get("method") or {}).get(imported.method) or {}), "hyperparameters": {**numbers, **asked}}
    if imported.method == "dpo":
        of_method["hyperparameters"].setdefault("beta", "auto")
    kept = ("id", "created_at", "metadata", "trained_tokens", "validation_file")
    optional = ("finished_at", "fine_tuned_model", "user_provided_suffix", "estimated_finish")
    return {
        **{name: told.get(name) for name in (*kept, *optional)},
        "model": imported.model,
        "result_files": told.get("result_files") or [],
        "status": job.status,
        "training_file": told.get("training_file") or "",
        "hyperparameters": asked,
        "error": NULLS | (told.get("error") or {}),
        "integrations": told.get("integrations") or [],
        "method": {"type": imported.method, imported.method: of_method},
        "seed": told.get("seed") or 0,
        "organization_id": imported.organization,
        "lora": None,
        "training": {},
    }


def origin(job: TrainingJob) -> dict[str, Any]:
    """What `hone` adds: where it came from, and what a rerun starts from."""
    imported = job.imported
    facts = {"from": "OpenAI", "at": int(imported.imported_at.timestamp()), "notes": imported.notes}
    facts |= {"continues": imported.start_job_id, "weights": STAYED if imported.fine_tuned_model else None}
    return {"imported": facts | {"local_base": job.base_model.name if imported.can_rerun else None}}


def as_checkpoint(row: ImportedCheckpoint) -> dict[str, Any]:
    return {
        "id": row.pk,
        "created_at": int(row.created_at.timestamp()),
        "fine_tuning_job_id": row.job_id,
        "fine_tuned_model_checkpoint": row.name,
        "step_number": row.step,
        "metrics": {name: value for name, value in row.metrics.items() if isinstance(value, int | float)},
        "epoch": None,
        "size_bytes": 0,
        "not_validated": None,
        "not_servable": f"{STAYED}.",
        "parity": None,
    }
