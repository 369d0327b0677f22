"""What tells an open job page that one of its parts has changed: a mark for each part, moved by whatever it shows."""

import hashlib
import json
from typing import Any, Final

from django.db.models import Count, Max, Q

from playground.models import Deployment, Film
from training.models import TrainingJob

STATE_FIELDS: Final = (
    "status", "status_text", "phase", "step", "total_steps", "wanted", "label",
    "archived", "error_message", "refused_checkpoints",
)  # fmt: skip


def marks_of(job: TrainingJob) -> dict[str, Any]:
    """By part of the page; that of the header is its state."""
    kept = job.checkpoints.filter(archived_at=None)
    shown = ("pk", "label", "deployment__state", "deployment__proof", "export__status", "verification__proof")
    served = list(kept.values_list(*shown).order_by("pk"))
    refused = sum(row[-1] == Deployment.Proof.REFUSED for row in served)
    computed = {"archived": job.archived_at is not None, "refused_checkpoints": refused}
    return {
        "header": [computed[name] if name in computed else getattr(job, name) for name in STATE_FIELDS],
        "checkpoints": served,
        "film": [job.status, *_film_marks(job)],
        "events": job.events.aggregate(last=Max("pk"))["last"],
    }


def _film_marks(job: TrainingJob) -> list[Any]:
    """Of the answers to the pinned prompts, and of what has yet to answer them."""
    ours = Q(base_model=job.base_model_id) | Q(checkpoint__job=job.pk) | Q(checkpoint=job.start_checkpoint_id or "")
    states = Deployment.objects.filter(ours).values_list("pk", "state", "reason").order_by("pk")
    chosen = Film.objects.filter(job=job).values_list("prompts", flat=True).first()
    return [*job.frames.aggregate(last=Max("changed_at"), count=Count("pk")).values(), chosen, list(states)]


def digests(marks: dict[str, Any]) -> dict[str, str]:
    """Short, for a page to say what it was drawn from."""
    return {
        part: hashlib.sha256(json.dumps(mark, default=str).encode()).hexdigest()[:12] for part, mark in marks.items()
    }


def written(seen: dict[str, str]) -> str:
    """header.0123…,film.4567…: as the page hands it to its socket."""
    return ",".join(f"{part}.{digest}" for part, digest in seen.items())


def read(text: str) -> dict[str, str]:
    """The opposite; what is no such text is empty."""
    return dict(pair.split(".", 1) for pair in text.split(",") if "." in pair)
