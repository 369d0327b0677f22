"""What every page's frame shows."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

from accounts.first_start import looks_after_server
from accounts.models import Project
from accounts.roles import WORDS, Role
from dashboard.walls import closed_to

SECTIONS = ("datasets", "jobs", "models", "playground", "campaigns", "usage", "settings")


def frame(request: HttpRequest) -> dict[str, Any]:
    """The project in the top bar, those one can change to, and which item of the rail is active."""
    project, role = getattr(request, "project", None), getattr(request, "role", None)
    return {
        "project": project,
        "role": role,
        "role_words": WORDS[Role(role)] if role in (Role.EVALUATOR, Role.READER) else "",
        "looks_after_server": looks_after_server(getattr(request, "user", AnonymousUser())),
        "closed": closed_paths(role) if role and role != Role.OWNER else None,
        "projects": list(Project.objects.of(request.user)) if project else [],
        "section": section(request.path),
    }


def closed_paths(role: str) -> dict[str, str]:
    """What static/js/roles.js switches off."""
    return {**closed_to(role), "words": f"Your role here is {role}: it does not include this."}


def section(path: str) -> str:
    """The rail item that an address belongs to."""
    first = path.strip("/").split("/")[0].replace("recipes", "jobs").replace("lineage", "jobs")
    return first if first in SECTIONS else ("" if first else "overview")
