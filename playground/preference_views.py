"""Screen: what the votes teach. Filters, a preview of the pairs, and the file for the next model."""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from accounts.errors import ApiError
from accounts.models import User
from accounts.telling_apart import label, tell_apart
from playground import contenders, preferences
from playground.campaigns.models import Campaign, Evaluator
from playground.matrix.models import KeptAnswer
from playground.models import Comparison, Response, Vote
from playground.preferences import Filters, Gathered, Preference
from training.datasets import MIN_JOB_ROWS

PAGE_PAIRS = 20
LEAST = [("1", "at least 1"), ("2", "at least 2"), ("3", "at least 3"), ("5", "at least 5")]
AGREEMENTS = [("0.5", "more than half"), ("0.67", "two thirds"), ("0.8", "four fifths"), ("1", "everybody")]


class FiltersForm(forms.Form):
    """Ends in `Filters`; the choices are what the project's votes hold."""

    edits = forms.ChoiceField(choices=[("", "among them"), ("no", "left out")], required=False, label="Edited answers")
    blind_only = forms.BooleanField(required=False, label="Blind votes only")
    voter = forms.TypedChoiceField(required=False, coerce=int, empty_value=None, label="Votes of")
    model = forms.ChoiceField(required=False, label="Pairs with an answer by")
    agreement = forms.TypedChoiceField(choices=AGREEMENTS, coerce=float, required=False, empty_value=0.5, label="Agree")
    least_votes = forms.TypedChoiceField(
        choices=LEAST, coerce=int, required=False, empty_value=1, label="Votes on a pair"
    )
    campaign = forms.ChoiceField(required=False, label="Votes in")
    evaluator = forms.TypedChoiceField(required=False, coerce=int, empty_value=None, label="Evaluator")
    without = forms.CharField(required=False, max_length=2000)  # ids, as the results of a campaign leave them out

    def __init__(self, *args: Any, project: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        votes = Vote.objects.filter(project=project)
        voters = User.objects.filter(pk__in=votes.values("voter"))
        judged = Response.objects.filter(turn__votes__project=project).values_list("model", flat=True).distinct()
        campaigns = Campaign.objects.of(project).filter(assignments__judged_at__isnull=False).distinct()
        kept = KeptAnswer.objects.filter(project=project, contender__in={*_contenders(campaigns)})
        judged = {*judged, *kept.values_list("model", flat=True).distinct()}
        named = contenders.find(project, judged)
        models = sorted((name, named[name].label if name in named else name) for name in judged)
        people = Evaluator.objects.filter(campaign__in=campaigns, assignments__judged_at__isnull=False)
        everywhere = [("", "playground and campaigns"), (preferences.PLAYGROUND, "playground only")]
        self.fields["campaign"].choices = [
            *everywhere,
            *((each.pk, label(each.name, each)) for each in tell_apart(campaigns)),
        ]  # type: ignore[attr-defined]
        self.fields["evaluator"].choices = [
            ("", "everybody"),
            *_evaluators(list(people.select_related("campaign").distinct())),
        ]  # type: ignore[attr-defined]
        self.fields["voter"].choices = [("", "everybody"), *((user.pk, str(user)) for user in voters)]  # type: ignore[attr-defined]
        self.fields["model"].choices = [("", "any model"), *models]  # type: ignore[attr-defined]

    def clean_without(self) -> tuple[int, ...]:
        """Of this project's evaluators; what is not an id of one is dropped."""
        asked = {int(each) for each in self.cleaned_data["without"].split(",") if each.isdecimal()}
        return tuple(pk for pk, _ in self.fields["evaluator"].choices if pk in asked)  # type: ignore[attr-defined]

    @property
    def without_names(self) -> list[str]:
        """Whose votes are left out."""
        left_out = self.cleaned_data.get("without", ())
        return [name for pk, name in self.fields["evaluator"].choices if pk in left_out]  # type: ignore[attr-defined]

    @property
    def filters(self) -> Filters:
        return Filters(**self.cleaned_data | {"edits": self.cleaned_data["edits"] != "no"})


def _contenders(campaigns: Iterable[Campaign]) -> Iterator[str]:
    for campaign in campaigns:
        yield from campaign.matrix.contenders


def _evaluators(people: list[Evaluator]) -> list[tuple[int, str]]:
    """With the campaign's name; there several people may have given the same name."""
    for each in people:
        each.shown = f"{each.name} ({each.campaign.name})"  # type: ignore[attr-defined]
    return [(each.pk, label(each.shown, each)) for each in tell_apart(people, "shown")]  # type: ignore[attr-defined]


@require_http_methods(["GET", "POST"])
def vote_preferences(request: HttpRequest) -> HttpResponse:
    """GET: what the chosen votes give. POST: the same as a dataset, then the form of the job that learns from it."""
    form = FiltersForm(request.POST if request.method == "POST" else request.GET, project=request.project)
    filters = form.filters if form.is_valid() else Filters()
    gathered = preferences.gather(request.project, filters)
    few = len(gathered.pairs) < MIN_JOB_ROWS
    if request.method == "POST" and form.is_valid() and gathered.pairs and not few:
        return _made(request, filters, gathered)
    shown = _judged_by(request, gathered.pairs)
    page = Paginator(shown, PAGE_PAIRS).get_page(request.GET.get("page"))
    names = contenders.find(request.project, {name for pair in page for name in pair.models})
    context = {
        "form": form,
        "gathered": gathered,
        "page": page,
        "pairs": [{"pair": pair, "labels": _labels(names, pair)} for pair in page],
        "hidden": len(gathered.pairs) - len(shown),
        "few": few,
        "needed": MIN_JOB_ROWS,
        "start": preferences.start_for(request.project, gathered),
        "left_out": gathered.left_out.most_common(),
        "name": f"votes-{timezone.localdate():%Y-%m-%d}.jsonl",
        "query": urlencode({key: value for key, value in request.GET.items() if key != "page"}),
    }
    return render(request, "playground/preferences.html", context)


def _judged_by(request: HttpRequest, pairs: list[Preference]) -> list[Preference]:
    """Without those of blind comparisons and campaigns that this person may yet judge: what others chose would tell."""
    judged = set(Vote.objects.filter(voter=request.user).values_list("turn__comparison", flat=True))
    judging = {campaign.pk for campaign in Campaign.objects.of(request.project) if campaign.is_judged_by(request.user)}
    return [
        pair
        for pair in pairs
        if (pair.source.pk not in judging if isinstance(pair.source, Campaign) else _is_open(pair.source, judged))
    ]


def _is_open(comparison: Comparison, judged: set[str]) -> bool:
    return not comparison.blind or comparison.pk in judged


def _labels(names: dict[str, contenders.Contender], pair: Preference) -> list[str]:
    preferred, other = (names[name].label if name in names else name for name in pair.models)
    return [f"{preferred}, edited by {pair.edited_by}" if pair.edited_by else preferred, other]


def _made(request: HttpRequest, filters: Filters, gathered: Gathered) -> HttpResponse:
    name = request.POST.get("name", "").strip() or "votes.jsonl"
    try:
        file = preferences.make_file(request.project, request.user, name, filters, gathered)
    except ApiError as error:
        messages.error(request, error.message)
        return redirect("vote-preferences")
    start = preferences.start_for(request.project, gathered)
    asked = {"file": file.pk} | ({"checkpoint": start.pk} if start else {})
    messages.success(request, f"{len(gathered.pairs)} pairs stand in {file.filename}. Look them over, then train.")
    return redirect(f"{reverse('new-job')}?{urlencode(asked)}")
