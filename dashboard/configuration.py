"""The configuration of a job as a document: what POST /v1/fine_tuning/jobs takes, as JSON or YAML; it comes back in
by configuration_file.py."""

import json
from typing import Any

import yaml

from dashboard import schemas
from playground.film import prompts
from training.models import TrainingJob
from training.rules import OPENAI_METHODS
from training.trackers.tending import wishes_of


def document(job: TrainingJob) -> dict[str, Any]:
    """Everything that was asked for, also what is auto; made again from it, the job is the same."""
    asked = job.recipe.model_dump(mode="json")
    method = OPENAI_METHODS[asked["method"]]
    numbers = _part(asked, schemas.DPO_FIELDS if method == "dpo" else schemas.SUPERVISED_FIELDS)
    found = {
        "model": job.start_checkpoint.name if job.start_checkpoint else job.base_model.name,
        "training_file": job.training_file_id or job.training_file_name,
        "validation_file": job.validation_file_id or job.validation_file_name,
        "method": {"type": method, method: {"hyperparameters": numbers}},
        "lora": _part(asked, schemas.LORA_FIELDS) if asked["adaptation"] == "lora" else None,
        "training": _part(asked, schemas.TRAINING_FIELDS),
        "seed": job.seed,
        "suffix": job.suffix,
        "label": job.label,
        "metadata": job.metadata,
        "integrations": [wish.model_dump(exclude_defaults=True) for wish in wishes_of(job)],
    }
    kept = {name: value for name, value in found.items() if value not in (None, "", [], {})}
    pinned = prompts.as_written(job)
    return kept | ({} if pinned is None else {"pinned_prompts": pinned})  # an empty list was chosen to be empty


def _part(asked: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    return {ours: asked[theirs] for ours, theirs in fields.items() if asked[theirs] is not None}


def as_json(job: TrainingJob) -> str:
    return json.dumps(document(job), indent=2, ensure_ascii=False) + "\n"


def as_yaml(job: TrainingJob) -> str:
    head = f"# Job {job.pk}, as POST /v1/fine_tuning/jobs takes it (as JSON), and the form under Jobs, New job.\n"
    return head + yaml.safe_dump(document(job), sort_keys=False, allow_unicode=True)


WRITERS = {"json": (as_json, "application/json"), "yaml": (as_yaml, "application/yaml")}
