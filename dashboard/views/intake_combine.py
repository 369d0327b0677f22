"""Screen: several datasets become one, or one gives a sample."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_http_methods

from accounts.errors import ApiError
from accounts.telling_apart import tell_apart
from training import texts
from training.intake import combine
from training.intake.combine import Source
from training.intake.models import Making
from training.models import DatasetFile
from training.rules import FORMAT_NAMES

MOST_LISTED = 200
Status = DatasetFile.Status


class CombineForm(forms.Form):
    name = forms.CharField(max_length=200, required=False)
    seed = forms.IntegerField(required=False, min_value=0, max_value=2_147_483_647)
    order = forms.ChoiceField(choices=[("listed", "one after another"), ("shuffled", "shuffled")], required=False)


@require_http_methods(["GET", "POST"])
def combine_datasets(request: HttpRequest) -> HttpResponse:
    """?file= ticks datasets beforehand; POST has file=<id> for each and take-<id> with a number, a share or nothing."""
    form = CombineForm(request.POST or None, initial={"seed": 0, "order": "listed"})
    if request.method == "POST" and form.is_valid():
        try:
            return _combined(request, form.cleaned_data)
        except ApiError as error:
            form.add_error(None, error.message)
    given = request.POST if request.method == "POST" else request.GET
    ticked = given.getlist("file")
    listed = _listed(request, ticked)
    context = {
        "form": form,
        "groups": _groups(listed, ticked, given),
        "left_out": len(listed) >= MOST_LISTED,
        "faults": [text for texts_ in form.errors.values() for text in texts_],
        "values": {name: form[name].value() for name in form.fields},
    }
    return render(request, "dashboard/intake_combine.html", context, status=400 if form.errors else 200)


def _listed(request: HttpRequest, ticked: list[str]) -> list[DatasetFile]:
    """Of each dataset its newest sound version, where that is JSONL; what is ticked first, in any version."""
    usable = DatasetFile.objects.of(request.project).usable()  # type: ignore[attr-defined]
    found = list(usable.newest(Status.PROCESSED).order_by("-created_at", "-id")[:MOST_LISTED])
    found += [file for file in usable.filter(pk__in=ticked) if file not in found]
    found = [file for file in found if file.path.is_file() and not texts.is_raw_text(file.path, file.filename)]
    return sorted(tell_apart(found, "filename"), key=lambda file: file.pk not in ticked)


def _groups(listed: list[DatasetFile], ticked: list[str], given: Any) -> list[dict[str, Any]]:
    """By format, since only one format goes into a file; the format of what is ticked comes first."""
    kinds = list(dict.fromkeys(file.format for file in listed))
    return [
        {
            "name": FORMAT_NAMES[kind],
            "files": [
                {"file": file, "ticked": file.pk in ticked, "take": given.get(f"take-{file.pk}", "")}
                for file in listed
                if file.format == kind
            ],
        }
        for kind in kinds
    ]


def _combined(request: HttpRequest, asked: dict[str, Any]) -> HttpResponse:
    chosen = request.POST.getlist("file")
    found = {file.pk: file for file in DatasetFile.objects.of(request.project).datasets().filter(pk__in=chosen)}  # type: ignore[attr-defined]
    sources = [
        Source(found[pk], rows_to_take(request.POST.get(f"take-{pk}", ""), found[pk])) for pk in chosen if pk in found
    ]
    row = combine.ask(
        request.project, request.user, sources,  # type: ignore[attr-defined, arg-type]
        shuffle=asked["order"] == "shuffled", seed=asked["seed"] or 0, name=asked["name"],
    )  # fmt: skip
    if row.status == Making.Status.FAILED:
        message = row.message
        row.delete()
        raise ApiError(message)
    if row.made_id:
        messages.success(request, f"{row.name} is made; what it was made of stays as it was.")
        return redirect(reverse("dataset", args=[row.made_id]))
    messages.success(request, f"{row.name} is being made; it appears in the list.")
    return redirect("datasets")


def rows_to_take(text: str, file: DatasetFile) -> int | None:
    """`200`, `10 %`, or nothing for all. Raises ApiError."""
    clean = text.strip().replace(",", "").replace(" ", "")
    if not clean:
        return None
    try:
        if clean.endswith("%"):
            share = float(clean.removesuffix("%")) / 100
            if 0 < share <= 1:
                return max(1, round(share * file.rows))
        elif clean.isdecimal():
            return int(clean)
    except ValueError:
        pass
    raise ApiError(f"{file.filename}: “{text[:40]}” is no number of rows. Write 200, or 10 %, or nothing for all.")


urlpatterns = [path("combine", combine_datasets, name="combine-datasets")]
