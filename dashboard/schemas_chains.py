"""Requests and answers of /v1/fine_tuning/recipes, which is Hone's own."""

from typing import Annotated, Literal

from ninja import Schema
from pydantic import Field

from dashboard.schemas import Asked, AskedHyperparameters, AskedLora, AskedMethod, AskedTraining, Page, Suffix
from playground.film.written import PinnedPrompts
from training.chains.models import MOST_STAGES
from training.trackers.spec import Integration


class AskedStage(Asked):
    """A job without its model. `take`: which of its checkpoints the next stage starts from."""

    training_file: str
    validation_file: str | None = None
    method: AskedMethod | None = Field(None, description="Absent: by the format of the training file")
    hyperparameters: AskedHyperparameters | None = None  # type: ignore[valid-type]
    suffix: Suffix | None = None
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    integrations: Annotated[list[Integration], Field(max_length=5)] | None = None
    lora: AskedLora | None = None  # type: ignore[valid-type]
    training: AskedTraining | None = None  # type: ignore[valid-type]
    label: Annotated[str, Field(max_length=200)] | None = None
    pinned_prompts: PinnedPrompts | None = None
    take: Literal["last", "best"] = "last"


class CreateRecipe(Asked):
    """Body of POST /v1/fine_tuning/recipes."""

    model: Annotated[str, Field(min_length=1, max_length=250)]
    stages: Annotated[list[AskedStage], Field(min_length=1, max_length=MOST_STAGES)]
    label: Annotated[str, Field(max_length=200)] | None = None


class StageState(Schema):
    """`job` is null until the stage begins."""

    method: str
    training_file: str
    take: Literal["last", "best"]
    job: str | None
    status: str
    fine_tuned_model: str | None


class RecipeState(Schema):
    """Stages that were started as one; each starts from a checkpoint of the one before."""

    id: str
    object: Literal["fine_tuning.recipe"] = "fine_tuning.recipe"
    model: str
    label: str | None
    created_at: int
    finished_at: int | None
    status: Literal["running", "succeeded", "failed", "cancelled"]
    problem: str | None
    stages: list[StageState]
    fine_tuned_model: str | None


class RecipeList(Page):
    data: list[RecipeState]
