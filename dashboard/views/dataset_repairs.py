"""Repairs of a dataset: look what they would change, follow that, make the version."""

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from accounts.errors import ApiError
from dashboard.views.dataset_problems import refused_key, repair_context
from dashboard.views.one_dataset import one_dataset
from training.models import DatasetFile
from training.repairs import asking, catalogue
from training.repairs.models import Repair

OPTIONS = ("system", "how", "model", "max_length")
MOST_CHARACTERS = 100_000  # of a system prompt


class RepairForm(forms.Form):
    """`one` is the key of a button that mends one kind; without it the ticked `repair` boxes count."""

    one = forms.CharField(required=False)
    repair = forms.MultipleChoiceField(choices=[(key, key) for key in catalogue.BY_KEY], required=False)
    system = forms.CharField(required=False, max_length=MOST_CHARACTERS, strip=False)
    how = forms.ChoiceField(choices=[(how, how) for how in catalogue.SHORTENED], required=False)
    model = forms.CharField(required=False)
    max_length = forms.IntegerField(
        required=False,
        min_value=16,
        max_value=10_000_000,
        error_messages={
            "invalid": "The most tokens of a row are a whole number.",
            "min_value": "A row may have 16 tokens at least.",
            "max_value": "A row may have 10,000,000 tokens at most.",
        },
    )


def one_repair(request: HttpRequest, file: DatasetFile, repair_id: str) -> Repair:
    found = Repair.objects.of(request.project).select_related("file", "made")
    return get_object_or_404(found, pk=repair_id, file=file)


def address(repair: Repair) -> str:
    return f"{reverse('dataset', args=[repair.file_id])}?tab=problems&repair={repair.pk}#repair"


@require_POST
def look(request: HttpRequest, file_id: str) -> HttpResponse:
    """What the chosen repairs would change; nothing is changed by it."""
    file = one_dataset(request, file_id)
    form = RepairForm(request.POST)
    if not form.is_valid():
        return _again(request, file, "; ".join(text for texts in form.errors.values() for text in texts))
    given = form.cleaned_data
    keys = [given["one"]] if given["one"] else given["repair"]
    given["system"] = given["system"].replace("\r\n", "\n")
    try:
        repair = asking.look(file, keys, request.user, **{name: given[name] for name in OPTIONS})
    except ApiError as error:
        return _again(request, file, error.message)
    return redirect(address(repair))


def _again(request: HttpRequest, file: DatasetFile, why: str) -> HttpResponse:
    """Back to the form with everything as it was filled in, and why that cannot be."""
    given = {name: request.POST.get(name, "")[:MOST_CHARACTERS] for name in OPTIONS}
    keys = [key for key in [*request.POST.getlist("repair"), request.POST.get("one", "")] if key in catalogue.BY_KEY]
    request.session[refused_key(file)] = {"why": why, "keys": keys, **given}
    return redirect(f"{reverse('dataset', args=[file.pk])}?tab=problems#repairs")


@require_GET
def follow(request: HttpRequest, file_id: str, repair_id: str) -> HttpResponse:
    """The card alone, while a worker is at it; then the page is drawn anew."""
    repair = one_repair(request, one_dataset(request, file_id), repair_id)
    if not repair.is_under_way:
        return HttpResponseClientRefresh() if request.htmx else redirect(address(repair))
    context = {"file": repair.file, **repair_context(repair)}
    return render(request, "dashboard/dataset_repair.html", context)


@require_POST
def make(request: HttpRequest, file_id: str, repair_id: str) -> HttpResponse:
    """The version, as it was shown."""
    repair = one_repair(request, one_dataset(request, file_id), repair_id)
    try:
        repair = asking.make(repair)
    except ApiError as error:
        messages.error(request, error.message)
        return redirect(address(repair))
    if repair.state != Repair.State.DONE or repair.made is None:
        return redirect(address(repair))
    words = f"Version {repair.made.version} is made. {asking.words_of(repair)} Version {repair.file.version} stays."
    messages.success(request, words)
    return redirect(f"{reverse('dataset', args=[repair.made_id])}#verdict")
