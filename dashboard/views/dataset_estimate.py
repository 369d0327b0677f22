"""On a dataset's page: what a job on it would take, with everything on auto, for one base model."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dashboard.forecast import forecast
from dashboard.form_start import validation_partner
from dashboard.forms import METHOD_NAMES
from dashboard.preparing import busy_now
from dashboard.row_tokens import base_models
from dashboard.views.one_dataset import one_dataset
from training import checks
from training.engine.spec import Recipe
from training.models import BaseModel, Checkpoint, DatasetFile

SPLIT_SHARE = 20  # per cent; what the form offers where there is no validation file


@dataclass
class AllAuto:
    """The job that the form would make if nothing but the model were chosen (dashboard.forecast.Asked)."""

    base_model: BaseModel | None
    recipe: Recipe | None
    readable_recipe: Recipe | None
    cleaned_data: dict[str, Any]
    start_checkpoint: Checkpoint | None = None


@require_GET
def estimate(request: HttpRequest, file_id: str) -> HttpResponse:
    """?model= chooses whose tokenizer, weights and measured speed it is computed for; ?slim= draws one line that
    unfolds, ?open= the line unfolded."""
    file = one_dataset(request, file_id)
    models, model = base_models(request)
    context = {
        "file": file,
        "models": models,
        "model": model,
        "forecast": forecast(_all_auto(file, model), by_sample=True) if model else None,
        "slim": "slim" in request.GET,
        "open": "open" in request.GET,
        "method": METHOD_NAMES[checks.method_for(file)],
        "split_share": None if validation_partner(file) else SPLIT_SHARE,
        "busy": busy_now(request.project),
    }
    return render(request, "dashboard/dataset_estimate.html", context)


def _all_auto(file: DatasetFile, model: BaseModel | None) -> AllAuto:
    recipe = Recipe.model_validate({"method": checks.method_for(file)})
    partner = validation_partner(file)
    data = {"training_file": file, "validation": "file" if partner else "split", "validation_file": partner}
    return AllAuto(model, recipe, recipe, {**data, "split_share": SPLIT_SHARE})
