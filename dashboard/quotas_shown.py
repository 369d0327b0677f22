"""What a project may use of the server and what it does use, for its settings and where it is nearly used up."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.db.models import Count
from django.http import HttpRequest

from accounts.first_start import looks_after_server
from accounts.models import Project
from training.models import TrainingJob
from training.quotas import limits


def of_each(projects: Iterable[Project]) -> list[dict[str, Any]]:
    """Limits, bytes used, and how many jobs run and wait; as many queries for all projects as for one."""
    found = {project.pk: project for project in projects}
    most, used = limits.of_each(found), limits.usage_of_each(found)
    jobs = TrainingJob.objects.filter(project__in=found, status__in=("running", *limits.WAITING))
    running, waiting = Counter[str](), Counter[str]()
    for pk, status, number in jobs.order_by().values_list("project", "status").annotate(Count("pk")):
        (running if status == "running" else waiting)[pk] += number
    return [
        {"project": project, "limits": most[pk], "used": used[pk], "running": running[pk], "waiting": waiting[pk]}
        for pk, project in found.items()
    ]


def context(request: HttpRequest) -> dict[str, Any]:
    """For the settings page."""
    return {"quota": of_each([request.project])[0], "sets_quotas": looks_after_server(request.user)}


def near(project: Project) -> limits.Usage | None:
    """Where the disk is nearly or wholly used up, else None."""
    if not limits.of(project).disk_bytes:
        return None
    used = limits.usage(project)
    return used if used.state in ("near", "full") else None
