"""Sharing a model, by the page or the API: the audit log of its project says with whom. (What the other project's log
says is written with the permission itself: training.permissions.granting.)"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.http import HttpRequest

from accounts import audit
from accounts.errors import ApiError
from accounts.models import Project, User
from training.models import Checkpoint
from training.permissions import granting
from training.permissions.models import CheckpointPermission


def share(
    request: HttpRequest, checkpoint: Checkpoint, user: User, project_ids: Sequence[str]
) -> list[CheckpointPermission]:
    """As granting.share, with a row for each project that gets it now. A refusal names the ids that were asked, never
    the names behind them: whoever was refused need not know those."""
    asked = [each for each in dict.fromkeys(project_ids) if each]
    others = f"project{'s' if len(asked) > 1 else ''} {', '.join(asked)}" if asked else "another project"
    with _refusals_told(request, checkpoint, f"share model {checkpoint.name} with {others}"):
        permissions = granting.share(checkpoint, user, project_ids)
    for permission in permissions:
        if permission.is_new:
            words = f"share model {checkpoint.name} with {_named(permission.shared_with)}"
            audit.tell_one(request, words=words, model=checkpoint)
    if not any(permission.is_new for permission in permissions):
        audit.tell_nothing(request)
    return permissions


def take_back(request: HttpRequest, checkpoint: Checkpoint, user: User, permission_id: str) -> None:
    """As granting.take_back. Everybody of the model's project sees with whom it is shared, so refusals do, too."""
    permission = checkpoint.permissions.select_related("shared_with").filter(pk=permission_id).first()
    other = _named(permission.shared_with) if permission else f"another project (permission {permission_id})"
    with _refusals_told(request, checkpoint, f"take model {checkpoint.name} back from {other}"):
        granting.take_back(checkpoint, user, permission_id)


@contextmanager
def _refusals_told(request: HttpRequest, checkpoint: Checkpoint, words: str) -> Iterator[None]:
    """With the API's code also where a page answers."""
    audit.tell(request, words, model=checkpoint)
    try:
        yield
    except ApiError as refused:
        audit.tell(request, refused=refused.code or "refused")
        raise


def _named(project: Project) -> str:
    return f"project {project} ({project.pk})"
