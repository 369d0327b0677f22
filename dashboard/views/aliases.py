"""Screens: a team's own names for models. Promote, roll back, the history, delete."""

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from playground import contenders
from playground.deployments import find_target
from playground.refusals import checking
from training.aliases import pointing
from training.aliases.models import Alias, Promotion
from training.models import Checkpoint, TrainingJob


class PromoteForm(forms.Form):
    model = forms.CharField(max_length=250)
    name = forms.CharField(max_length=250)
    reason = forms.CharField(max_length=500, required=False)


def aliases(request: HttpRequest) -> HttpResponse:
    """`?model=NAME` fills in what shall be promoted, `&reason=` why; without a model the best of the newest job stands
    there."""
    given = {name: request.GET.get(name, "") for name in ("model", "name", "reason")}
    best = "" if given["model"] else _newest_best(request)
    return _page(request, PromoteForm(initial=given | {"model": given["model"] or best}), best=best)


def _newest_best(request: HttpRequest) -> str:
    finished = TrainingJob.objects.of(request.project).filter(status="succeeded")  # type: ignore[attr-defined]
    job = finished.order_by("-finished_at").first()
    found = (job.best_checkpoint() or job.checkpoints.order_by("-step").first()) if job else None
    return found.name if found else ""


@require_POST
def promote(request: HttpRequest) -> HttpResponse:
    form = PromoteForm(request.POST)
    if not form.is_valid():
        return _page(request, form, status=422)
    given = form.cleaned_data
    try:
        target = find_target(request.project, given["model"])
        if isinstance(target, Checkpoint):
            checking.refuse_unsafe(target)
        alias = pointing.promote(request.project, request.user, given["name"], target, given["reason"])
    except ApiError as error:
        form.add_error(error.param if error.param in form.fields else None, error.message)
        return _page(request, form, status=422)
    messages.success(request, f"{alias.name} answers with {target.name} from now on.")
    if isinstance(target, Checkpoint) and (objection := checking.objection(target)):
        messages.warning(request, objection)
    return redirect("aliases")


@require_POST
def act_on_alias(request: HttpRequest, name: str, action: str) -> HttpResponse:
    alias = get_object_or_404(Alias.objects.of(request.project), name=name)
    if action not in {"roll-back", "delete"}:
        raise Http404(f"No such action: {action}")
    try:
        if action == "roll-back":
            made = pointing.roll_back(alias, request.user)
            messages.success(request, f"{alias.name} answers with {made.model_name} again.")
        else:
            alias.delete()
            messages.success(request, f"{alias.name} is no name of a model any more.")
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("aliases")


def _page(request: HttpRequest, form: PromoteForm, status: int = 200, best: str = "") -> HttpResponse:
    """`best`: what stands in the form because nobody has chosen yet."""
    found = list(
        Alias.objects.of(request.project).prefetch_related("promotions__promoted_by", "promotions__checkpoint")
    )
    steps = [each for alias in found for each in alias.promotions.all()]
    named = contenders.find(request.project, {each.model_name for each in steps})
    askable = pointing.askable(request.project, steps)
    rows = [
        {
            "alias": alias,
            "history": [
                {"step": each, "contender": named.get(each.model_name), "gone": _why_gone(each, askable)}
                for each in alias.promotions.all()
            ],
            "before": pointing.earlier(alias, askable),
        }
        for alias in found
    ]
    context = {
        "rows": rows,
        "form": form,
        "best": best,
        "choices": [choice for choice in contenders.search(request.project) if not choice.external],
        "address": request.build_absolute_uri("/v1"),
    }
    return render(request, "dashboard/aliases.html", context, status=status)


def _why_gone(step: Promotion, askable: set[int]) -> str:
    """Empty for a model that answers."""
    if step.pk in askable:
        return ""
    return "no longer shared" if step.target else "deleted"


urlpatterns: list[URLPattern] = [
    path("", aliases, name="aliases"),
    path("promote", promote, name="promote"),
    path("<str:name>/<str:action>", act_on_alias, name="act-on-alias"),
]
