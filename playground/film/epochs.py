"""Screen: one prompt, one column, and a slider over the epochs of a job, also while it is still running.

The answers are those of the film strip: a checkpoint joins when it is served, which the parity gate allows after its
proof only. A prompt that is asked here is pinned, so that the checkpoints to come answer it as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from playground.film import prompts, strip, tending
from playground.film.models import Frame
from playground.film.strip import Cell
from playground.film.written import LONGEST
from playground.forms import MOST_COLUMNS
from playground.models import Deployment, Verification
from playground.sheets import columns_address
from training.models import TrainingJob

PAGE = "playground/epochs.html"


@dataclass(frozen=True)
class Stop:
    """One place of the slider: weights that have an answer, or give one now."""

    key: str
    words: str  # 'epoch 3 of 5, validation loss 1.23'
    model: str
    proof: str  # in words; empty where there is none
    verified: bool
    cell: Cell


def epochs(request: HttpRequest, job_id: str) -> HttpResponse:
    """`?prompt=KEY` chooses one of the pinned prompts; htmx gets the part that changes."""
    job = _job(request, job_id)
    found = strip.of(job)
    line = next((each for each in found.lines if each.pinned.key == request.GET.get("prompt")), None)
    line = line or (found.lines[0] if found.lines else None)
    frames = tending.frames_of(job)
    stops, waiting = _stops(job, frames, line.cells if line else ())
    context = {
        "job": job,
        "strip": found,
        "lines": found.lines,
        "line": line,
        "stops": stops,
        "waiting": waiting,
        "live": not job.is_final or found.state in ("waiting", "answering"),
        "columns_address": columns_address(_columns(job, frames)),
        "longest": LONGEST,
    }
    return render(request, f"{PAGE}#live" if request.htmx else PAGE, context)


@require_POST
def ask_all(request: HttpRequest, job_id: str) -> HttpResponse:
    """One more prompt for every checkpoint of the job, those that are there and those to come."""
    job = _job(request, job_id)
    text = request.POST.get("text", "").replace("\r\n", "\n").strip()
    key = ""
    try:
        (asked,) = prompts.read(job, [text])
        key = asked.key
        prompts.pin(job, [*prompts.of(job), asked])
        tending.ask(job)
    except ApiError as refused:
        messages.error(request, refused.message)
        return redirect("epochs", job.pk)
    return redirect(f"{reverse('epochs', args=[job.pk])}?{urlencode({'prompt': key})}")


def _job(request: HttpRequest, job_id: str) -> TrainingJob:
    mine = TrainingJob.objects.of(request.project)  # type: ignore[attr-defined]
    related = ("base_model__deployment", "start_checkpoint__base_model", "training_file", "validation_file")
    return get_object_or_404(mine.select_related(*related), pk=job_id)


def _stops(job: TrainingJob, frames: Sequence[Frame], cells: Sequence[Cell]) -> tuple[list[Stop], list[str]]:
    """Those with an answer, and the names of those that wait."""
    proofs = {row.checkpoint_id: row for row in Verification.objects.filter(checkpoint__job=job)}
    stops, waiting = [], []
    for frame, cell in zip(frames, cells, strict=False):
        words = _words(job, frame)
        if not (cell.pieces or cell.error or cell.growing):
            waiting.append(words)
            continue
        proof = proofs.get(frame.checkpoint_id) if frame.checkpoint_id else None
        verified = bool(proof and proof.proof == Deployment.Proof.VERIFIED)
        target = tending.target_of(frame)
        stops.append(
            Stop(frame.checkpoint_id or "before", words, target.name, proof.outcome if proof else "", verified, cell)
        )
    return stops, waiting


def _words(job: TrainingJob, frame: Frame) -> str:
    checkpoint = frame.checkpoint
    if checkpoint is None:
        return "before training"
    of = f" of {job.resolved.n_epochs}" if job.resolved and checkpoint.ends_epoch else ""
    loss = checkpoint.full_valid_loss
    return f"{checkpoint.when}{of}" + (f", validation loss {loss:.4g}" if loss is not None else "")


def _columns(job: TrainingJob, frames: Sequence[Frame]) -> list[str]:
    """The start and the job's checkpoints for the playground: all, or of many the first, the last and some between."""
    names = [tending.target_of(frame).name for frame in frames]
    if len(names) <= MOST_COLUMNS:
        return names
    last = len(names) - 1
    return [names[round(index * last / (MOST_COLUMNS - 1))] for index in range(MOST_COLUMNS)]


urlpatterns: list[URLPattern] = [
    path("", epochs, name="epochs"),
    path("ask", ask_all, name="ask-epochs"),
]
