"""What a job's page says of a job that came from OpenAI, and the press that lets its old name mean the rerun."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from dashboard.form_start import plain
from playground.refusals import checking
from training.aliases import pointing
from training.aliases.models import Alias, Promotion
from training.imported.models import ImportedCheckpoint, local_reruns
from training.models import TrainingJob


def panel(job: TrainingJob) -> dict[str, Any] | None:
    """None for a job that was made here."""
    if not hasattr(job, "imported"):
        return None
    imported, made = job.imported, local_reruns(job)
    before = local_reruns(imported.start_job) if imported.start_job else []
    now = _meaning(job) if imported.fine_tuned_model else None
    named = {name: value for name, value in imported.hyperparameters.items() if isinstance(value, str | int | float)}
    return {
        "imported": imported,
        "asked": [(name, plain(value)) for name, value in named.items()],
        "start": before[0].name if before else job.base_model.name,
        "alias": now,
        "offered": [each for each in made if now is None or now.checkpoint_id != each.pk]
        if imported.fine_tuned_model
        else [],
    }


def _meaning(job: TrainingJob) -> Promotion | None:
    """What the old name means here."""
    named = Alias.objects.of(job.project).filter(name=job.imported.fine_tuned_model).prefetch_related("promotions")
    alias = named.first()
    return alias.current if alias else None


def checkpoints(job: TrainingJob) -> list[ImportedCheckpoint]:
    """Oldest first, as training made them; none of a job that was made here."""
    return list(job.imported_checkpoints.order_by("step")) if hasattr(job, "imported") else []


@require_POST
def answer_by(request: HttpRequest, job_id: str) -> HttpResponse:
    """The name of its model at OpenAI points at what a rerun has made from now on."""
    job = get_object_or_404(TrainingJob.objects.of(request.project).exclude(imported=None), pk=job_id)
    made = {each.pk: each for each in local_reruns(job)}.get(request.POST.get("checkpoint", ""))
    try:
        if made is None:
            raise ApiError("That model is no rerun of this job, or it has been deleted.", status=404)
        checking.refuse_unsafe(made)
        reason = f"The rerun of {job.pk} at OpenAI"
        pointing.promote(request.project, request.user, job.imported.fine_tuned_model, made, reason)  # type: ignore[arg-type]
        messages.success(request, f"{job.imported.fine_tuned_model} answers with {made.name} from now on.")
    except ApiError as refused:
        messages.error(request, refused.message)
    return redirect("job", job_id)
