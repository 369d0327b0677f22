"""What a project may use of the server and what it does use, for its settings and where it is nearly used up."""

from typing import Any

from django.http import HttpRequest

from accounts.first_start import looks_after_server
from accounts.models import Project
from training.models import TrainingJob
from training.quotas import limits


def of(project: Project) -> dict[str, Any]:
    """Limits, bytes used, and how many jobs run and wait."""
    jobs = TrainingJob.objects.of(project)
    return {
        "project": project,
        "limits": limits.of(project),
        "used": limits.usage(project),
        "running": jobs.filter(status="running").count(),
        "waiting": jobs.filter(status__in=limits.WAITING).count(),
    }


def context(request: HttpRequest) -> dict[str, Any]:
    """For the settings page."""
    return {"quota": of(request.project), "sets_quotas": looks_after_server(request.user)}


def near(project: Project) -> limits.Usage | None:
    """Where the disk is nearly or wholly used up, else None."""
    if not limits.of(project).disk_bytes:
        return None
    used = limits.usage(project)
    return used if used.state in ("near", "full") else None
