"""The very first start: a project, its owner, the link that signs the owner in, and the key for local use."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.actions import begin_project
from accounts.models import ApiKey, OneTimeLink, Project, User

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
    """Who looks after this server and belongs to a project; both are made where they are missing."""
    keepers = User.objects.filter(is_superuser=True, is_active=True).order_by("created_at", "pk")
    user = keepers.first() or User.objects.filter(email=FIRST_EMAIL).first() or User.objects.create_user(FIRST_EMAIL)
    if not (user.is_superuser and user.is_active):
        user.is_superuser = user.is_active = True
        user.save(update_fields=["is_superuser", "is_active"])
    if not Project.objects.of(user).exists():
        begin_project(user=user, name=FIRST_PROJECT)
    return user


def looks_after_server(user: Any) -> bool:
    """Whether what concerns every project is this person's: who started the server, and whoever was made a superuser
    by `manage.py createsuperuser`."""
    return bool(user.is_authenticated and user.is_superuser)


def sign_in_token(user: User) -> str:
    """The token of a new one-time sign-in link; earlier unused ones stop working."""
    OneTimeLink.objects.filter(kind=OneTimeLink.Kind.SIGN_IN, user=user, used_at=None).delete()
    return OneTimeLink.make(OneTimeLink.Kind.SIGN_IN, lifetime=timedelta(days=7), user=user)[1]


def local_key() -> tuple[Path, ApiKey | None]:
    """Where the key for use on this machine lies, and the key, if it is there and was not revoked."""
    path = Path(settings.HONE_HOME) / "api-key"
    return path, ApiKey.objects.for_secret(path.read_text().strip()) if path.exists() else None


def ensure_local_key(project: Project) -> Path:
    """$HONE_HOME/api-key holds a live key of this project, mode 600. Made once, kept while it works."""
    path, key = local_key()
    if key and not key.has_expired:
        path.chmod(0o600)
        return path
    _, secret = ApiKey.make(project=project, user=first_owner(), name="Local use")
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secret + "\n")
    part.replace(path)
    return path
