"""Screen: with which projects a checkpoint is shared. Everybody of its project sees it, owners add and remove."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from accounts.models import Project
from dashboard.audit import sharing as audited
from training.models import Checkpoint


def _checkpoint(request: HttpRequest, job_id: str, checkpoint_id: str) -> Checkpoint:
    mine = Checkpoint.objects.of(request.project).select_related("job__base_model", "project")
    return get_object_or_404(mine, pk=checkpoint_id, job=job_id)


@require_GET
def sharing(request: HttpRequest, job_id: str, checkpoint_id: str) -> HttpResponse:
    return _page(request, _checkpoint(request, job_id, checkpoint_id))


@require_POST
def share(request: HttpRequest, job_id: str, checkpoint_id: str) -> HttpResponse:
    checkpoint, asked = _checkpoint(request, job_id, checkpoint_id), request.POST.get("project", "").strip()
    try:
        made = audited.share(request, checkpoint, request.user, [asked])[0]  # type: ignore[arg-type]
    except ApiError as refused:
        return _page(request, checkpoint, asked, refused.message, refused.status if refused.status == 403 else 422)
    messages.success(request, f"Keys of {made.shared_with} may ask {checkpoint.name} now.")
    return redirect("sharing", job_id, checkpoint_id)


@require_POST
def take_back(request: HttpRequest, job_id: str, checkpoint_id: str, permission_id: str) -> HttpResponse:
    try:
        checkpoint = _checkpoint(request, job_id, checkpoint_id)
        audited.take_back(request, checkpoint, request.user, permission_id)  # type: ignore[arg-type]
        messages.success(request, "It is not shared with that project any more.")
    except ApiError as refused:
        messages.error(request, refused.message)
    return redirect("sharing", job_id, checkpoint_id)


def _page(
    request: HttpRequest, checkpoint: Checkpoint, asked: str = "", problem: str = "", status: int = 200
) -> HttpResponse:
    permissions = checkpoint.permissions.select_related("shared_with", "created_by")
    already = [each.shared_with_id for each in permissions]
    context = {
        "checkpoint": checkpoint,
        "permissions": permissions,
        "is_owner": checkpoint.project.is_owned_by(request.user),
        "choices": Project.objects.of(request.user).exclude(pk__in=[checkpoint.project_id, *already]),  # type: ignore[arg-type]
        "asked": asked,
        "problem": problem,
    }
    return render(request, "dashboard/sharing.html", context, status=status)
