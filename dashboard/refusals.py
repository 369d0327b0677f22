"""What the API refuses at once of a recipe, with the path of the field as it was sent."""

from typing import Any

from accounts.errors import ApiError
from dashboard import schemas
from training.engine.errors import EngineError
from training.engine.spec import ModelFacts, Recipe
from training.models import BaseModel, Checkpoint, DatasetFile


def refuse_recipe(asked: Any, recipe: Recipe, base_model: BaseModel, start: Checkpoint | None = None) -> None:
    """Raises ApiError for what this model or this machine cannot do. `asked`: the body, or a stage, that it came in.

    What only the rows can tell comes later and fails the job.
    """
    if base_model.facts_json:
        _refuse(asked, recipe, base_model.facts, start)


def refuse_length(asked: Any, recipe: Recipe, base_model: BaseModel, file: DatasetFile) -> None:
    """Raises ApiError where the cut would leave nothing to train on, if the tokens are counted already."""
    from training.engine.resolve import check_length

    facts = file.facts_for(base_model)
    try:
        if facts:
            check_length(recipe, facts, base_model.facts)
    except EngineError as error:
        raise ApiError(error.message, param=path_of(asked, error.param or ""), code=error.code) from error


def refuse_later_stage(asked: Any, recipe: Recipe, base_model: BaseModel) -> None:
    """As `refuse_recipe`; by then the weights are trained, and what they are saved as is not known yet."""
    if base_model.facts_json:
        _refuse(asked, recipe, base_model.facts.model_copy(update={"untrained": False}), None)


def _refuse(asked: Any, recipe: Recipe, model: ModelFacts, start: Checkpoint | None) -> None:
    from training.devices import device_facts
    from training.engine.facts import read_start_facts
    from training.engine.resolve import check_recipe

    if start and not start.path.is_dir():
        return  # creating the job refuses it, and says that
    try:
        found = read_start_facts(start.path) if start else None
        check_recipe(recipe, model, device_facts(), validated=bool(asked.validation_file), start=found)
    except EngineError as error:
        raise ApiError(error.message, param=path_of(asked, error.param or ""), code=error.code) from error


def path_of(asked: Any, field: str) -> str:
    """Where a field of the recipe stands in the body; its own name where it has no place there."""
    for ours, theirs in schemas.LORA_FIELDS.items():
        if theirs == field:
            return f"lora.{ours}"
    if field in schemas.TRAINING_FIELDS:
        return f"training.{field}"
    if field in schemas.DPO_FIELDS:
        kind = asked.method.type if asked.method else ""
        within = getattr(asked.method, kind, None) if kind else None
        place = f"method.{kind}.hyperparameters" if within and within.hyperparameters else "hyperparameters"
        return f"{place}.{field}"
    return field
