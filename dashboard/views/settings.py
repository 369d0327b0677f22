"""Screens: settings. One's own account, the project's people and API keys, and this server."""

import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from django.conf import settings as site
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts import actions, audit
from accounts.errors import ApiError
from accounts.forms import ChangePassword, Invite, NewKey, Profile
from accounts.mail import sends_mail
from accounts.models import ApiKey, Membership, OneTimeLink, User
from accounts.roles import ARTICLE, WORDS, Role
from dashboard import forms_moderation, quotas_shown, webhooks_shown
from training import devices
from training.models import TrackerKey

ROLE_ICONS = {Role.OWNER: "users", Role.MEMBER: "user", Role.EVALUATOR: "vote", Role.READER: "eye"}
WANDB_KEY = re.compile(r"[\w-]{40,300}")
PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@never_cache
def settings(request: HttpRequest) -> HttpResponse:
    return page(request)


def page(request: HttpRequest, status: int = 200, **more: Any) -> HttpResponse:
    """The whole page; `more` puts in a form with its errors, or a secret that is shown once."""
    user, project = request.user, request.project
    assert isinstance(user, User)
    context: dict[str, Any] = {
        "profile": Profile(user=user, initial={"name": user.name, "email": user.email, "wants_mail": user.wants_mail}),
        "password": ChangePassword(user=user),
        "invite": Invite(),
        "new_key": NewKey(),
        "members": project.memberships.select_related("user").order_by("created_at"),
        "is_owner": is_owner(request),
        "roles": [(role, role.label, ARTICLE[role], ROLE_ICONS[role], WORDS[role]) for role in Role],
        "role_article": ARTICLE[Role(request.role)],
        "invitations": OneTimeLink.objects.invitations(project),
        "keys": ApiKey.objects.live().filter(project=project).select_related("user").order_by("-created_at"),
        "api_address": request.build_absolute_uri("/v1"),
        "wandb_key": TrackerKey.objects.filter(project=project).first(),
        "wandb_at": site.HONE_WANDB_URL or "wandb.ai",
        "server": server(),
        "sends_mail": sends_mail(),
    }
    context |= (
        quotas_shown.context(request) | forms_moderation.context(request) | webhooks_shown.context(request) | more
    )
    for name in ("profile", "password", "invite", "new_key"):
        context[name].auto_id = f"{name}_%s"  # several forms on one page: each needs ids of its own
    return render(request, "dashboard/settings.html", context, status=status)


def server() -> dict[str, Any]:
    """What somebody who looks after this server wants to know."""
    return {
        "version": version(),
        "home": site.HONE_HOME,
        "device": devices.device_facts(),
        "usage": devices.usage(),
        "database": {"sqlite": "SQLite, embedded", "postgresql": "PostgreSQL"}.get(
            connection.vendor, connection.vendor
        ),
        "queue": "Redis" if site.HONE_REDIS_URL else "embedded",
        "hub": "never asked (HONE_OFFLINE)" if site.HONE_OFFLINE else site.HONE_HUB,
        "organisation": site.HONE_ORG,
        "python": platform.python_version(),
    }


def version() -> str:
    """Installed, or as the checkout says."""
    try:
        return metadata.version("hone")
    except metadata.PackageNotFoundError:
        found = re.search(r'^version = "([^"]+)"', PYPROJECT.read_text(), re.M)
        return found.group(1) if found else "unknown"


def is_owner(request: HttpRequest) -> bool:
    return request.project.is_owned_by(request.user)


def back(section: str) -> HttpResponse:
    return redirect(f"{reverse('settings')}#{section}")


# ---- oneself ----


@require_POST
def change_profile(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    form = Profile(request.POST, user=request.user)
    if not form.is_valid():
        return page(request, 422, profile=form)
    for name in form.cleaned_data:
        setattr(request.user, name, form.cleaned_data[name])
    request.user.save(update_fields=list(form.cleaned_data))
    messages.success(request, "Saved.")
    return back("you")


@require_POST
@sensitive_post_parameters()
def change_password(request: HttpRequest) -> HttpResponse:
    """Every other session of this person ends by itself."""
    assert isinstance(request.user, User)
    form = ChangePassword(request.POST, user=request.user)
    if not form.is_valid():
        return page(request, 422, password=form)
    actions.set_password(user=request.user, password=form.cleaned_data["password"])
    update_session_auth_hash(request, request.user)
    messages.success(request, "Your password is changed. You are signed out everywhere else.")
    return back("you")


@require_POST
def end_sessions(request: HttpRequest) -> HttpResponse:
    assert isinstance(request.user, User)
    ended = actions.end_other_sessions(user=request.user, keep=request.session.session_key)
    messages.success(request, f"Signed out in {ended} other place{'' if ended == 1 else 's'}.")
    return back("you")


# ---- people ----


@require_POST
def rename_project(request: HttpRequest) -> HttpResponse:
    name = request.POST.get("name", "").strip()[:120]
    if not name:
        messages.error(request, "A project needs a name.")
        return back("people")
    request.project.name = name
    request.project.save(update_fields=["name"])
    messages.success(request, "Saved.")
    return back("people")


@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    """The link is shown once, in this answer."""
    form = Invite(request.POST)
    if not form.is_valid():
        return page(request, 422, invite=form)
    assert isinstance(request.user, User)
    token = actions.invite(project=request.project, by=request.user, **form.cleaned_data)
    given = form.cleaned_data
    audit.tell(request, f"invite {given['email'] or 'anybody with the link'} as {given['role']}")
    return page(request, invite_link=request.build_absolute_uri(reverse("link", args=[token])))


@require_POST
def revoke_invitation(request: HttpRequest, link_id: int) -> HttpResponse:
    link = get_object_or_404(OneTimeLink.objects.invitations(request.project), pk=link_id)
    actions.revoke_invitation(link=link)
    messages.success(request, f"The invitation{f' for {link.email}' if link.email else ''} does not work any more.")
    return back("people")


@require_POST
def act_on_member(request: HttpRequest, membership_id: int, action: str) -> HttpResponse:
    membership = get_object_or_404(request.project.memberships.select_related("user"), pk=membership_id)
    may = is_owner(request) or (membership.user == request.user and action == "remove")  # everybody may leave
    if not may:
        return page(request, 403, people_problem="Only an owner of the project can do this.")
    try:
        return _act_on_member(request, membership, action)
    except ApiError as error:
        return page(request, error.status, people_problem=error.message)


def _act_on_member(request: HttpRequest, membership: Membership, action: str) -> HttpResponse:
    assert isinstance(request.user, User)
    if action == "reset":
        if not actions.may_reset(by=request.user, user=membership.user):
            raise ApiError(
                f"{membership.user} is also in projects that are not yours, or looks after the server, so you cannot "
                "reset it.",
                status=403,
            )
        token = actions.reset_link(user=membership.user, by=request.user)
        link = request.build_absolute_uri(reverse("link", args=[token]))
        return page(request, reset_link=link, reset_person=membership.user)
    if action == "remove":
        actions.remove_member(membership=membership)
        messages.success(request, f"{membership.user} left the project.")
    elif action in Membership.Role.values:
        actions.change_role(membership=membership, role=action)
    else:
        raise ApiError(f"No such action: {action}", status=404)
    return redirect("overview") if membership.user == request.user and action == "remove" else back("people")


# ---- API keys ----


@require_POST
def make_key(request: HttpRequest) -> HttpResponse:
    """The secret is shown once, in this answer."""
    form = NewKey(request.POST)
    if not form.is_valid():
        return page(request, 422, new_key=form)
    assert isinstance(request.user, User)
    key, secret = ApiKey.make(project=request.project, user=request.user, **form.cleaned_data)
    audit.tell(request, key=key)
    return page(request, secret=secret)


@require_POST
def revoke_key(request: HttpRequest, key_id: int) -> HttpResponse:
    """One's own, or as an owner anybody's."""
    key = get_object_or_404(ApiKey.objects.live().filter(project=request.project), pk=key_id)
    if key.user != request.user and not is_owner(request):
        return page(request, 403, key_problem="This key is somebody else's. Only they or an owner can revoke it.")
    actions.revoke_key(key=key)
    messages.success(request, f"The key “{key.name}” does not work any more.")
    return back("keys")


# ---- trackers ----


@require_POST
@sensitive_post_parameters()
def store_tracker_key(request: HttpRequest) -> HttpResponse:
    """Stored encrypted and never shown again; running trackers use it from their next try on."""
    secret = request.POST.get("wandb_key", "").strip()
    if not WANDB_KEY.fullmatch(secret):
        problem = "This is no key: W&B shows yours at wandb.ai/authorize, 40 or more letters and digits."
        return page(request, 422, tracker_problem=problem)
    TrackerKey.store(request.project, secret)
    messages.success(request, "The key is stored, encrypted.")
    return back("trackers")


@require_POST
def remove_tracker_key(request: HttpRequest) -> HttpResponse:
    TrackerKey.objects.filter(project=request.project).delete()
    messages.success(request, "The key is removed. Runs that still follow with it wait for another.")
    return back("trackers")


urlpatterns: list[URLPattern] = [
    path("", settings, name="settings"),
    path("profile", change_profile, name="change-profile"),
    path("password", change_password, name="change-password"),
    path("sessions/end", end_sessions, name="end-sessions"),
    path("project/rename", rename_project, name="rename-project"),
    path("people/invite", invite, name="invite"),
    path("people/invitations/<int:link_id>/revoke", revoke_invitation, name="revoke-invitation"),
    path("people/<int:membership_id>/<str:action>", act_on_member, name="act-on-member"),
    path("keys/make", make_key, name="make-key"),
    path("trackers/key", store_tracker_key, name="store-tracker-key"),
    path("trackers/key/remove", remove_tracker_key, name="remove-tracker-key"),
    path("keys/<int:key_id>/revoke", revoke_key, name="revoke-key"),
]
