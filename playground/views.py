"""Screens: the playground, the blind comparison, the votes."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from playground import comparisons, contenders, sheets
from playground.forms import MOST_COLUMNS, Sampling, Setup, SetupForm, VoteForm
from playground.leaderboard import leaderboard
from playground.models import Comparison
from playground.sheets import Cell, Sheet

PAGE = "playground/playground.html"


@require_GET
def playground(request: HttpRequest) -> HttpResponse:
    """`?models=a,b,c`: an empty conversation with these columns; `?from=ID` keeps what was set there."""
    names, unknown = _models(request)
    headers = sheets.sheets_for(request.project, names)
    source = Comparison.objects.of(request.project).filter(pk=request.GET.get("from", ""), blind=False).first()
    return render(request, PAGE, _context(request, headers, None, unknown=unknown, source=source))


@require_GET
def comparison(request: HttpRequest, comparison_id: str) -> HttpResponse:
    """A comparison as it was left; a blind one has its own address."""
    found = get_object_or_404(Comparison.objects.of(request.project), pk=comparison_id)
    if found.blind:
        return redirect("blind-comparison", found.pk)
    return _show(request, found)


@require_GET
def blind_comparison(request: HttpRequest, comparison_id: str) -> HttpResponse:
    """Letters instead of names until this person has voted."""
    found = get_object_or_404(Comparison.objects.of(request.project).filter(blind=True), pk=comparison_id)
    return _show(request, found)


@require_POST
def start_blind(request: HttpRequest) -> HttpResponse:
    """Shuffles the columns of the playground and goes to the address that hides them."""
    form = SetupForm(request.POST)
    if not form.is_valid():
        return _refused(request, form.errors["setup"][0])
    try:
        made = comparisons.start_comparison(
            project=request.project, user=request.user, setup=form.cleaned_data["setup"], blind=True
        )
    except ApiError as error:
        return _refused(request, error.message, error.status)
    return redirect("blind-comparison", made.pk)


@require_POST
def next_blind(request: HttpRequest, comparison_id: str) -> HttpResponse:
    """The same contenders, shuffled again, for the next prompt."""
    found = get_object_or_404(Comparison.objects.of(request.project).filter(blind=True), pk=comparison_id)
    try:
        made = comparisons.next_blind(comparison=found, user=request.user)
    except ApiError as error:  # one of them has been deleted
        return _refused(request, error.message, error.status)
    return redirect("blind-comparison", made.pk)


@require_POST
def vote(request: HttpRequest, comparison_id: str) -> HttpResponse:
    """Stores the verdict and answers with the page, names and all."""
    found = get_object_or_404(Comparison.objects.of(request.project), pk=comparison_id)
    form = VoteForm(request.POST)
    if not form.is_valid():
        return _show(request, found, problem=next(iter(form.errors.values()))[0], status=422)
    turn = get_object_or_404(found.turns, position=form.cleaned_data["turn"])
    verdict, best_column = form.cleaned_data["verdict"]
    try:
        comparisons.record_vote(turn=turn, voter=request.user, verdict=verdict, best_column=best_column)
    except ApiError as error:
        status = 422 if request.htmx else error.status  # the one error that htmx shows in place
        return _show(request, found, problem=error.message, status=status)
    return _show(request, found) if request.htmx else redirect(address(found))


@require_GET
def picker(request: HttpRequest) -> HttpResponse:
    """The search inside "Add a model": each row is a link that adds a column."""
    names, _ = _models(request)
    return render(request, f"{PAGE}#choices", _choices(request, names))


@require_GET
def votes(request: HttpRequest) -> HttpResponse:
    """Each pair's record in words and numbers, then the comparisons that were judged."""
    blind_only = request.GET.get("blind") == "1"
    page = Paginator(comparisons.judged(request.project), 30).get_page(request.GET.get("page"))
    rows = [_judged_row(request, found) for found in page]
    records = sheets.records(request.project, blind_only=blind_only)
    board = leaderboard(request.project, blind_only=blind_only)
    context = {"records": records, "board": board, "rows": rows, "page": page, "blind_only": blind_only}
    return render(request, "playground/votes.html", context)


def address(found: Comparison) -> str:
    return reverse("blind-comparison" if found.blind else "comparison", args=[found.pk])


def _judged_row(request: HttpRequest, found: Comparison) -> dict[str, Any]:
    headers = sheets.sheets_of(found, request.user)
    turns = [turn for turn in found.turns.all() if turn.votes.all()]
    last = [(vote, headers[vote.best.column] if vote.best else None) for turn in turns for vote in turn.votes.all()]
    return {
        "comparison": found,
        "address": address(found),
        "prompt": turns[-1].prompt,
        "sheets": headers,
        "revealed": comparisons.is_revealed(found, request.user),
        "votes": last,
    }


def _models(request: HttpRequest) -> tuple[list[str], list[str]]:
    """The names in `?models=` that exist, at most six, and those that do not."""
    asked = list(dict.fromkeys(name.strip() for name in request.GET.get("models", "").split(",") if name.strip()))
    known = contenders.find(request.project, asked)
    return [name for name in asked if name in known][:MOST_COLUMNS], [name for name in asked if name not in known]


def _show(request: HttpRequest, found: Comparison, *, problem: str = "", status: int = 200) -> HttpResponse:
    headers = sheets.sheets_of(found, request.user)
    context = _context(request, headers, found, problem=problem)
    template = f"{PAGE}#arena" if request.htmx else PAGE
    return render(request, template, context, status=status)


def _refused(request: HttpRequest, problem: str, status: int = 422) -> HttpResponse:
    """The playground without columns, saying what could not be done."""
    return render(request, PAGE, _context(request, [], None, problem=problem), status=status)


def _context(
    request: HttpRequest,
    headers: list[Sheet],
    found: Comparison | None,
    *,
    problem: str = "",
    unknown: list[str] | None = None,
    source: Comparison | None = None,
) -> dict[str, Any]:
    rounds = sheets.rounds_of(found, request.user, headers) if found else []
    revealed = comparisons.is_revealed(found, request.user) if found else True
    names = [sheet.contender.model for sheet in headers if sheet.contender]
    keys = {comparisons.contender_key(column) for column in found.columns} if found and revealed else set()
    voted = bool(rounds and rounds[-1].vote)
    return {
        "sheets": headers,
        "rounds": rounds,
        "empty_cells": [Cell(sheet) for sheet in headers],  # what the script makes a new turn of
        "last": rounds[-1] if rounds else None,
        "comparison": found,
        "blind": bool(found and found.blind),
        "hidden": not revealed,
        "names_hidden": not revealed,  # the frame says nothing of what serves either
        "over": bool(found and found.blind and revealed),
        "given": sheets.given(found) if found and found.blind else None,
        "changing": request.GET.get("change") == "1",
        "records": sheets.records(request.project, blind_only=bool(found and found.blind), among=keys) if voted else [],
        "problem": problem,
        "unknown": unknown or [],
        "names": names,
        "columns_address": sheets.columns_address(names) if revealed else "",
        "can_add": sheets.can_add(headers) and not (found and found.blind),
        "setup_json": _setup_json(found, names) if len(names) > 1 else "",
        "page_data": _page_data(headers, found or source, found, revealed),
        **({} if found and found.blind else _choices(request, names)),
    }


def _page_data(
    headers: list[Sheet], shown: Comparison | None, found: Comparison | None, revealed: bool
) -> dict[str, Any]:
    """What the script needs; a hidden comparison gives its id and the number of columns, no more."""
    plain = {"comparison": found.pk if found else None, "columns": len(headers), "blind": bool(found and found.blind)}
    if not revealed:
        return plain
    setup = {
        "models": [sheet.contender.model for sheet in headers if sheet.contender],
        "system": shown.system_prompt if shown else "",
        "settings": shown.settings if shown else Sampling().model_dump(),
        "own": {column["model"]: column for column in shown.columns} if shown else {},
    }
    return {**plain, "setup": setup}


def _setup_json(found: Comparison | None, names: list[str]) -> str:
    """What "Judge blind" sends; the script replaces it by what the page shows at that moment."""
    plain = Setup.model_validate({"columns": [{"model": name} for name in names]})
    return (comparisons.setup_of(found) if found else plain).model_dump_json(exclude_none=True)


def _choices(request: HttpRequest, names: list[str]) -> dict[str, Any]:
    """What can be added to these columns."""
    found = contenders.search(request.project, request.GET.get("q", "")[:200])
    taken = set(names)
    choices = [
        {"contender": one, "address": sheets.columns_address([*names, one.model])}
        for one in found
        if one.model not in taken
    ]
    return {"choices": choices, "q": request.GET.get("q", ""), "names_joined": ",".join(names)}
