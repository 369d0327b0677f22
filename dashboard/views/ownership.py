"""Screens: a project belongs to its team. Taking everything away, and deleting everything."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_GET, require_POST, require_safe

from accounts import audit
from accounts.errors import ApiError
from dashboard import ranges
from dashboard.owned import erasing, takeaway
from dashboard.views.settings import back, is_owner


@require_GET
def takeaway_state(request: HttpRequest) -> HttpResponse:
    """The part of the settings page that says how far it is, or what a deletion would take."""
    context = {
        "takeaway": takeaway.state(request.project),
        "would_go": erasing.summary(request.project),
        "is_owner": is_owner(request),
        "project": request.project,
    }
    return render(request, "dashboard/ownership.html", context)


@require_POST
def prepare(request: HttpRequest) -> HttpResponse:
    takeaway.ask(request.project)
    return back("yours")


@require_safe
def download(request: HttpRequest) -> HttpResponseBase:
    """The tar; can go on after a break."""
    try:
        return ranges.answer(request, takeaway.parcel(request.project))
    except ApiError as error:
        messages.error(request, error.message)
        return back("yours")


@require_POST
def remove_takeaway(request: HttpRequest) -> HttpResponse:
    takeaway.remove(request.project)
    return back("yours")


@require_POST
def delete_project(request: HttpRequest) -> HttpResponse:
    """The name is typed to confirm it."""
    project = request.project
    if request.POST.get("name", "").strip() != project.name:
        messages.error(request, f"Nothing was deleted: the name you typed is not “{project.name}”.")
        return back("yours")
    try:
        erasing.erase(project)
        # its own log is gone with it: the server's says who did it, and not what it was called
        audit.tell(request, f"delete project {project.pk}", project=None)
    except ApiError as error:
        messages.error(request, error.message)
        return back("yours")
    messages.success(request, f"{project.name} and everything in it is deleted.")
    return redirect("overview")


urlpatterns = [
    path("everything", takeaway_state, name="ownership"),
    path("everything/prepare", prepare, name="prepare-takeaway"),
    path("everything/download", download, name="download-takeaway"),
    path("everything/remove", remove_takeaway, name="remove-takeaway"),
    path("everything/delete", delete_project, name="delete-project"),
]
