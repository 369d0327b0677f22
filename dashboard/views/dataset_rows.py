"""Tab of a dataset: its rows, as conversations or as the tokens that a base model reads; searched and filtered."""

from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from dashboard import document_rows, row_filters
from dashboard.row_filters import Filters, address
from dashboard.row_tokens import LIST_WORK, PAGE_WORK, Reader, reader, show, whole_file
from dashboard.turns import answers_of, tools_of, turns_of
from dashboard.views.one_dataset import one_dataset
from training import checks, jsonl, texts, token_counts
from training.documents import Index, Part, read_index
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
    index = read_index(file.path) if raw else Index()
    last_line = document_rows.last_document(file, index) if raw else int(file.statistics.get("lines") or 0)
    line = _number(request.GET.get("line", "1"), 1, max(last_line, 1))
    filters = row_filters.read(request.GET, _fields(raw, index))
    found: dict[str, Any] = {
        "present": file.path.exists(), "raw": raw, "last_line": last_line, "line": line, "shown": [],
        "lengths_known": not raw or index.lengths is not None,
        "filters": filters, "tools_words": row_filters.TOOLS, "roles": row_filters.ROLES,
        "held": {name: value for name, value in filters.values.items() if name in HELD},
        "problem_kinds": row_filters.problem_kinds(file),
    }  # fmt: skip
    if not file.path.exists() or file.status == Status.UPLOADED or not last_line:
        return found | {"last_line": 0}
    tokens = reader(request, file)
    kept = tokens.kept
    found |= {"tokens": tokens, "kept": kept, "chips": row_filters.chips(filters, file, kept)}
    mark = row_filters.marker(filters)
    if raw:
        found |= _documents(request, file, filters, tokens, line, index)
    elif filters.asks:
        hits, progress = _search(request, file, filters, tokens, line)
        found |= progress
    else:
        hits = jsonl.page(file.path, line, PAGE_ROWS + 1, checks.read_index(file))
        found |= _neighbours([number for number, _ in hits], line, kept)
        hits = hits[:PAGE_ROWS]
    if tokens.on:
        found["whole"] = whole_file(tokens)
    found["views"] = [(name, _view_address(filters, tokens, name, line)) for name in ("text", "tokens")]
    found["shows_links"] = {each: address({"show": each}, kept) for each in row_filters.SHOWS}
    if not raw:
        found["shown"] = [_shown(number, row, tokens, mark, TOKENS_A_ROW) for number, row in hits]
    return found


def _fields(raw: bool, index: Index) -> tuple[str, ...]:
    """The filters that make sense here."""
    if not raw:
        return row_filters.FIELDS
    return row_filters.OF_DOCUMENTS if index.lengths is not None else ("q",)


def _view_address(filters: Filters, tokens: Reader, name: str, line: int) -> str:
    kept = {key: value for key, value in tokens.kept.items() if key != "view"}
    kept |= {"view": "tokens"} if name == "tokens" else {}
    return address({**filters.values, "line": line}, kept)


def _number(asked: str, least: int, most: int) -> int:
    return min(max(int(asked), least), most) if asked.isdecimal() and len(asked) < 16 else least


def _neighbours(numbers: list[int], line: int, kept: dict[str, str]) -> dict[str, Any]:
    """Of a page that holds one more than it shows."""
    more = numbers[PAGE_ROWS] if len(numbers) > PAGE_ROWS else None
    return {
        "next": address({"line": more}, kept) if more else "",
        "previous": address({"line": max(line - PAGE_ROWS, 1)}, kept) if line > 1 else "",
    }


def _documents(
    request: HttpRequest, file: DatasetFile, filters: Filters, tokens: Reader, line: int, index: Index
) -> dict[str, Any]:
    """Raw text: a page of documents, or the parts that a search finds."""
    if not filters.asks:
        parts = document_rows.page(file, index, line, PAGE_ROWS + 1)
        found = _neighbours([part.document for part in parts], line, tokens.kept)
        return found | {"shown": [_shown_part(part, tokens, filters, index) for part in parts[:PAGE_ROWS]]}
    first = _number(request.GET.get("part", "1"), 1, 1 << 30)
    try:
        looked = document_rows.search(file, index, filters, line, first, PAGE_ROWS)
    except EngineError as error:
        return {"looked": Looked(0, 1, 0, 0.0, problem=str(error)), "next": "", "previous": ""}
    more = {**filters.values, "line": looked.next[0], "part": looked.next[1]} if looked.next else None
    return {
        "looked": Looked(len(looked.hits), line, max(line, looked.last), looked.share),
        "next": address(more, tokens.kept) if more else "",
        "previous": address(filters.values, tokens.kept) if line > 1 or first > 1 else "",
        "shown": [_shown_part(part, tokens, filters, index) for part in looked.hits],
    }


def _shown_part(part: Part, tokens: Reader, filters: Filters, index: Index) -> Any:
    row = document_rows.row_of(part, filters, whole=tokens.on)
    shown = _shown(part.document, row, tokens, row_filters.marker(filters), TOKENS_A_ROW)
    return shown | {
        "link": document_rows.link(tokens, part.document, part.number),
        "about": document_rows.words_about(part, index),
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
            task = token_counts.task_of(file, tokens.model) if tokens.model else None
            return [], {"looked": Looked(0, 1, 0, 0.0, waits=True), "task": task, "next": "", "previous": ""}
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
    """One row whole: as a conversation and as tokens; of a long document one part."""
    file = one_dataset(request, file_id)
    if not file.path.exists():
        raise Http404
    tokens = reader(request, file, on=True)
    raw = texts.is_raw_text(file.path, file.filename)
    found = _one_part(request, file, line, tokens) if raw else _one_line(file, line, tokens)
    content = found.pop("content")
    first = _number(request.GET.get("from", "1"), 1, 1 << 30) - 1
    link = found["link"]
    context = {
        "file": file,
        "line": line,
        "more": f"{link}{'&' if '?' in link else '?'}from={first + TOKENS_A_PAGE + 1}",
        "raw": raw,
        "tokens": tokens,
        "row": _shown(line, content, tokens, None, TOKENS_A_PAGE, first, PAGE_WORK),
        "turns": _shown(line, content, tokens.off(), row_filters.marker(Filters({})), 0),
        "json": jsonl.pretty(content)[:200_000] if content is not None else "",
        "previous": tokens.row_link(line - 1) if line > 1 else "",
        "back": address({"line": max(1, line - line % PAGE_ROWS)}, {}),
        **found,
    }
    return render(request, "dashboard/dataset_row.html", context)


def _one_line(file: DatasetFile, line: int, tokens: Reader) -> dict[str, Any]:
    """Raises Http404."""
    found = [each for each in jsonl.page(file.path, line, 2, checks.read_index(file)) if each[0] >= line]
    if not found or found[0][0] != line:
        raise Http404
    more = tokens.row_link(found[1][0]) if len(found) > 1 else ""
    return {"content": found[0][1], "link": tokens.row_link(line), "next": more}


def _one_part(request: HttpRequest, file: DatasetFile, line: int, tokens: Reader) -> dict[str, Any]:
    """Raises Http404."""
    number = _number(request.GET.get("part", "1"), 1, 1 << 30)
    part, index = document_rows.one_part(file, line, number)
    if part is None:
        raise Http404
    return {
        "content": {"text": part.text},
        "link": document_rows.link(tokens, line, number),
        "next": tokens.row_link(line + 1) if line < file.rows else "",
        "part": number,
        "about": document_rows.words_about(part, index),
        "part_before": document_rows.link(tokens, line, number - 1) if number > 1 else "",
        "part_after": "" if part.ends else document_rows.link(tokens, line, number + 1),
    }
