"""Screens: models as judges of a campaign, each beside its agreement with people; and of a bare matrix."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods, require_POST

from accounts.errors import ApiError
from accounts.models import Project
from playground import contenders
from playground.campaigns.models import Campaign
from playground.campaigns.results_views import names
from playground.contenders import Contender
from playground.judge import runs
from playground.judge.findings import JudgeFindings, findings
from playground.judge.models import JudgeRun
from playground.judge.questions import RUBRIC
from playground.matrix.models import Matrix
from playground.matrix.table import columns_of
from playground.sheets import Record

PAGE = "playground/campaign_judges.html"
MOST_RUBRIC = 8_000


class JudgeForm(forms.Form):
    """Which model, and by which rubric."""

    model = forms.ChoiceField(label="Model")
    rubric = forms.CharField(max_length=MOST_RUBRIC, label="Rubric")

    def __init__(self, *args: Any, project: Project, judged: set[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        found = [each for each in contenders.search(project) if each.model not in judged]
        self.fields["model"].choices = [(each.model, _as_choice(each)) for each in found]  # type: ignore[attr-defined]


def _as_choice(one: Contender) -> str:
    name = f"{one.label} ({one.known_as})" if one.external else one.label
    return f"{name} · last test failed" if one.trouble else name


@require_http_methods(["GET", "POST"])
def campaign_judges(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """GET: every run with what it found. POST: start one."""
    campaign = get_object_or_404(Campaign.objects.of(request.project).select_related("matrix"), pk=campaign_id)
    if campaign.is_judged_by(request.user):  # names beside verdicts would tell whom to prefer
        return render(request, PAGE, {"campaign": campaign, "judging": True})
    form = _form_for(campaign.matrix, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            runs.start(
                project=request.project,
                user=request.user,
                matrix=campaign.matrix,
                campaign=campaign,
                **form.cleaned_data,
            )
            return redirect("campaign-judges", campaign.pk)
        except ApiError as error:
            form.add_error("model", error.message)
    context = {
        "campaign": campaign,
        "form": form,
        "votes": campaign.assignments.judged().filter(repeat_of=None).count(),
        "questions": runs.count_questions(campaign),
        "runs": _shown(campaign),
    }
    return render(request, PAGE, context, status=422 if form.errors else 200)


def _shown(campaign: Campaign) -> list[dict[str, Any]]:
    labels = {key: each.label for key, each in names(campaign).items()}
    return _rows(campaign.project, campaign.judge_runs, labels)


def of_matrix(matrix: Matrix) -> dict[str, Any]:
    """What the page of a matrix shows of models as judges: every run, and the form of another one."""
    columns = columns_of(matrix)
    rows = _rows(matrix.project, matrix.judge_runs.filter(campaign=None), {each.key: each.label for each in columns})
    return {
        "judges": rows,
        "judging_now": any(row["run"].state == JudgeRun.State.RUNNING for row in rows),
        "judge_form": _form_for(matrix, None),
        "base_of_judges": columns[0].label if columns else "",
    }


def _form_for(matrix: Matrix, given: Any) -> JudgeForm:
    judged = {column["model"] for column in matrix.columns}
    return JudgeForm(given, project=matrix.project, judged=judged, initial={"rubric": RUBRIC})


def _rows(project: Project, found: Any, labels: dict[str, str]) -> list[dict[str, Any]]:
    those = list(found.select_related("matrix__prompt_set", "campaign", "project"))
    known = contenders.find(project, [run.model for run in those])
    return [_row(run, known[run.model].label if run.model in known else run.model, labels) for run in those]


def _row(run: JudgeRun, label: str, labels: dict[str, str]) -> dict[str, Any]:
    """`records`: pairs as people and as the model judged them; `alone`: where no people did."""
    found = findings(run)
    bare = [] if run.campaign_id else found.model
    alone = [Record(pair, labels.get(pair.first, "deleted"), labels.get(pair.second, "deleted")) for pair in bare]
    records = _beside(found, labels)
    return {
        "run": run,
        "label": label,
        "found": found,
        "records": records,
        "alone": alone,
        "leader": next(iter(alone), None),
    }


def _beside(found: JudgeFindings, labels: dict[str, str]) -> list[dict[str, Record]]:
    """Each pair as people judged it and as the model did, the same contender first."""
    said = {(pair.first, pair.second): pair for pair in found.model}
    rows = []
    for pair in found.people:
        first, second = labels.get(pair.first, "deleted"), labels.get(pair.second, "deleted")
        other = said.get((pair.first, pair.second)) or said.get((pair.second, pair.first))
        if other and other.first != pair.first:
            other = other.turned()
        if other:
            rows.append({"people": Record(pair, first, second), "model": Record(other, first, second)})
    return rows


@require_POST
def matrix_judges(request: HttpRequest, matrix_id: str) -> HttpResponse:
    """Starts one on a matrix; its page shows what it found."""
    matrix = get_object_or_404(Matrix.objects.of(request.project), pk=matrix_id)
    form = _form_for(matrix, request.POST)
    try:
        if not form.is_valid():
            raise ApiError(next(iter(form.errors.values()))[0])
        if len(matrix.columns) < 2:
            raise ApiError("A judge compares answers: add another model first.")
        runs.start(project=request.project, user=request.user, matrix=matrix, **form.cleaned_data)
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("matrix", matrix.pk)


@require_POST
def act_on_judge(request: HttpRequest, run_id: str, action: str) -> HttpResponse:
    """`cancel`, or `go-on`: what is not judged yet, new votes' pairs too."""
    run = get_object_or_404(JudgeRun.objects.of(request.project), pk=run_id)
    if action == "cancel":
        runs.cancel(run)
    elif action == "go-on":
        runs.go_on(run)
    else:
        messages.error(request, "A judge can be cancelled or gone on with.")
    return redirect("campaign-judges", run.campaign_id) if run.campaign_id else redirect("matrix", run.matrix_id)


matrix_urlpatterns: list[URLPattern] = [path("<str:matrix_id>/judges/", matrix_judges, name="matrix-judges")]

urlpatterns: list[URLPattern] = [
    path("<str:campaign_id>/judges/", campaign_judges, name="campaign-judges"),
    path("judges/<str:run_id>/<str:action>", act_on_judge, name="act-on-judge"),
]
