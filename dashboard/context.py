"""What every page's frame shows."""

from typing import Any

from django.http import HttpRequest


def frame(request: HttpRequest) -> dict[str, Any]:
    """The project in the top bar; the rest of the frame loads by itself."""
    return {"project": getattr(request, "project", None)}
