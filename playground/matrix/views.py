"""Screens: matrices. The list, a new one, the table that fills, and what can be done with it."""

import re
from typing import Any, get_args

from django import forms
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, re_path, reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from accounts.errors import ApiError
from accounts.telling_apart import tell_apart
from playground import contenders, views
from playground.judge import views as judge_views
from playground.matrix import draft as drafts
from playground.matrix import exporting, matrices, opening, scoring, sets, table
from playground.matrix.draft import Draft
from playground.matrix.models import Matrix, Prompt
from playground.matrix.scores import LONGEST_VALUE, Kind, Score
from playground.matrix.table import SHOWS, Filters, Table

PAGE_MATRICES = 30


@require_GET
def matrix_list(request: HttpRequest) -> HttpResponse:
    found = Matrix.objects.of(request.project).select_related("prompt_set", "project")
    page = Paginator(found, PAGE_MATRICES).get_page(request.GET.get("page"))
    rows = [
        {"matrix": each, "progress": matrices.progress(each), "columns": table.columns_of(each)}
        for each in tell_apart(page)
    ]
    context = {"rows": rows, "page": page, "busy": any(row["matrix"].state == "answering" for row in rows)}
    return render(request, f"playground/matrices.html{'#rows' if request.htmx else ''}", context)


@require_http_methods(["GET", "POST"])
def new_matrix(request: HttpRequest) -> HttpResponse:
    """`?set=ID&models=a,b` fills it in; the buttons of a POST add and remove contenders, or start it."""
    if request.method == "GET":
        return _form(request, drafts.begun(request.project, request.GET))
    draft = drafts.sent(request.project, request.POST)
    if "remove" in request.POST:
        draft.remove(request.POST["remove"])
    elif "add" in request.POST:
        draft.add(request.POST["add"])
    elif "start" in request.POST:
        return _start(request, draft)
    return _form(request, draft)


def _start(request: HttpRequest, draft: Draft) -> HttpResponse:
    if draft.prompt_set is None:
        return _form(request, draft, "Choose a prompt set.")
    try:
        made = matrices.start(
            project=request.project,
            user=request.user,
            name=draft.name,
            prompt_set=draft.prompt_set,
            setup=draft.setup(),
        )
    except ApiError as error:
        return _form(request, draft, error.message)
    if request.htmx:  # followed by itself, a redirect would be looked through for the form
        return HttpResponseClientRedirect(reverse("matrix", args=[made.pk]))
    return redirect("matrix", made.pk)


def _form(request: HttpRequest, draft: Draft, problem: str = "") -> HttpResponse:
    named = contenders.named(request.project, [each.model for each in draft.chosen])
    for chosen, found in zip(draft.chosen, named, strict=True):
        chosen.contender = found
    words = (request.POST if request.method == "POST" else request.GET).get("q", "")[:200]
    context = {
        "draft": draft,
        "sets": sets.told_apart(request.project),
        "choices": contenders.search(request.project, words),
        "q": words,
        "estimate": drafts.estimate(request.project, draft),
        "problem": problem,
    }
    return render(request, "playground/matrix_new.html", context, status=422 if problem else 200)


@require_GET
def matrix(request: HttpRequest, matrix_id: str) -> HttpResponse:
    found = _find(request, matrix_id)
    if judged := _judged(request, found):
        return render(request, "playground/matrix_closed.html", {"matrix": found, "campaign": judged})
    return render(request, f"playground/matrix.html{'#matrix' if request.htmx else ''}", _context(request, found))


def _judged(request: HttpRequest, found: Matrix) -> Any:
    """The campaign in which this person judges these answers blind at this time: names beside them would tell."""
    return next((each for each in found.campaigns.all() if each.is_judged_by(request.user)), None)  # type: ignore[attr-defined]


def _context(request: HttpRequest, found: Matrix) -> dict[str, Any]:
    filters = Filters.of(request.GET, len(found.columns))
    read, scores = table.read(found), scoring.scores_of(found)
    chosen = read.chosen(filters)
    if filters.show == "scores":
        chosen = [prompt for prompt in chosen if scoring.differ(scores, read, prompt)]
    page = Paginator(chosen, table.PAGE_ROWS).get_page(request.GET.get("page"))
    progress = matrices.progress(found)
    tagged = read.chosen(Filters(tag=filters.tag))
    return {
        "matrix": found,
        "table": read,
        "rows": [_row(read, prompt, scores) for prompt in page],
        "page": page,
        "progress": progress,
        "seconds_left": table.seconds_left(found, progress.missing) if found.state == "answering" else None,
        "waiting": found.state == "answering" and not found.claim,
        "filters": filters,
        "shows": [(key, words, filters.address(show=key)) for key, words in SHOWS.items()],
        "here": filters.address(page=str(page.number) if page.number > 1 else ""),
        "query": filters.address(),
        "troubles": [column for column in read.columns if column.trouble],
        "scores": [{"score": each, "slow": scoring.is_slow(each)} for each in scores],
        "lines": scoring.summary(read, scores, tagged, filters.base),
        "summed": len(tagged),
        "base": read.columns[filters.base] if read.columns else None,
        **judge_views.of_matrix(found),
        "bases": [(column, filters.address(base=str(column.index or ""))) for column in read.columns],
    }


def _row(read: Table, prompt: Prompt, scores: list[Score]) -> dict[str, Any]:
    row = read.row(prompt)
    return {"row": row, "cells": [(cell, scoring.marks(scores, prompt, cell)) for cell in row.cells]}


@require_POST
def act_on_matrix(request: HttpRequest, matrix_id: str, action: str) -> HttpResponse:
    found = _find(request, matrix_id)
    if action == "cancel":
        matrices.cancel(found)
    elif action in ("go-on", "again"):
        matrices.go_on(found, again=action == "again")
    elif action != "delete":
        raise Http404
    else:
        if found.campaigns.exists():  # people judge its answers
            messages.error(request, f"{found.name} belongs to a campaign. Delete the campaign first.")
            return redirect("matrix", found.pk)
        matrices.cancel(found)  # its worker looks at the row
        found.delete()
        messages.success(request, f"{found.name} is deleted.")
        return redirect("matrices")
    return redirect("matrix", found.pk)


@require_http_methods(["GET", "POST"])
def more_contenders(request: HttpRequest, matrix_id: str) -> HttpResponse:
    """GET: the search of the playground. POST: `model` joins the table and is asked alone."""
    found = _find(request, matrix_id)
    if request.method == "POST":
        try:
            matrices.add_model(found, request.POST.get("model", ""), request.POST.get("own", ""))
        except ApiError as error:
            messages.error(request, error.message)
        return redirect("matrix", found.pk)
    words = request.GET.get("q", "")[:200]
    context = {"matrix": found, "choices": contenders.search(request.project, words), "q": words}
    return render(request, "playground/matrix.html#choices", context)


class ScoreForm(forms.Form):
    kind = forms.ChoiceField(choices=[(each, each) for each in get_args(Kind)])
    value = forms.CharField(required=False, max_length=LONGEST_VALUE, strip=False)
    ignore_case = forms.BooleanField(required=False)


@require_POST
def add_score(request: HttpRequest, matrix_id: str) -> HttpResponse:
    found = _find(request, matrix_id)
    form = ScoreForm(request.POST)
    try:
        if not form.is_valid():
            raise ApiError(next(iter(form.errors.values()))[0])
        matrices.add_score(found, Score(**form.cleaned_data))
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("matrix", found.pk)


@require_POST
def remove_score(request: HttpRequest, matrix_id: str, key: str) -> HttpResponse:
    found = _find(request, matrix_id)
    matrices.remove_score(found, key)
    return redirect("matrix", found.pk)


@require_GET
def export(request: HttpRequest, matrix_id: str, kind: str) -> HttpResponse:
    found = _find(request, matrix_id)
    if _judged(request, found):
        return redirect("matrix", found.pk)
    read = table.read(found)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", read.matrix.name).strip("-") or "matrix"
    if kind == "json":
        answer = HttpResponse(exporting.as_json(read), content_type="application/json")
    else:
        answer = HttpResponse("".join(exporting.as_csv(read)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    return answer


@require_POST
def open_row(request: HttpRequest, matrix_id: str, prompt_id: int) -> HttpResponse:
    """One prompt with its answers as a comparison of the playground: always the same one."""
    found = _find(request, matrix_id)
    if _judged(request, found):
        return redirect("matrix", found.pk)
    prompt = get_object_or_404(found.prompt_set.prompts, pk=prompt_id)
    return redirect(views.address(opening.comparison_for(found, prompt, request.user)))


def _find(request: HttpRequest, matrix_id: str) -> Matrix:
    return get_object_or_404(Matrix.objects.of(request.project).select_related("prompt_set", "project"), pk=matrix_id)


urlpatterns: list[URLPattern] = [
    path("", matrix_list, name="matrices"),
    path("new/", new_matrix, name="new-matrix"),
    path("<str:matrix_id>/", matrix, name="matrix"),
    path("<str:matrix_id>/contenders/", more_contenders, name="matrix-contenders"),
    path("<str:matrix_id>/rows/<int:prompt_id>/", open_row, name="matrix-row"),
    path("<str:matrix_id>/scores/", add_score, name="add-score"),
    path("<str:matrix_id>/scores/<str:key>/remove/", remove_score, name="remove-score"),
    re_path(r"^(?P<matrix_id>mtx_\w+)/export\.(?P<kind>json|csv)$", export, name="matrix-export"),
    path("<str:matrix_id>/<str:action>/", act_on_matrix, name="act-on-matrix"),
]
