"""The very first start: a project, its owner, the link that signs the owner in, and the key for local use."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.models import ApiKey, Membership, OneTimeLink, Project, User

FIRST_EMAIL = "owner@localhost"
FIRST_PROJECT = "My project"


@transaction.atomic
def ensure_first_owner() -> tuple[Project, str | None]:
    """Makes the default project and its owner once. Returns the project and, until somebody has signed in, the token
    of a new one-time sign-in link."""
    owner = first_owner()
    project = Project.objects.of(owner).first()
    assert project, "first_owner() always belongs to a project"
    return project, None if User.objects.exclude(last_login=None).exists() else sign_in_token(owner)


def somebody_has_a_password() -> bool:
    """Who has only ever used a link cannot be told to sign in with a password."""
    return any(user.has_usable_password() for user in User.objects.filter(is_active=True))


@transaction.atomic
def first_owner() -> User:
    """The owner of the oldest project; made on a fresh server."""
    membership = (
        Membership.objects.filter(role=Membership.Role.OWNER)
        .select_related("user")
        .order_by("created_at", "pk")
        .first()
    )
    if membership:
        return membership.user
    project = Project.objects.order_by("created_at").first() or Project.objects.create(name=FIRST_PROJECT)
    user = User.objects.filter(email=FIRST_EMAIL).first() or User.objects.create_user(FIRST_EMAIL)
    Membership.objects.create(user=user, project=project, role=Membership.Role.OWNER)
    return user


def looks_after_server(user: Any) -> bool:
    """Whether what concerns every project is this person's: a superuser, or the owner of the oldest project, who
    started the server."""
    if not user.is_authenticated:
        return False
    oldest = Membership.objects.filter(role=Membership.Role.OWNER).order_by("created_at", "pk").first()
    return bool(user.is_superuser or (oldest and oldest.user_id == user.pk))


def sign_in_token(user: User) -> str:
    """The token of a new one-time sign-in link; earlier unused ones stop working."""
    OneTimeLink.objects.filter(kind=OneTimeLink.Kind.SIGN_IN, user=user, used_at=None).delete()
    return OneTimeLink.make(OneTimeLink.Kind.SIGN_IN, lifetime=timedelta(days=7), user=user)[1]


def ensure_local_key(project: Project) -> Path:
    """$HONE_HOME/api-key holds a live key of this project, mode 600. Made once, kept while it works."""
    path = Path(settings.HONE_HOME) / "api-key"
    if path.exists() and (key := ApiKey.objects.for_secret(path.read_text().strip())) and not key.has_expired:
        path.chmod(0o600)
        return path
    _, secret = ApiKey.make(project=project, user=first_owner(), name="Local use")
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
    part.replace(path)
    return path
