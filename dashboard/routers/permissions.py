"""/v1/fine_tuning/checkpoints/{name}/permissions: with which other projects a model or checkpoint is shared."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest
from ninja import Router

from dashboard import schemas
from dashboard.audit import sharing as audited
from dashboard.paging import Limit, Order, page
from dashboard.routers.models import find_own
from training.permissions.models import CheckpointPermission

router = Router()
PATH = "/fine_tuning/checkpoints/{path:fine_tuned_model_checkpoint}/permissions"


@router.post(PATH, response=schemas.PermissionList)
def share_checkpoint(
    request: HttpRequest, fine_tuned_model_checkpoint: str, body: schemas.SharePermission
) -> dict[str, Any]:
    """Lets other projects list, retrieve and ask exactly this model or checkpoint. Only an owner of its project may."""
    row = find_own(request, fine_tuned_model_checkpoint)
    return as_list(audited.share(request, row, request.auth_user, body.project_ids), more=False)  # type: ignore[attr-defined]


@router.get(PATH, response=schemas.PermissionList)
def list_permissions(
    request: HttpRequest,
    fine_tuned_model_checkpoint: str,
    after: str | None = None,
    limit: Limit = 10,
    order: Order = "descending",
    project_id: str | None = None,
) -> dict[str, Any]:
    """Newest first unless `order=ascending`; `project_id` finds the one of that project."""
    rows = find_own(request, fine_tuned_model_checkpoint).permissions.all()
    if project_id:
        rows = rows.filter(shared_with=project_id)
    found, more = page(rows, after=after, limit=limit, order=order)
    return as_list(found, more)


@router.delete(PATH + "/{permission_id}", response=schemas.PermissionDeleted)
def take_back_permission(request: HttpRequest, fine_tuned_model_checkpoint: str, permission_id: str) -> dict[str, Any]:
    """The other project may not ask it any more. Only an owner of the project that the model belongs to may do this."""
    row = find_own(request, fine_tuned_model_checkpoint)
    audited.take_back(request, row, request.auth_user, permission_id)  # type: ignore[attr-defined]
    return {"id": permission_id}


def as_list(rows: Sequence[CheckpointPermission], more: bool) -> dict[str, Any]:
    data = [
        {"id": row.pk, "created_at": int(row.created_at.timestamp()), "project_id": row.shared_with_id} for row in rows
    ]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": first, "last_id": last}
