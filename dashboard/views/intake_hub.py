"""Screen: a file of a dataset repository on the hub is brought here; and what is being made at all."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from training.hub import HubError
from training.intake import hub_files, making
from training.intake.models import Making

MOST_FILES = 300


@require_GET
def from_hub(request: HttpRequest) -> HttpResponse:
    """?id= lists what can be read of that repository."""
    hub_id = request.GET.get("id", "").strip()
    found, trouble = None, ""
    if hub_id:
        try:
            found = hub_files.describe(hub_id)
        except HubError as error:
            trouble = str(error)
    context = {
        "asked": hub_id,
        "found": found,
        "trouble": trouble,
        "files": found.files[:MOST_FILES] if found else [],
        "more": max(0, len(found.files) - MOST_FILES) if found else 0,
    }
    return render(request, "dashboard/intake_hub.html", context)


@require_POST
def bring(request: HttpRequest) -> HttpResponse:
    try:
        found = hub_files.describe(request.POST.get("id", ""))
        row = hub_files.ask(request.project, request.user, found, request.POST.get("path", ""))  # type: ignore[attr-defined, arg-type]
    except (HubError, ApiError) as error:
        messages.error(request, str(error))
        return redirect("dataset-from-hub")
    messages.success(request, f"{row.name} is being downloaded; it appears in the list.")
    return redirect("datasets")


@require_POST
def try_again(request: HttpRequest, making_id: str) -> HttpResponse:
    making.again(get_object_or_404(Making.objects.of(request.project), pk=making_id))  # type: ignore[attr-defined]
    return redirect("datasets")


@require_POST
def dismiss(request: HttpRequest, making_id: str) -> HttpResponse:
    making.forget(get_object_or_404(Making.objects.of(request.project), pk=making_id))  # type: ignore[attr-defined]
    return redirect("datasets")


urlpatterns = [
    path("hub", from_hub, name="dataset-from-hub"),
    path("hub/bring", bring, name="bring-dataset"),
    path("makings/<str:making_id>/again", try_again, name="making-again"),
    path("makings/<str:making_id>/dismiss", dismiss, name="dismiss-making"),
]
