"""The film strip of a job: its part of the page, its pinned prompts, and asking for the answers."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from playground.film import prompts, strip, tending
from playground.film.prompts import Pinned
from training.models import TrainingJob

BLANK_LINES = 2  # of the form, for new prompts


def part(job: TrainingJob) -> dict[str, Any]:
    """A job without prompts has epochs to compare as soon as there are two: they are asked on that page."""
    pinned = prompts.of(job)
    return {
        "strip": strip.of(job, pinned),
        "has_epochs": job.checkpoints.filter(archived_at=None).count() > 1,
        # what the form begins with; None is a line for a new prompt
        "film_lines": [*pinned, *[None] * min(BLANK_LINES, prompts.MOST - len(pinned))],
    }


@require_POST
def ask(request: HttpRequest, job_id: str) -> HttpResponse:
    """Every answer that is missing, now."""
    job = _job(request, job_id)
    tending.ask(job)
    return redirect(f"{reverse('job', args=[job.id])}#film")


@require_POST
def pin(request: HttpRequest, job_id: str) -> HttpResponse:
    """The prompts of the form: a cleared one goes, a changed one keeps the conversation before it."""
    job = _job(request, job_id)
    try:
        prompts.pin(job, _written(job, request))
    except ApiError as refused:
        messages.error(request, refused.message)
    else:
        messages.success(request, "The prompts are pinned; each checkpoint answers the new ones when it is served")
    return redirect(f"{reverse('job', args=[job.id])}#film")


def _job(request: HttpRequest, job_id: str) -> TrainingJob:
    mine = TrainingJob.objects.of(request.project)  # type: ignore[attr-defined]
    return get_object_or_404(mine.select_related("base_model", "training_file", "validation_file"), pk=job_id)


def _written(job: TrainingJob, request: HttpRequest) -> list[Pinned]:
    """Each line of the form has `key` (of the prompt that stood there, or empty), `prompt` and `expected`."""
    known = {each.key: each for each in prompts.of(job)}
    fields = (request.POST.getlist(name) for name in ("key", "prompt", "expected"))
    found = []
    for key, text, expected in zip(*fields, strict=False):
        text, expected = _as_typed(text), _as_typed(expected)
        if not text.strip():
            continue
        old = known.get(key)
        asked = (old if text == old.text.strip() else old.asking(text)) if old else prompts.read(job, [text])[0]
        found.append(Pinned(asked.ask, expected))
    return found


def _as_typed(text: str) -> str:
    """Browsers send every line's end as two characters."""
    return text.replace("\r\n", "\n").strip()
