"""/v1/models: the base models of the catalogue and the project's fine-tuned models and checkpoints."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Router

from accounts.errors import ApiError
from dashboard import schemas
from training import actions
from training.aliases import pointing
from training.aliases.models import Alias
from training.imported.words import no_such_model
from training.models import BaseModel, Checkpoint, CheckpointQuerySet

router = Router()


@router.get("/models", response=schemas.ModelList)
def list_models(request: HttpRequest) -> HttpResponse:
    """Base models on disk by name, then aliases that answer, then fine-tuned models and checkpoints, newest first."""
    mine = Checkpoint.objects.usable_by(request.project).filter(archived_at=None)  # type: ignore[attr-defined]
    # OpenAI's list has no pages, and a project's can be 100,000 long: a few columns, and no checking of each by ninja
    owner, columns = our_name(), mine.values_list("final_name", "step_name", "created_at", "base_model__name")
    tuned = [as_model(final or step, at, owner, base) for final, step, at, base in columns]
    aliases = list(Alias.objects.of(request.project).prefetch_related("promotions"))  # type: ignore[attr-defined]
    askable = pointing.askable(request.project, [row.current for row in aliases])  # type: ignore[attr-defined]
    named = [as_alias(row) for row in aliases if row.current.pk in askable]
    data = [as_base_model(row) for row in BaseModel.objects.ready()] + named + tuned
    return JsonResponse({"object": "list", "data": data, "has_more": False})


@router.get("/models/{path:model}", response=schemas.Model)
def retrieve_model(request: HttpRequest, model: str) -> dict[str, Any]:
    base_model = BaseModel.objects.ready().called(model)
    if base_model:
        return as_base_model(base_model, model)
    if alias := pointing.find(request.project, model):  # type: ignore[attr-defined]
        pointing.meaning(alias)
        return as_alias(alias)
    return as_tuned_model(find_tuned(request, model, Checkpoint.objects.usable_by(request.project)), model)  # type: ignore[attr-defined]


@router.delete("/models/{path:model}", response=schemas.Deleted)
def delete_model(request: HttpRequest, model: str) -> dict[str, Any]:
    """Deletes the weights of a fine-tuned model or checkpoint; its job stays. Only an owner of the project may."""
    if BaseModel.objects.called(model):
        message = f"'{model}' is a base model; only fine-tuned models can be deleted here."
        raise ApiError(message, param="model", code="not_deletable")
    actions.delete_checkpoint(find_own(request, model))
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
    return as_model(name or row.name, row.created_at, row.source, None)


def as_alias(row: Alias) -> dict[str, Any]:
    """Its parent is the model that answers now."""
    return as_model(row.name, row.created_at, our_name(), row.current.model_name)


def as_tuned_model(row: Checkpoint, name: str = "") -> dict[str, Any]:
    """Under the name that was asked for: the last checkpoint answers to two."""
    return as_model(name or row.name, row.created_at, our_name(), row.base_model.name)


def as_model(name: str, at: datetime, owned_by: str, parent: str | None) -> dict[str, Any]:
    """A schemas.Model, complete."""
    told = {"id": name, "object": "model", "created": int(at.timestamp()), "owned_by": owned_by}
    return {**told, "shutdown_date": None, "parent": parent}


def our_name() -> str:
    return f"org-{settings.HONE_ORG}"
