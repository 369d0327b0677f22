"""/v1/exports, Hone's own: take a fine-tuned model away as a tar, its adapter as it is or merged into the base."""

from typing import Any, Literal

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from accounts.errors import ApiError
from dashboard import ranges, schemas
from dashboard.routers.models import find_own
from training import exports
from training.models import Export

router = Router()
A_TAR = {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}
RANGE = {"name": "Range", "in": "header", "schema": {"type": "string"}, "description": "Such as `bytes=1000-`"}
TAR: dict[str, Any] = {
    "parameters": [RANGE],
    "responses": {200: {"content": A_TAR}, 206: {"description": "The part that `Range` asked for", "content": A_TAR}},
}


class AskExport(schemas.Schema):
    model: str
    format: Literal["merged"] = "merged"


class ExportAnswer(schemas.Schema):
    id: str
    object: Literal["export"] = "export"
    model: str
    format: Literal["merged"] = "merged"
    status: Literal["queued", "running", "succeeded", "failed"]
    message: str | None
    created_at: int
    finished_at: int | None
    size_bytes: int | None
    sha256: str | None
    mean_to_adapter: float | None
    max_to_adapter: float | None


@router.post("/exports", response=ExportAnswer)
def create_export(request: HttpRequest, ask: AskExport) -> dict[str, Any]:
    """Asks for merged weights. The same export again if there is one; a failed one begins anew."""
    checkpoint = find_own(request, ask.model)
    return as_export(exports.ask(checkpoint=checkpoint, user=request.auth_user))  # type: ignore[attr-defined]


@router.get("/exports/{export_id}", response=ExportAnswer)
def retrieve_export(request: HttpRequest, export_id: str) -> dict[str, Any]:
    return as_export(find_export(request, export_id))


@router.api_operation(["GET", "HEAD"], "/exports/{export_id}/content", openapi_extra=TAR)
def export_content(request: HttpRequest, export_id: str) -> HttpResponseBase:
    """The merged weights with tokenizer and model card; a broken download goes on with `Range`."""
    return ranges.answer(request, exports.merged(find_export(request, export_id)))


@router.api_operation(["GET", "HEAD"], "/checkpoints/{path:model}/content", openapi_extra=TAR)
def checkpoint_content(request: HttpRequest, model: str) -> HttpResponseBase:
    """The adapter (or full weights) as trained, with tokenizer and model card; goes on with `Range`."""
    return ranges.answer(request, exports.as_trained(find_own(request, model)))


def find_export(request: HttpRequest, export_id: str) -> Export:
    mine = Export.objects.of(request.project).select_related("checkpoint__job", "checkpoint__base_model")  # type: ignore[attr-defined]
    row = mine.filter(pk=export_id).first()
    if row is None:
        raise ApiError(f"No such Export object: {export_id}", status=404, param="id")
    return row


def as_export(row: Export) -> dict[str, Any]:
    report = row.report if row.status == Export.Status.SUCCEEDED else {}
    return {
        "id": row.pk,
        "model": row.checkpoint.name,
        "status": row.status,
        "message": row.message or None,
        "created_at": int(row.created_at.timestamp()),
        "finished_at": row.finished_at and int(row.finished_at.timestamp()),
        **{key: report.get(key) for key in ("size_bytes", "sha256", "mean_to_adapter", "max_to_adapter")},
    }
