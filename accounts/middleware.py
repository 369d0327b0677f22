"""Every page needs a signed-in person; every request knows its project."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from accounts.models import Membership

WITHOUT_PROJECT = {"sign-in", "sign-out", "link", "forgotten-password", "welcome", "judge", "new-project"}
OPEN_PREFIXES = ("/v1/", "/healthz", "/static/", "/docs/")  # the API has keys of its own; docs hold no data


class LoginRequired(LoginRequiredMiddleware):
    """Django's, but the API answers for itself."""

    def process_view(self, request: HttpRequest, view_func: Any, view_args: Any, view_kwargs: Any) -> Any:
        if request.path.startswith(OPEN_PREFIXES):
            return None
        return super().process_view(request, view_func, view_args, view_kwargs)


class CurrentProject:
    """Sets `request.project`, the one chosen in the session, else the person's first, and `request.role` in it; both
    None when signed out."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        membership = current_membership(request)
        request.project = membership and membership.project  # type: ignore[attr-defined]
        request.role = membership and membership.role  # type: ignore[attr-defined]
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view_func: Any, view_args: Any, view_kwargs: Any) -> Any:
        """Somebody who was removed from the last project sees a page that says so, wherever they go."""
        if request.path.startswith(OPEN_PREFIXES) or not request.user.is_authenticated:
            return None
        if request.project or request.resolver_match.url_name in WITHOUT_PROJECT:  # type: ignore[attr-defined,union-attr]
            return None
        return render(request, "accounts/no_project.html", status=403)


def current_membership(request: HttpRequest) -> Membership | None:
    """A stranger's project id in the session finds nothing, because only one's own projects are looked at."""
    if request.path.startswith(OPEN_PREFIXES) or not request.user.is_authenticated:
        return None
    return Membership.objects.current(request.user.pk, request.session.get("project", ""))
