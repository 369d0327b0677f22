"""What every page's frame shows."""

from typing import Any

from django.http import HttpRequest

from accounts.models import Project

SECTIONS = ("datasets", "jobs", "models", "playground", "campaigns", "settings")


def frame(request: HttpRequest) -> dict[str, Any]:
    """The project in the top bar, those one can change to, and which item of the rail is active."""
    project = getattr(request, "project", None)
    return {
        "project": project,
        "role": getattr(request, "role", None),
        "projects": list(Project.objects.of(request.user)) if project else [],
        "section": section(request.path),
    }


def section(path: str) -> str:
    """The rail item that an address belongs to."""
    first = path.strip("/").split("/")[0].replace("recipes", "jobs").replace("lineage", "jobs")
    return first if first in SECTIONS else ("" if first else "overview")
