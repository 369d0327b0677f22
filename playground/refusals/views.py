"""Screen: what a checkpoint refuses, beside the weights its job started from."""

from collections import Counter
from dataclasses import dataclass, field

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from playground.matrix import matrices
from playground.matrix.models import KeptAnswer
from playground.refusals import checking
from playground.refusals.models import RefusalCheck, RefusalPolicy
from playground.refusals.words import outcome
from training.models import Checkpoint

WORDS = {"refused": "refuses", "complied": "does it", "other": "neither"}
ORDER = {("refused", "complied"): 0, ("other", "complied"): 1, ("complied", "refused"): 3}  # the worst on top


@dataclass
class Line:
    """One prompt with what both said."""

    prompt: str
    tags: list[str]
    before: str
    now: str
    before_is: str
    now_is: str

    @property
    def before_words(self) -> str:
        return WORDS[self.before_is]

    @property
    def now_words(self) -> str:
        return WORDS[self.now_is]

    @property
    def is_worse(self) -> bool:
        return self.now_is == "complied" != self.before_is


@dataclass
class Kind:
    """Of one tag: outcomes before and now."""

    name: str
    before: Counter[str] = field(default_factory=Counter)
    now: Counter[str] = field(default_factory=Counter)


def _checkpoint(request: HttpRequest, checkpoint_id: str) -> Checkpoint:
    mine = Checkpoint.objects.of(request.project)  # type: ignore[attr-defined]
    return get_object_or_404(mine.select_related("job", "job__start_checkpoint", "base_model"), pk=checkpoint_id)


@require_GET
def refusals(request: HttpRequest, checkpoint_id: str) -> HttpResponse:
    """The page; the part with the figures alone for htmx while answers come in."""
    checkpoint = _checkpoint(request, checkpoint_id)
    check = RefusalCheck.objects.filter(checkpoint=checkpoint).select_related("matrix__prompt_set").first()
    lines = _lines(check) if check else []
    context = {
        "checkpoint": checkpoint,
        "check": check,
        "before": checking.before(checkpoint),
        "finding": checking.finding(check) if check else None,
        "progress": matrices.progress(check.matrix) if check else None,
        "lines": lines,
        "kinds": _kinds(lines),
        "prompts": checking.prompts_of(request.project),
        "policy": checking.policy_of(request.project),
        "policies": RefusalPolicy.Promotion.choices,
        "is_owner": request.project.is_owned_by(request.user),
    }
    return render(request, "playground/refusals.html" + ("#finding" if request.htmx else ""), context)


def _lines(check: RefusalCheck) -> list[Line]:
    matrix = check.matrix
    kept = KeptAnswer.objects.filter(project=matrix.project_id, contender__in=matrix.contenders, error="")
    texts = {(answer.contender, answer.prompt): answer.text for answer in kept}
    then, now = matrix.contenders
    found = [
        Line(prompt.text, prompt.tags, said, says, outcome(said), outcome(says))
        for prompt in matrix.prompt_set.prompts.all()
        if (said := texts.get((then, prompt.key))) is not None and (says := texts.get((now, prompt.key))) is not None
    ]
    return sorted(found, key=lambda line: ORDER.get((line.before_is, line.now_is), 2))


def _kinds(lines: list[Line]) -> list[Kind]:
    found: dict[str, Kind] = {}
    for line in lines:
        for tag in line.tags or ["own"]:
            kind = found.setdefault(tag, Kind(tag))
            kind.before[line.before_is] += 1
            kind.now[line.now_is] += 1
    return sorted(found.values(), key=lambda kind: kind.name)


@require_POST
def check(request: HttpRequest, checkpoint_id: str) -> HttpResponse:
    checkpoint = _checkpoint(request, checkpoint_id)
    try:
        checking.ask(checkpoint, request.user)  # type: ignore[arg-type]
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("refusals", checkpoint.pk)


@require_POST
def extend(request: HttpRequest, checkpoint_id: str) -> HttpResponse:
    """More prompts for the project's set; the checkpoint can then be asked again."""
    checkpoint = _checkpoint(request, checkpoint_id)
    try:
        made = checking.extend(request.project, request.user, request.POST.get("prompts", ""))  # type: ignore[attr-defined,arg-type]
        messages.success(request, f"The set has {made.prompts.count()} prompts now. Ask again to put them to both.")
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("refusals", checkpoint.pk)


@require_POST
def set_policy(request: HttpRequest, checkpoint_id: str) -> HttpResponse:
    checkpoint = _checkpoint(request, checkpoint_id)
    wanted = request.POST.get("promotion", "")
    if not request.project.is_owned_by(request.user):
        messages.error(request, "Only an owner of the project can do this.")
    elif wanted in RefusalPolicy.Promotion.values:
        RefusalPolicy.objects.update_or_create(project=request.project, defaults={"promotion": wanted})  # type: ignore[misc]
        messages.success(request, "Saved.")
    return redirect("refusals", checkpoint.pk)


urlpatterns: list[URLPattern] = [
    path("<str:checkpoint_id>/", refusals, name="refusals"),
    path("<str:checkpoint_id>/check", check, name="check-refusals"),
    path("<str:checkpoint_id>/extend", extend, name="extend-refusals"),
    path("<str:checkpoint_id>/policy", set_policy, name="refusal-policy"),
]
