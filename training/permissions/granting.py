"""Every write of a permission: an owner of the project that a model belongs to lets another project ask it."""

from collections.abc import Iterable, Sequence

from django.db import transaction

from accounts import audit
from accounts.errors import ApiError
from accounts.models import Project, User
from training import notify
from training.models import Checkpoint
from training.permissions.models import CheckpointPermission


@transaction.atomic
def share(checkpoint: Checkpoint, user: User, project_ids: Sequence[str]) -> list[CheckpointPermission]:
    """One permission for each project, in the order asked; a project that may already keeps the one it has. All or
    none: raises ApiError."""
    _refuse_who_may_not(checkpoint, user)
    projects = Project.objects.in_bulk(project_ids)
    for at, project_id in enumerate(project_ids):
        if project_id not in projects:
            raise ApiError(f"No such project: {project_id}", param=f"project_ids[{at}]", code="project_not_found")
        if project_id == checkpoint.project_id:
            message = f"{checkpoint.name} belongs to {project_id} itself; a permission is for another project."
            raise ApiError(message, param=f"project_ids[{at}]", code="invalid_value")
    granted = [_grant(checkpoint, user, projects[project_id]) for project_id in dict.fromkeys(project_ids)]
    _tell(checkpoint, user, [each for each in granted if each.is_new], "shared model {} with this project")
    return granted


def _grant(checkpoint: Checkpoint, user: User, other: Project) -> CheckpointPermission:
    granted, is_new = CheckpointPermission.objects.get_or_create(
        checkpoint=checkpoint,
        shared_with=other,
        defaults={"project_id": checkpoint.project_id, "created_by": user},
    )
    granted.is_new = is_new
    return granted


@transaction.atomic
def take_back(checkpoint: Checkpoint, user: User, permission_id: str) -> None:
    """From the next request on the project may not any more. Raises ApiError."""
    _refuse_who_may_not(checkpoint, user)
    permission = checkpoint.permissions.filter(pk=permission_id).first()
    if permission is None:
        message = f"{checkpoint.name} has no permission {permission_id}."
        raise ApiError(message, status=404, param="permission_id", code="permission_not_found")
    permission.delete()
    _tell(checkpoint, user, [permission], "took model {} back from this project")


def tell_of_deletion(checkpoints: Iterable[Checkpoint]) -> None:
    """Before they go, in the same transaction: a project that may ask one of them has a row and a page that says so."""
    permissions = CheckpointPermission.objects.filter(checkpoint__in=checkpoints)
    for permission in permissions.select_related("checkpoint", "project", "shared_with"):
        notify.project_changed(permission.shared_with_id)
        name, giver = permission.checkpoint.name, f"project {permission.project} ({permission.project_id})"
        audit.by_hone(
            f"Deleted model {name} that {giver} shared with this project",
            project=permission.shared_with,
            kind="model",
            object_id=name,
            action="sharing",
        )


def _refuse_who_may_not(checkpoint: Checkpoint, user: User) -> None:
    if not checkpoint.project.is_owned_by(user):
        message = "Only an owner of the project that the model belongs to may share it. Ask one, or use an owner's key."
        raise ApiError(message, status=403, code="owner_required")


def _tell(checkpoint: Checkpoint, user: User, permissions: Sequence[CheckpointPermission], words: str) -> None:
    """The pages of both projects, and the other one's audit log: with the e-mail of who did it and nothing else of
    theirs, since they are no member there, and the model by its name, the one thing of it that is known there."""
    notify.job_changed(checkpoint.job_id)
    giver = f"Project {checkpoint.project} ({checkpoint.project_id})"
    for permission in permissions:
        notify.project_changed(permission.shared_with_id)
        audit.write(
            project=permission.shared_with,
            who=user.email,
            words=f"{giver} {words.format(checkpoint.name)}",
            kind="model",
            object_id=checkpoint.name,
            action="sharing",
        )
