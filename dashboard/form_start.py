"""What the form of a new job starts with: another job's values, a recipe's, the files that belong together."""

import re
import secrets
from typing import Any

from dashboard.expert_fields import WITH_AUTO
from dashboard.forms import LARGEST_SEED, RECIPE_FIELDS
from dashboard.forms_trackers import initial_trackers
from training.engine.spec import Recipe
from training.models import DatasetFile, TrainingJob
from training.trackers.tending import wishes_of


def initial_from_job(job: TrainingJob) -> dict[str, Any]:
    """Exactly this job's configuration; only its name for people gets a number."""
    start = f"checkpoint:{job.start_checkpoint_id}" if job.start_checkpoint_id else f"base:{job.base_model.name}"
    values: dict[str, Any] = {
        "model": start,
        "training_file": job.training_file_id,
        "validation": "file" if job.validation_file_id else "none",
        "validation_file": job.validation_file_id,
        "suffix": job.suffix,
        "seed": job.seed,
        "label": next_label(job),
        "parent": job.id,
    }
    return values | initial_from_recipe(job.recipe) | initial_trackers(wishes_of(job))


def next_label(job: TrainingJob) -> str:
    """The parent's name with the next free number, so that the two can be told apart: Tickets, Tickets (2)."""
    stem = re.sub(r" \(\d+\)$", "", job.display_name if job.label or job.suffix else "")[:190]
    if not stem:
        return ""
    taken = set(TrainingJob.objects.of(job.project).filter(label__startswith=stem).values_list("label", flat=True))
    return next(name for n in range(2, len(taken) + 3) if (name := f"{stem} ({n})") not in taken)


def validation_partner(file: DatasetFile) -> DatasetFile | None:
    """The validation file that was made together with this one: the other half of a split, or of a sample."""
    others = DatasetFile.objects.of(file.project).usable().exclude(pk=file.pk).filter(format=file.format)
    others = others.filter(filename__icontains="valid")
    if file.parent_id:
        return others.filter(parent=file.parent_id).first()
    return others.filter(sample_task=file.sample_task).first() if file.sample_task else None


def initial_from_recipe(recipe: Recipe) -> dict[str, Any]:
    """Text for each control; auto is an empty box."""
    shown: dict[str, Any] = {}
    for name in RECIPE_FIELDS:
        value = getattr(recipe, name)
        if value == "auto":
            shown[name] = "auto" if name in WITH_AUTO else ""
        else:
            shown[name] = ", ".join(value) if isinstance(value, list) else plain(value)
    return shown


def plain(value: Any) -> str:
    """A number as a person would type it: 0.0 is 0, 1.0 is 1."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def new_seed() -> int:
    return secrets.randbelow(LARGEST_SEED)
