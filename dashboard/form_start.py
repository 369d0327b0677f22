"""What the form of a new job starts with: another job's values, a recipe's, the files that belong together."""

import re
import secrets
from typing import Any

from dashboard.expert_fields import WITH_AUTO
from dashboard.forms import LARGEST_SEED, RECIPE_FIELDS
from dashboard.forms_trackers import initial_trackers
from playground.film import prompts, written
from training.engine.spec import Recipe
from training.imported.models import local_reruns
from training.models import DatasetFile, TrainingJob
from training.trackers.tending import wishes_of


def initial_from_job(job: TrainingJob) -> dict[str, Any]:
    """Exactly this job's configuration; only its name for people gets a number."""
    values: dict[str, Any] = {
        "model": _start(job),
        "training_file": job.training_file_id,
        "validation": "file" if job.validation_file_id else "none",
        "validation_file": job.validation_file_id,
        "suffix": job.suffix,
        "seed": job.seed,
        "label": next_label(job),
        "parent": job.id,
    }
    pinned = prompts.as_written(job)
    values["film"] = "off" if pinned == [] else "drawn"  # the latter: what its parent is asked
    values["pinned_prompts"] = written.lines(pinned or [])  # to begin with, for who wants to write others
    return values | initial_from_recipe(job.recipe) | initial_trackers(wishes_of(job))


def _start(job: TrainingJob) -> str:
    """Of an imported job that continued another one, what this one's rerun has made here; else its own."""
    if hasattr(job, "imported") and job.imported.start_job and (made := local_reruns(job.imported.start_job)):
        return f"checkpoint:{made[0].pk}"
    return f"checkpoint:{job.start_checkpoint_id}" if job.start_checkpoint_id else f"base:{job.base_model.name}"


def next_label(job: TrainingJob) -> str:
    """The parent's name with the next free number, so that the two can be told apart: Tickets, Tickets (2)."""
    stem = re.sub(r" \(\d+\)$", "", job.display_name if job.label or job.suffix else "")[:190]
    if not stem:
        return ""
    taken = set(TrainingJob.objects.of(job.project).filter(label__startswith=stem).values_list("label", flat=True))
    return next(name for n in range(2, len(taken) + 3) if (name := f"{stem} ({n})") not in taken)


def validation_partner(file: DatasetFile) -> DatasetFile | None:
    """The validation file that was made together with this one: the other half of a split, or of a sample. Versions
    are taken for what they were made of: they have the same partner, and the newest of it is meant."""
    mine = DatasetFile.objects.of(file.project)
    others = mine.usable().exclude(family=file.family).filter(format=file.format, filename__icontains="valid")
    first = mine.of_family(file).last() or file
    if first.parent_id:
        halves = mine.filter(parent=first.parent_id)
    elif first.sample_task:
        halves = mine.filter(sample_task=first.sample_task)
    else:
        return None
    return others.filter(family__in=halves.values("family")).newest(DatasetFile.Status.PROCESSED).first()


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
