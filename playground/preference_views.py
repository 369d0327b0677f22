"""Screen: what the votes teach. Filters, a preview of the pairs, and the file for the next model."""

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
from playground import contenders, preferences
from playground.models import Response, Vote
from playground.preferences import Filters, Gathered, Preference
from training.datasets import MIN_JOB_ROWS

PAGE_PAIRS = 20
AGREEMENTS = [("0.5", "more than half"), ("0.67", "two thirds"), ("0.8", "four fifths"), ("1", "everybody")]


class FiltersForm(forms.Form):
    """Ends in `Filters`; the choices are what the project's votes hold."""

    blind_only = forms.BooleanField(required=False, label="Blind votes only")
    voter = forms.TypedChoiceField(required=False, coerce=int, empty_value=None, label="Votes of")
    model = forms.ChoiceField(required=False, label="Pairs with an answer by")
    agreement = forms.TypedChoiceField(choices=AGREEMENTS, coerce=float, required=False, empty_value=0.5, label="Agree")

    def __init__(self, *args: Any, project: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        votes = Vote.objects.filter(project=project)
        voters = User.objects.filter(pk__in=votes.values("voter"))
        judged = Response.objects.filter(turn__votes__project=project).values_list("model", flat=True).distinct()
        named = contenders.find(project, set(judged))
        models = sorted((name, named[name].label if name in named else name) for name in set(judged))
        self.fields["voter"].choices = [("", "everybody"), *((user.pk, str(user)) for user in voters)]  # type: ignore[attr-defined]
        self.fields["model"].choices = [("", "any model"), *models]  # type: ignore[attr-defined]

    @property
    def filters(self) -> Filters:
        return Filters(**self.cleaned_data)


@require_http_methods(["GET", "POST"])
def vote_preferences(request: HttpRequest) -> HttpResponse:
    """GET: what the chosen votes give. POST: the same as a dataset, then the form of the job that learns from it."""
    form = FiltersForm(request.POST if request.method == "POST" else request.GET, project=request.project)
    filters = form.filters if form.is_valid() else Filters()
    gathered = preferences.gather(request.project, filters)
    if request.method == "POST" and form.is_valid() and gathered.pairs:
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
        "few": len(gathered.pairs) < MIN_JOB_ROWS,
        "needed": MIN_JOB_ROWS,
        "start": preferences.start_for(request.project, gathered),
        "left_out": gathered.left_out.most_common(),
        "name": f"votes-{timezone.localdate():%Y-%m-%d}.jsonl",
        "query": urlencode({key: value for key, value in request.GET.items() if key != "page"}),
    }
    return render(request, "playground/preferences.html", context)


def _judged_by(request: HttpRequest, pairs: list[Preference]) -> list[Preference]:
    """Without those of blind comparisons that this person may yet judge: what others chose would tell."""
    judged = set(Vote.objects.filter(voter=request.user).values_list("turn__comparison", flat=True))
    return [pair for pair in pairs if not pair.comparison.blind or pair.comparison.pk in judged]


def _labels(names: dict[str, contenders.Contender], pair: Preference) -> list[str]:
    return [names[name].label if name in names else name for name in pair.models]


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
