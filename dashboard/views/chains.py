"""Screens: recipes. Stages of training that are started as one and shown as one line of descent."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from dashboard.forecast import Forecast
from dashboard.forecast_chain import forecasts, total
from dashboard.forms_chain import NUMBERS, ChainForm, StageForm
from dashboard.views.model_choice import news
from dashboard.views.new_job import resolved_auto
from training.chains import following
from training.chains.models import Chain
from training.models import DatasetFile

SHOWN = 50
SHOWN_FIELDS = ("training_file", "validation_file", *NUMBERS, "suffix", "seed", "pinned_prompts")


def recipes(request: HttpRequest) -> HttpResponse:
    mine = Chain.objects.filter(project=request.project).select_related("base_model", "start_checkpoint")  # type: ignore[misc]
    lines = [(chain, descent(chain)) for chain in mine[:SHOWN]]
    return render(request, "dashboard/recipes.html", {"lines": lines})


def new_recipe(request: HttpRequest) -> HttpResponse:
    form = ChainForm(request.POST if request.method == "POST" else None, project=request.project)
    if request.method == "POST" and not _has_faults(form) and (chain := _start(request, form)):
        return redirect("recipe", chain.pk)
    status = 400 if request.method == "POST" else 200
    return render(request, "dashboard/recipe_new.html", {"form": form} | news(form), status=status)


def _has_faults(form: ChainForm) -> bool:
    """What the fields say, and what the model or the machine cannot do, stage by stage; on the form as its errors."""
    form.is_valid()
    for part, answer in zip(form.parts, forecasts(form), strict=True):
        for name, text in answer.faults:
            if name not in part.errors:
                part.add_error(name if name in part.fields else None, text)
                form.add_error(None, f"Stage {part.number}: {text}")
    return bool(form.errors)


@require_POST
def change_stages(request: HttpRequest) -> HttpResponse:
    """The form as it was typed with a stage more (`add`) or one less (`remove`); nothing is judged yet."""
    form = ChainForm.changed(request.POST, project=request.project)
    part = "#stages" if request.htmx else ""
    context = {"form": form, "removed": "remove" in request.POST} | news(form)
    answer = render(request, f"dashboard/recipe_new.html{part}", context)
    answer["HX-Trigger-After-Swap"] = "hone:stages"
    return answer


@require_POST
def estimate_recipe(request: HttpRequest) -> HttpResponse:
    """The card beside the form; each auto's value and each field's error beside it (out of band)."""
    form = ChainForm(request.POST, project=request.project)
    form.is_valid()
    answers = forecasts(form)
    each = [
        {"part": part, "answer": answer, "fields": [_field_words(part, answer, name) for name in SHOWN_FIELDS]}
        for part, answer in zip(form.parts, answers, strict=True)
    ]
    context = {"form": form, "stages": each, "total": total(answers)}
    return render(request, "dashboard/recipe_new.html#answer", context)


def _field_words(part: StageForm, answer: Forecast, name: str) -> dict[str, str]:
    """What auto takes and why, and what is wrong; a file that is merely missing is not, while one types."""
    said = part.errors.get(name, [""])[0] if part[name].value() else ""
    found = {"id": part[name].html_name, "error": said or answer.fault_of(name)}
    empty = (part[name].value() or "auto") == "auto"
    return found | (resolved_auto(answer.resolved, name) if answer.resolved and name in NUMBERS and empty else {})


def _start(request: HttpRequest, form: ChainForm) -> Chain | None:
    """None with the reason on the form."""
    assert form.base_model
    try:
        return following.start_chain(
            project=request.project,
            user=request.user,  # type: ignore[arg-type]
            base_model=form.base_model,
            start_checkpoint=form.start_checkpoint,
            stages=form.stages,
            label=form.cleaned_data["label"],
        )
    except ApiError as refused:
        form.add_error(None, refused.message)
        return None


def recipe(request: HttpRequest, chain_id: str) -> HttpResponse:
    """The line of descent: the model it starts from, each stage, the model that comes out."""
    chain = get_object_or_404(mine(request), pk=chain_id)
    return render(request, "dashboard/recipe.html", {"chain": chain, "descent": descent(chain)})


def mine(request: HttpRequest) -> Any:
    return Chain.objects.filter(project=request.project).select_related("base_model", "start_checkpoint", "project")  # type: ignore[misc]


def descent(chain: Chain) -> list[dict[str, Any]]:
    """One entry a stage, with its job and the checkpoint that is handed on, as far as they are there."""
    found = []
    ids = {file_id for stage in chain.stages for file_id in (stage.training_file, stage.validation_file) if file_id}
    files = DatasetFile.objects.of(chain.project).in_bulk(ids)
    for number, stage in enumerate(chain.stages, 1):
        job = chain.job_of(number)
        handed = following.taken(job, stage) if job and job.is_final else None
        went_on = number == len(chain.stages) or chain.at > number  # else it is only kept: the recipe stopped here
        data = [file for file_id in (stage.training_file, stage.validation_file) if (file := files.get(file_id or ""))]
        found.append({"number": number, "stage": stage, "job": job, "handed": handed, "went_on": went_on, "data": data})
    return found


@require_POST
def act(request: HttpRequest, chain_id: str, action: str) -> HttpResponse:
    """`cancel` or `retry`; a refusal is told as a toast."""
    chain = get_object_or_404(mine(request), pk=chain_id)
    if action not in ("cancel", "retry"):
        raise Http404(f"No such action: {action}")
    try:
        if action == "cancel":
            following.cancel(chain)
        else:
            following.retry(chain)
    except ApiError as refused:
        messages.error(request, refused.message)
    return redirect("recipe", chain_id)


urlpatterns: list[URLPattern] = [
    path("", recipes, name="recipes"),
    path("new/", new_recipe, name="new-recipe"),
    path("new/stages", change_stages, name="recipe-stages"),
    path("new/estimate", estimate_recipe, name="estimate-recipe"),
    path("<str:chain_id>/", recipe, name="recipe"),
    path("<str:chain_id>/do/<str:action>", act, name="act-on-recipe"),
]
