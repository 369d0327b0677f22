"""Screens: the playground, the blind comparison, the votes."""

import json
from collections.abc import Iterable
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from playground import comparisons, contenders, sheets
from playground.differences import difference
from playground.forms import MOST_COLUMNS, DifferenceForm, Sampling, Setup, SetupForm, VoteForm
from playground.leaderboard import FEWEST_CONTENDERS, headline, leaderboard, short_of_votes
from playground.looks import look_of
from playground.models import Comparison, Vote
from playground.sheets import Cell, Record, Sheet

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
    return show(request, found)


@require_GET
def blind_comparison(request: HttpRequest, comparison_id: str) -> HttpResponse:
    """Letters instead of names until this person has voted."""
    found = get_object_or_404(Comparison.objects.of(request.project).filter(blind=True), pk=comparison_id)
    return show(request, found)


@require_POST
def start_blind(request: HttpRequest) -> HttpResponse:
    """Shuffles the columns of the playground and goes to the address that hides them."""
    form = SetupForm(request.POST)
    if not form.is_valid():
        return _blind_refused(request, form.errors["setup"][0])
    try:
        made = comparisons.start_comparison(
            project=request.project, user=request.user, setup=form.cleaned_data["setup"], blind=True
        )
    except ApiError as error:
        return _blind_refused(request, error.message, error.status)
    return redirect("blind-comparison", made.pk)


@require_POST
def next_blind(request: HttpRequest, comparison_id: str) -> HttpResponse:
    """The same contenders, shuffled again, for the next prompt."""
    found = get_object_or_404(Comparison.objects.of(request.project).filter(blind=True), pk=comparison_id)
    try:
        made = comparisons.next_blind(comparison=found, user=request.user)
    except ApiError as error:  # one of them has been deleted
        seen = comparisons.is_revealed(found, request.user)
        names = [column["model"] for column in found.columns] if seen else []
        return _refused(request, error.message if seen else ONE_IS_GONE, error.status, names, found if seen else None)
    return redirect("blind-comparison", made.pk)


@require_POST
def vote(request: HttpRequest, comparison_id: str) -> HttpResponse:
    """Stores the verdict and answers with the page, names and all."""
    found = get_object_or_404(Comparison.objects.of(request.project), pk=comparison_id)
    form = VoteForm(request.POST)
    if not form.is_valid():
        return show(request, found, problem=next(iter(form.errors.values()))[0], status=422)
    turn = get_object_or_404(found.turns, position=form.cleaned_data["turn"])
    verdict, best_column = form.cleaned_data["verdict"]
    try:
        comparisons.record_vote(
            turn=turn, voter=request.user, verdict=verdict, best_column=best_column, samples=form.samples
        )
    except ApiError as error:
        status = 422 if request.htmx else error.status  # the one error that htmx shows in place
        return show(request, found, problem=error.message, status=status)
    return show(request, found) if request.htmx else redirect(address(found))


@require_GET
def picker(request: HttpRequest) -> HttpResponse:
    """The search inside "Add a model": each row is a link that adds a column."""
    names, _ = _models(request)
    return render(request, f"{PAGE}#choices", _choices(request, names))


@require_POST
def prompt_difference(request: HttpRequest) -> HttpResponse:
    """How a column's system prompt differs from the shared one, while it is being written; nothing is stored."""
    form = DifferenceForm(request.POST)
    if not form.is_valid():
        return HttpResponse(next(iter(form.errors.values()))[0], status=422, content_type="text/plain")
    found = difference(form.cleaned_data["shared"], form.cleaned_data["own"])
    return render(request, f"{PAGE}#prompt_difference", {"difference": found})


@require_GET
def votes(request: HttpRequest) -> HttpResponse:
    """Each pair's record in words and numbers, then the comparisons that were judged."""
    blind_only = request.GET.get("blind") == "1"
    page = Paginator(comparisons.judged(request.project, blind_only=blind_only), 30).get_page(request.GET.get("page"))
    rows = [_judged_row(request, found) for found in page]
    records = sheets.records(request.project, blind_only=blind_only)
    board = leaderboard(request.project, blind_only=blind_only)
    first, note = headline(records, board)
    context = {
        "records": records,
        "headline": first,
        "headline_note": note,
        "board": board,
        "short": _short(records) if board is None else [],
        "given": Vote.objects.filter(project=request.project, **({"blind": True} if blind_only else {})).count(),
        "counted": sum(each.pair.votes for each in records),
        "rows": rows,
        "page": page,
        "blind_only": blind_only,
    }
    return render(request, "playground/votes.html", context)


def _short(records: list[Record]) -> list[str]:
    """Why nobody is ranked yet; nothing where there are only two, whose own record tells more."""
    labels = {key: label for each in records for key, label in each.names.items()}
    return short_of_votes([each.pair for each in records], labels) if len(labels) >= FEWEST_CONTENDERS else []


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
    """Of `?models=`: the models that exist, at most eight, and why each other one does not."""
    return _known(request, [name.strip() for name in request.GET.get("models", "").split(",")])


def _known(request: HttpRequest, names: Iterable[str]) -> tuple[list[str], list[str]]:
    asked = list(dict.fromkeys(filter(None, names)))
    found = contenders.named(request.project, asked)
    known = dict.fromkeys(one.model for one in found if not one.gone)  # an alias and its checkpoint are one column
    return list(known)[:MOST_COLUMNS], [contenders.why_not(request.project, one.model) for one in found if one.gone]


def show(request: HttpRequest, found: Comparison, *, problem: str = "", status: int = 200) -> HttpResponse:
    headers = sheets.sheets_of(found, request.user)
    context = _context(request, headers, found, problem=problem)
    template = f"{PAGE}#arena" if request.htmx else PAGE
    return render(request, template, context, status=status)


ONE_IS_GONE = "One of these models does not exist any more. Choose the columns anew."


def _blind_refused(request: HttpRequest, problem: str, status: int = 422) -> HttpResponse:
    """The page that "Judge blind" was pressed on, with its columns and what was set there."""
    posted = _as_posted(request.POST.get("setup", ""))
    names = [column["model"] for column in posted.columns]
    open_ones = Comparison.objects.of(request.project).filter(blind=False)
    found = open_ones.filter(pk=request.POST.get("comparison", "")).first()
    if found and [column["model"] for column in found.columns] == names:
        headers = sheets.sheets_of(found, request.user)
        context = _context(request, headers, found, problem=problem, source=posted)
        return render(request, PAGE, context | {"page_address": address(found)}, status=status)
    return _refused(request, problem, status, names, posted)


def _as_posted(text: str) -> Comparison:
    """What of a refused set-up can be shown again; never stored."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    given = given if isinstance(given, dict) else {}
    columns = given.get("columns") if isinstance(given.get("columns"), list) else []
    settings = given.get("settings") if isinstance(given.get("settings"), dict) else {}
    return Comparison(
        columns=[each for each in columns if isinstance(each, dict) and isinstance(each.get("model"), str)],
        system_prompt=str(given.get("system") or ""),
        settings=Sampling().model_dump() | settings,
        tools=given.get("tools"),
        response_format=given.get("response_format"),
    )


def _refused(
    request: HttpRequest,
    problem: str,
    status: int = 422,
    names: Iterable[str] = (),
    source: Comparison | None = None,
) -> HttpResponse:
    """The playground with those of these columns that exist, saying what could not be done."""
    known, unknown = _known(request, names)
    headers = sheets.sheets_for(request.project, known)
    context = _context(request, headers, None, problem=problem, unknown=unknown, source=source)
    return render(request, PAGE, context | {"page_address": sheets.columns_address(known)}, status=status)


def _context(
    request: HttpRequest,
    headers: list[Sheet],
    found: Comparison | None,
    *,
    problem: str = "",
    unknown: list[str] | None = None,
    source: Comparison | None = None,
) -> dict[str, Any]:
    look = look_of(request, len(headers))
    for sheet in headers:
        sheet.folded = sheet.index in look.folded
    rounds = sheets.rounds_of(found, request.user, headers, against=look.against) if found else []
    revealed = comparisons.is_revealed(found, request.user) if found else True
    names = [sheet.contender.model for sheet in headers if sheet.contender]
    keys = {comparisons.contender_key(column) for column in found.columns} if found and revealed else set()
    voted = bool(rounds and rounds[-1].vote)
    over, changing = bool(found and found.blind and revealed), request.GET.get("change") == "1"
    return {
        "sheets": headers,
        "look": look,
        "against_letter": "" if look.against is None else headers[look.against].letter,
        "rounds": rounds,
        "empty_cells": [Cell(sheet) for sheet in headers],  # what the script makes a new turn of
        "last": rounds[-1] if rounds else None,
        "comparison": found,
        "blind": bool(found and found.blind),
        "hidden": not revealed,
        "names_hidden": not revealed,  # the frame says nothing of what serves either
        "over": over,
        "can_vote": bool(rounds and ((rounds[-1].votable and not over) or (changing and voted))),
        "given": sheets.given(found) if found and found.blind else None,
        "changing": changing,
        "records": sheets.records(request.project, blind_only=bool(found and found.blind), among=keys) if voted else [],
        "problem": problem,
        "unknown": unknown or [],
        "names": names,
        "columns_address": sheets.columns_address(names) if revealed else "",
        "can_add": sheets.can_add(headers) and not (found and found.blind),
        "setup_json": _setup_json(found, names) if len(names) > 1 else "",
        "page_data": _page_data(headers, source or found, found, revealed),
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
        "tools": _as_text(shown.tools if shown else None),
        "response_format": _as_text(shown.response_format if shown else None),
    }
    return {**plain, "setup": setup}


def _as_text(value: Any) -> str:
    if isinstance(value, str):  # of a set-up that was refused
        return value
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""


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
