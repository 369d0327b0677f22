"""Screens: prompt sets. The list, a new one, one with its prompts."""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, ProtectedError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.errors import ApiError
from accounts.models import Project
from accounts.telling_apart import tell_apart
from playground.film.prompts import Pinned
from playground.matrix import sets
from playground.matrix.models import PromptSet
from training.models import DatasetFile

PAGE_PROMPTS = 50
MOST_FILES = 200  # to choose from, and so many older versions
DRAWN = 100  # of a file, unless somebody says otherwise


class TypedForm(forms.Form):
    name = forms.CharField(max_length=120, required=False)
    prompts = forms.CharField(strip=False, max_length=4_000_000)
    raw = forms.BooleanField(required=False)

    def gathered(self, project: Project) -> tuple[list[Pinned], dict[str, Any]]:
        given = self.cleaned_data
        return sets.typed(given["prompts"], raw=given["raw"]), {"kind": "typed"}


class FileForm(forms.Form):
    name = forms.CharField(max_length=120, required=False)
    file = forms.CharField(max_length=40)
    count = forms.IntegerField(min_value=1, max_value=sets.MOST_PROMPTS, initial=DRAWN)
    seed = forms.IntegerField(min_value=0, max_value=2_147_483_647, initial=0)
    raw = forms.BooleanField(required=False)

    def gathered(self, project: Project) -> tuple[list[Pinned], dict[str, Any]]:
        given = self.cleaned_data
        file = DatasetFile.objects.of(project).usable().filter(pk=given["file"]).first()
        if file is None:
            raise ApiError("This file is not there any more, or has not passed its check.", param="file")
        source = {"kind": "file", "file": file.pk, "filename": file.filename, "seed": given["seed"]}
        return sets.of_file(file, given["count"], given["seed"], raw=given["raw"]), source


class ComparisonsForm(forms.Form):
    name = forms.CharField(max_length=120, required=False)
    judged = forms.BooleanField(required=False)
    count = forms.IntegerField(min_value=1, max_value=sets.MOST_PROMPTS, initial=DRAWN)

    def gathered(self, project: Project) -> tuple[list[Pinned], dict[str, Any]]:
        given = self.cleaned_data
        found = sets.of_comparisons(project, given["count"], judged=given["judged"])
        return found, {"kind": "comparisons", "judged": given["judged"]}


FORMS = {"typed": TypedForm, "file": FileForm, "comparisons": ComparisonsForm}
NAMES = {"typed": "Prompts", "comparisons": "Earlier comparisons"}


@require_GET
def prompt_sets(request: HttpRequest) -> HttpResponse:
    found = (
        PromptSet.objects.of(request.project)
        .annotate(size=Count("prompts", distinct=True), used=Count("matrices", distinct=True))
        .order_by("-created_at")
    )
    page = Paginator(found, 50).get_page(request.GET.get("page"))
    tell_apart(page)
    return render(request, "playground/prompt_sets.html", {"page": page})


@require_http_methods(["GET", "POST"])
def new_prompt_set(request: HttpRequest) -> HttpResponse:
    """Three forms, one for each source; `?file=ID` chooses a file."""
    if request.method == "POST":
        return _make(request)
    return _new_page(request, FileForm(initial={"file": request.GET.get("file", "")}))


def _make(request: HttpRequest) -> HttpResponse:
    kind = request.POST.get("kind", "")
    if kind not in FORMS:
        kind = "typed"
    form: Any = FORMS[kind](request.POST)
    if not form.is_valid():
        return _new_page(request, form, status=422)
    try:
        pinned, source = form.gathered(request.project)
        name = form.cleaned_data["name"] or source.get("filename") or NAMES[kind]
        made = sets.make(project=request.project, user=request.user, name=name, pinned=pinned, source=source)
    except ApiError as error:
        form.add_error(error.param if error.param in form.fields else None, error.message)
        return _new_page(request, form, status=422)
    count = made.prompts.count()
    stand = "1 prompt stands" if count == 1 else f"{count:,} prompts stand"
    messages.success(request, f"{stand} in {made.name}.")
    return redirect("prompt-set", made.pk)


def _new_page(request: HttpRequest, given: Any, status: int = 200) -> HttpResponse:
    """The form that was sent keeps its values and says its errors; the others are fresh."""
    shown = {kind: given if isinstance(given, form) else form() for kind, form in FORMS.items()}
    files, usable = DatasetFile.objects.of(request.project).usable(), DatasetFile.Status.PROCESSED
    context = {
        **shown,
        "given": given,
        "files": tell_apart(files.newest(usable)[:MOST_FILES], "filename"),
        "older_files": tell_apart(files.older(usable)[:MOST_FILES], "filename"),
        "most": sets.MOST_PROMPTS,
    }
    return render(request, "playground/prompt_set_new.html", context, status=status)


@require_GET
def prompt_set(request: HttpRequest, set_id: str) -> HttpResponse:
    found = get_object_or_404(PromptSet.objects.of(request.project), pk=set_id)
    words = request.GET.get("q", "").strip()[:200]
    prompts = found.prompts.filter(text__icontains=words) if words else found.prompts.all()
    page = Paginator(prompts, PAGE_PROMPTS).get_page(request.GET.get("page"))
    raw = sum("prompt" in ask for ask in found.prompts.values_list("ask", flat=True))
    context = {"raw": raw, "set": found, "page": page, "words": words, "matrices": found.matrices.all()[:20]}
    return render(request, "playground/prompt_set.html", context)


@require_POST
def delete_prompt_set(request: HttpRequest, set_id: str) -> HttpResponse:
    found = get_object_or_404(PromptSet.objects.of(request.project), pk=set_id)
    try:
        found.delete()
    except ProtectedError:
        messages.error(request, f"{found.name} is in use. Delete what was asked with it first.")
        return redirect("prompt-set", found.pk)
    messages.success(request, f"{found.name} is deleted.")
    return redirect("prompt-sets")


urlpatterns: list[URLPattern] = [
    path("", prompt_sets, name="prompt-sets"),
    path("new/", new_prompt_set, name="new-prompt-set"),
    path("<str:set_id>/", prompt_set, name="prompt-set"),
    path("<str:set_id>/delete/", delete_prompt_set, name="delete-prompt-set"),
]
