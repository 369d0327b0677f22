"""/v1/models: the base models of the catalogue and the project's fine-tuned models and checkpoints."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja import Router

from accounts.errors import ApiError
from dashboard import schemas
from training import actions
from training.aliases.models import Alias
from training.imported.words import no_such_model
from training.models import BaseModel, Checkpoint, CheckpointQuerySet

router = Router()


@router.get("/models", response=schemas.ModelList)
def list_models(request: HttpRequest) -> dict[str, Any]:
    """Base models on disk by name, then aliases, then fine-tuned models and checkpoints, newest first."""
    mine = Checkpoint.objects.usable_by(request.project).filter(archived_at=None)  # type: ignore[attr-defined]
    tuned = [as_tuned_model(row) for row in mine.select_related("base_model")]
    named = [as_alias(row) for row in Alias.objects.of(request.project).prefetch_related("promotions")]  # type: ignore[attr-defined]
    return {"data": [as_base_model(row) for row in BaseModel.objects.ready()] + named + tuned}


@router.get("/models/{path:model}", response=schemas.Model)
def retrieve_model(request: HttpRequest, model: str) -> dict[str, Any]:
    base_model = BaseModel.objects.ready().called(model)
    if base_model:
        return as_base_model(base_model, model)
    alias = Alias.objects.of(request.project).filter(name=model).first()  # type: ignore[attr-defined]
    if alias:
        return as_alias(alias)
    return as_tuned_model(find_tuned(request, model, Checkpoint.objects.usable_by(request.project)), model)  # type: ignore[attr-defined]


@router.delete("/models/{path:model}", response=schemas.Deleted)
def delete_model(request: HttpRequest, model: str) -> dict[str, Any]:
    """Deletes the weights of a fine-tuned model or checkpoint; its job stays. Only an owner of the project may."""
    if BaseModel.objects.called(model):
        message = f"'{model}' is a base model; only fine-tuned models can be deleted here."
        raise ApiError(message, param="model", code="not_deletable")
    row = find_own(request, model)
    if not row.project.is_owned_by(request.auth_user):  # type: ignore[attr-defined]
        message = "Only an owner of the project may delete a model. Ask one, or use an owner's key."
        raise ApiError(message, status=403, code="owner_required")
    actions.delete_checkpoint(row)
    return {"id": model, "object": "model"}


def find_own(request: HttpRequest, name: str) -> Checkpoint:
    """A model of the project itself: one that is shared with it is not its to change."""
    return find_tuned(request, name, Checkpoint.objects.of(request.project))  # type: ignore[attr-defined]


def find_tuned(request: HttpRequest, name: str, among: CheckpointQuerySet) -> Checkpoint:
    row = among.named(name).select_related("base_model", "project").first()
    if row is None:
        raise no_such_model(request.project, name)  # type: ignore[attr-defined]
    return row


def as_base_model(row: BaseModel, name: str = "") -> dict[str, Any]:
    """Under the name that was asked for."""
    return {"id": name or row.name, "created": int(row.created_at.timestamp()), "owned_by": row.source, "parent": None}


def as_alias(row: Alias) -> dict[str, Any]:
    """Its parent is the model that answers now."""
    return {
        "id": row.name,
        "created": int(row.created_at.timestamp()),
        "owned_by": f"org-{settings.HONE_ORG}",
        "parent": row.current.model_name,
    }


def as_tuned_model(row: Checkpoint, name: str = "") -> dict[str, Any]:
    """Under the name that was asked for: the last checkpoint answers to two."""
    return {
        "id": name or row.name,
        "created": int(row.created_at.timestamp()),
        "owned_by": f"org-{settings.HONE_ORG}",
        "parent": row.base_model.name,
    }
