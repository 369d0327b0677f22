"""/v1/fine_tuning/recipes, Hone's own: stages of training that are started as one."""

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router

from accounts.errors import ApiError
from dashboard import schemas_chains as schemas
from dashboard.paging import page
from dashboard.refusals import refuse_later_stage, refuse_recipe
from dashboard.routers.jobs import find_file, find_model, recipe_of, refuse_what_is_not_served
from training.chains import following
from training.chains.models import Chain, Stage
from training.checks import method_for
from training.models import BaseModel, Checkpoint

router = Router()
Limit = Annotated[int, Query(ge=1, le=1_000)]


@router.post("/fine_tuning/recipes", response=schemas.RecipeState)
def create_recipe(request: HttpRequest, body: schemas.CreateRecipe) -> dict[str, Any]:
    """Checks every stage, then begins the first; the others follow by themselves."""
    base_model, checkpoint = find_model(request, body.model)
    chain = following.start_chain(
        project=request.project,  # type: ignore[attr-defined]
        user=request.auth_user,  # type: ignore[attr-defined]
        base_model=base_model,
        start_checkpoint=checkpoint,
        stages=[as_stage(request, stage, number, base_model, checkpoint) for number, stage in enumerate(body.stages)],
        label=body.label or "",
    )
    return as_recipe(chain)


def as_stage(request: HttpRequest, asked: Any, number: int, base_model: BaseModel, start: Checkpoint | None) -> Stage:
    """A stage is asked for in the fields of a job."""
    try:
        refuse_what_is_not_served(asked)
        recipe = recipe_of(asked)
        if asked.method is None:
            method = method_for(find_file(request, asked.training_file, "training_file"))
            recipe = recipe.model_validate({**recipe.model_dump(), "method": method})
        if number == 0:
            refuse_recipe(asked, recipe, base_model, start)
        else:
            refuse_later_stage(asked, recipe, base_model)
    except ApiError as error:
        error.param = f"stages.{number}.{error.param or ''}".rstrip(".")
        raise
    return Stage(
        training_file=asked.training_file,
        validation_file=asked.validation_file,
        recipe=recipe,
        label=asked.label or "",
        suffix=asked.suffix or "",
        seed=asked.seed,
        trackers=asked.integrations or [],
        pinned_prompts=asked.pinned_prompts or [],
        take=asked.take,
    )


@router.get("/fine_tuning/recipes", response=schemas.RecipeList)
def list_recipes(request: HttpRequest, after: str | None = None, limit: Limit = 20) -> dict[str, Any]:
    """Newest first."""
    found, more = page(recipes_of(request), after=after, limit=limit)
    return {"data": [as_recipe(chain) for chain in found], "has_more": more}


@router.get("/fine_tuning/recipes/{recipe_id}", response=schemas.RecipeState)
def retrieve_recipe(request: HttpRequest, recipe_id: str) -> dict[str, Any]:
    return as_recipe(find_recipe(request, recipe_id))


@router.post("/fine_tuning/recipes/{recipe_id}/cancel", response=schemas.RecipeState)
def cancel_recipe(request: HttpRequest, recipe_id: str) -> dict[str, Any]:
    """The stage that trains is cancelled, its checkpoints stay; no other begins."""
    following.cancel(find_recipe(request, recipe_id))
    return as_recipe(find_recipe(request, recipe_id))


@router.post("/fine_tuning/recipes/{recipe_id}/retry", response=schemas.RecipeState)
def retry_recipe(request: HttpRequest, recipe_id: str) -> dict[str, Any]:
    """The stage that failed or was cancelled once more; those before it are not repeated."""
    following.retry(find_recipe(request, recipe_id))
    return as_recipe(find_recipe(request, recipe_id))


def recipes_of(request: HttpRequest) -> Any:
    mine = Chain.objects.filter(project=request.project)  # type: ignore[misc]
    return mine.select_related("base_model", "start_checkpoint", "project")


def find_recipe(request: HttpRequest, recipe_id: str) -> Chain:
    chain: Chain | None = recipes_of(request).filter(pk=recipe_id).first()
    if chain is None:
        raise ApiError(f"Could not find recipe: {recipe_id}", status=404, param="recipe_id", code="recipe_not_found")
    return chain


def as_recipe(chain: Chain) -> dict[str, Any]:
    stages = [stage_state(stage, chain.job_of(number)) for number, stage in enumerate(chain.stages, 1)]
    return {
        "id": chain.pk,
        "model": chain.start_checkpoint.name if chain.start_checkpoint else chain.base_model.name,
        "label": chain.label or None,
        "created_at": int(chain.created_at.timestamp()),
        "finished_at": chain.finished_at and int(chain.finished_at.timestamp()),
        "status": chain.status,
        "problem": chain.problem or None,
        "stages": stages,
        "fine_tuned_model": stages[-1]["fine_tuned_model"] if chain.status == "succeeded" else None,
    }


def stage_state(stage: Stage, job: Any) -> dict[str, Any]:
    asked = {"method": stage.recipe.method, "training_file": stage.training_file, "take": stage.take}
    if job is None:
        return {**asked, "job": None, "status": "waiting", "fine_tuned_model": None}
    return {**asked, "job": job.pk, "status": job.status, "fine_tuned_model": job.fine_tuned_model or None}
