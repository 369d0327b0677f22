"""Taking a checkpoint away from the job page: as it is, or merged into its base. Downloads can go on after a break."""

from collections.abc import Callable

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.errors import ApiError
from dashboard import ranges
from training import exports
from training.models import Checkpoint, Export
from training.parcels import Parcel


def _checkpoint(request: HttpRequest, job_id: str, checkpoint_id: str) -> Checkpoint:
    mine = Checkpoint.objects.of(request.project).select_related("job__base_model", "base_model", "project")  # type: ignore[attr-defined]
    return get_object_or_404(mine, pk=checkpoint_id, job=job_id)


@require_safe
def download_checkpoint(request: HttpRequest, job_id: str, checkpoint_id: str) -> HttpResponseBase:
    """Weights, tokenizer and model card as one tar; the trainer's own state (optimizer, position) stays here."""
    checkpoint = _checkpoint(request, job_id, checkpoint_id)
    return _answer(request, lambda: exports.as_trained(checkpoint))


@require_safe
def download_merged(request: HttpRequest, job_id: str, checkpoint_id: str) -> HttpResponseBase:
    export = get_object_or_404(Export, checkpoint=_checkpoint(request, job_id, checkpoint_id))
    return _answer(request, lambda: exports.merged(export))


def _answer(request: HttpRequest, pack: Callable[[], Parcel]) -> HttpResponseBase:
    try:
        return ranges.answer(request, pack())
    except ApiError as error:
        raise Http404(error.message) from error


@require_POST
def merge(request: HttpRequest, job_id: str, checkpoint_id: str) -> HttpResponse:
    """Asks for the merged weights; the row of the checkpoint then says how far they are."""
    try:
        exports.ask(checkpoint=_checkpoint(request, job_id, checkpoint_id), user=request.user)  # type: ignore[arg-type]
    except ApiError as refused:
        messages.error(request, refused.message)
    return redirect(f"{reverse('job', args=[job_id])}#checkpoints")
