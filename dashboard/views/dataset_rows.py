"""Tab of a dataset: its rows, as conversations or as the tokens that a base model reads; searched and filtered."""

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dashboard import row_filters
from dashboard.row_filters import Filters, address
from dashboard.row_tokens import LIST_WORK, PAGE_WORK, Reader, reader, show, whole_file
from dashboard.turns import answers_of, tools_of, turns_of
from dashboard.views.one_dataset import one_dataset
from training import checks, jsonl, texts, token_counts
from training.engine.errors import EngineError
from training.models import DatasetFile
from training.row_search import Search, byte_of

PAGE_ROWS = 10
LOOK_SECONDS = 1.0
TOKENS_A_ROW = 400  # in the list; the row's own page shows more
TOKENS_A_PAGE = 4000
HELD = ("tool", "system", "begins", "ends", "show")  # filters that links set and the form keeps
Status = DatasetFile.Status
Rows = list[tuple[int, dict[str, Any] | None]]


@require_GET
def rows(request: HttpRequest, file_id: str) -> HttpResponse:
    """A page of rows alone."""
    file = one_dataset(request, file_id)
    return render(request, "dashboard/dataset_rows.html#rows", {"file": file, **context(request, file)})


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """Rows from line ?line= on, or those that the filters find from there on."""
    raw = file.path.exists() and texts.is_raw_text(file.path, file.filename)
    last_line = min(file.rows, texts.SHOWN_DOCUMENTS) if raw else int(file.statistics.get("lines") or 0)
    line = _number(request.GET.get("line", "1"), 1, max(last_line, 1))
    filters = Filters({}) if raw else row_filters.read(request.GET)
    found: dict[str, Any] = {
        "present": file.path.exists(), "raw": raw, "last_line": last_line, "line": line, "shown": [],
        "filters": filters, "tools_words": row_filters.TOOLS, "roles": row_filters.ROLES,
        "held": {name: value for name, value in filters.values.items() if name in HELD},
        "problem_kinds": row_filters.problem_kinds(file),
    }  # fmt: skip
    if not file.path.exists() or file.status == Status.UPLOADED or not last_line:
        return found | {"last_line": 0}
    tokens = reader(request, file)
    kept = tokens.kept
    found |= {"tokens": tokens, "kept": kept, "chips": row_filters.chips(filters, file, kept)}
    if filters.asks:
        hits, progress = _search(request, file, filters, tokens, line)
        found |= progress
    else:
        hits = _page(file, line, raw)
        found |= _neighbours(hits, line, kept)
        hits = hits[:PAGE_ROWS]
    if tokens.on:
        found["whole"] = whole_file(tokens)
    found["views"] = [(name, _view_address(filters, tokens, name, line)) for name in ("text", "tokens")]
    found["shows_links"] = {each: address({"show": each}, kept) for each in row_filters.SHOWS}
    mark = row_filters.marker(filters)
    found["shown"] = [_shown(number, row, tokens, mark, TOKENS_A_ROW) for number, row in hits]
    return found


def _view_address(filters: Filters, tokens: Reader, name: str, line: int) -> str:
    kept = {key: value for key, value in tokens.kept.items() if key != "view"}
    kept |= {"view": "tokens"} if name == "tokens" else {}
    return address({**filters.values, "line": line}, kept)


def _number(asked: str, least: int, most: int) -> int:
    return min(max(int(asked), least), most) if asked.isdecimal() and len(asked) < 16 else least


def _page(file: DatasetFile, line: int, raw: bool) -> Rows:
    """One row more than a page shows; nothing where the file cannot be read, the check says why."""
    if not raw:
        return jsonl.page(file.path, line, PAGE_ROWS + 1, checks.read_index(file))
    try:
        return [*texts.page(file.path, line, PAGE_ROWS + 1)]
    except EngineError:
        return []


def _neighbours(hits: Rows, line: int, kept: dict[str, str]) -> dict[str, Any]:
    more = hits[PAGE_ROWS][0] if len(hits) > PAGE_ROWS else None
    return {
        "next": address({"line": more}, kept) if more else "",
        "previous": address({"line": max(line - PAGE_ROWS, 1)}, kept) if line > 1 else "",
    }


def _shown(
    number: int,
    row: dict[str, Any] | None,
    tokens: Reader,
    mark: Any,
    count: int,
    first: int = 0,
    work: int = LIST_WORK,
) -> Any:
    """One row for the template: as turns, or as tokens where these are looked at."""
    shown: dict[str, Any] = {"line": number, "readable": row is not None, "link": tokens.row_link(number)}
    if tokens.on and row is not None:
        return shown | {"tools": tools_of(row), "tokens": show(tokens, row, count, first, work)}
    turns, answers = turns_of(row), answers_of(row)
    for turn in [*turns, *(turn for answer in answers for turn in answer["turns"])]:
        turn["open"] = "<mark>" in mark(turn["rest"])
        for part in ("text", "rest", "calls"):
            turn[part] = mark(turn[part]) if turn[part] else ""
    return shown | {"messages": turns, "answers": answers, "tools": tools_of(row)}


# ---- searching ----


@dataclass(frozen=True)
class Looked:
    """How far a search has come. `waits`: rows must be counted first."""

    hits: int
    first: int
    last: int
    share: float
    waits: bool = False
    problem: str = ""


def _search(
    request: HttpRequest, file: DatasetFile, filters: Filters, tokens: Reader, line: int
) -> tuple[Rows, dict[str, Any]]:
    records = None
    if filters.needs_tokens:
        try:
            records = token_counts.index_or_start(file, tokens.model) if tokens.model else None
        except (EngineError, OSError) as error:
            return [], {"looked": Looked(0, 1, 0, 0.0, problem=str(error)), "next": "", "previous": ""}
        if records is None:
            return [], {"looked": Looked(0, 1, 0, 0.0, waits=True), "next": "", "previous": ""}
    query = row_filters.query_of(filters, file, records, tokens.max_length)
    line, byte = _start(request, file, line)
    found = Search(file.path, query, checks.read_index(file)).look(line, byte, most=PAGE_ROWS, seconds=LOOK_SECONDS)
    share = 1.0 if not found.next_line else found.next_byte / max(1, file.path.stat().st_size)
    looked = Looked(len(found.hits), found.first_line, found.last_line, share)
    values = filters.values
    more = {**values, "line": found.next_line, "byte": found.next_byte} if found.next_line else None
    return [*found.hits], {
        "looked": looked,
        "next": address(more, tokens.kept) if more else "",
        "previous": address(values, tokens.kept) if line > 1 else "",
    }


def _start(request: HttpRequest, file: DatasetFile, line: int) -> tuple[int, int]:
    """The line and its byte; a byte that no line begins at is not believed."""
    asked = request.GET.get("byte", "0")
    byte = int(asked) if asked.isdecimal() and len(asked) < 16 else 0
    if line > 1 and 0 < byte < file.path.stat().st_size:
        with file.path.open("rb") as content:
            content.seek(byte - 1)
            if content.read(1) == b"\n":
                return line, byte
    return line, byte_of(file.path, line, checks.read_index(file))


# ---- one row ----


@require_GET
def row(request: HttpRequest, file_id: str, line: int) -> HttpResponse:
    """One row whole: as a conversation and as tokens."""
    file = one_dataset(request, file_id)
    if not file.path.exists():
        raise Http404
    raw = texts.is_raw_text(file.path, file.filename)
    found = [(number, each) for number, each in _page(file, line, raw) if number >= line]
    if not found or found[0][0] != line:
        raise Http404
    tokens = reader(request, file, on=True)
    content = found[0][1]
    first = _number(request.GET.get("from", "1"), 1, 1 << 30) - 1
    after = f"{'&' if tokens.kept else '?'}from={first + TOKENS_A_PAGE + 1}"
    context = {
        "file": file,
        "line": line,
        "more": tokens.row_link(line) + after,
        "raw": raw,
        "tokens": tokens,
        "row": _shown(line, content, tokens, None, TOKENS_A_PAGE, first, PAGE_WORK),
        "turns": _shown(line, content, tokens.off(), row_filters.marker(Filters({})), 0),
        "json": jsonl.pretty(content)[:200_000] if content is not None else "",
        "next": tokens.row_link(found[1][0]) if len(found) > 1 else "",
        "previous": tokens.row_link(line - 1) if line > 1 else "",
        "back": address({"line": max(1, line - line % PAGE_ROWS)}, {}),
    }
    return render(request, "dashboard/dataset_row.html", context)
