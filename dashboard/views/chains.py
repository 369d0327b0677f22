"""Screens: recipes. Stages of training that are started as one and shown as one line of descent."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from dashboard.forms_chain import ChainForm
from training.chains import following
from training.chains.models import Chain

SHOWN = 50


def recipes(request: HttpRequest) -> HttpResponse:
    mine = Chain.objects.filter(project=request.project).select_related("base_model", "start_checkpoint")  # type: ignore[misc]
    lines = [(chain, descent(chain)) for chain in mine[:SHOWN]]
    return render(request, "dashboard/recipes.html", {"lines": lines})


def new_recipe(request: HttpRequest) -> HttpResponse:
    form = ChainForm(request.POST if request.method == "POST" else None, project=request.project)
    if request.method == "POST" and form.is_valid() and (chain := _start(request, form)):
        return redirect("recipe", chain.pk)
    status = 400 if request.method == "POST" else 200
    return render(request, "dashboard/recipe_new.html", {"form": form}, status=status)


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
    for number, stage in enumerate(chain.stages, 1):
        job = chain.job_of(number)
        handed = following.taken(job, stage) if job and job.is_final else None
        went_on = number == len(chain.stages) or chain.at > number  # else it is only kept: the recipe stopped here
        found.append({"number": number, "stage": stage, "job": job, "handed": handed, "went_on": went_on})
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
    path("<str:chain_id>/", recipe, name="recipe"),
    path("<str:chain_id>/do/<str:action>", act, name="act-on-recipe"),
]
