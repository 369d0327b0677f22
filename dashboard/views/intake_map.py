"""Screen: a table's columns become training rows, with the first rows shown as they would be."""

from pathlib import PurePath
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_http_methods

from accounts.errors import ApiError
from dashboard.turns import answers_of, tools_of, turns_of
from dashboard.views.one_dataset import one_dataset
from training import excerpts
from training.intake import making, mapping, tables
from training.intake.errors import IntakeError
from training.intake.mapping import CannotMap, Mapping, line_of
from training.intake.models import Making
from training.message_rules import EMPTY_ANSWER, is_empty_answer
from training.models import DatasetFile
from training.rules import detect_format, row_errors

SHOWN_ROWS = 5
GUESSED_ROWS = 20
EXAMPLE_CHARACTERS = 160
PART_WORDS = {
    "messages": ("Messages", "a column with whole conversations; ShareGPT's are understood, too"),
    "system": ("System message", "may stay empty, or be the same text for every row"),
    "user": ("User's message", ""),
    "assistant": ("Assistant's answer", "what the model learns to say"),
    "tools": ("Tools", "a column with a list of tools as JSON; may stay empty"),
    "prompt": ("Prompt", "what comes before; a preference may have it in its conversations"),
    "completion": ("Completion", "what the model learns to write"),
    "chosen": ("Preferred answer", "a text, or a conversation that ends with it"),
    "rejected": ("Other answer", "a text, or a conversation that ends with it"),
    "text": ("Text", "what the model learns to write on"),
    "tags": ("Tags", "one or several with commas between; may stay empty"),
}
Status = DatasetFile.Status


@require_http_methods(["GET", "POST"])
def map_columns(request: HttpRequest, file_id: str) -> HttpResponse:
    """GET shows what the names suggest, or ?target= with the parts in the address; POST makes the dataset."""
    file = one_dataset(request, file_id)
    if file.status in (Status.UPLOADING, Status.UPLOADED) or not file.path.is_file():
        return redirect("dataset", file.id)
    try:
        table, rows = tables.first_rows(file.path, file.filename, GUESSED_ROWS, _header(request))
    except IntakeError as error:
        messages.error(request, f"{error.message}. {error.fix}")
        return redirect("dataset", file.id)
    if request.method == "POST":
        answer = _make(request, file, table)
        if answer:
            return answer
    asked = _asked(request, table, rows)
    context = {
        "file": file,
        "table": table,
        "examples": _examples(table, rows),
        "target": asked.target,
        "targets": mapping.TARGETS,
        "parts": [(name, *PART_WORDS[name], asked.parts.get(name, "")) for name in mapping.PARTS[asked.target]],
        "name": request.POST.get("name") or f"{PurePath(file.filename).stem}.jsonl",
        **_preview(asked, table, rows),
    }
    return render(request, "dashboard/intake_map.html", context)


@require_GET
def preview(request: HttpRequest, file_id: str) -> HttpResponse:
    """The first rows by the mapping in the address."""
    file = one_dataset(request, file_id)
    try:
        table, rows = tables.first_rows(file.path, file.filename, GUESSED_ROWS, _header(request))
    except (IntakeError, FileNotFoundError) as error:
        return render(request, "dashboard/intake_map.html#preview", {"trouble": str(error)})
    context = {"file": file, **_preview(_asked(request, table, rows), table, rows)}
    return render(request, "dashboard/intake_map.html#preview", context)


def _header(request: HttpRequest) -> bool | None:
    """What the switch says of a CSV's first row; None before anybody has touched it."""
    given = (request.POST if request.method == "POST" else request.GET).get("header", "")
    return {"1": True, "0": False}.get(given)


def _asked(request: HttpRequest, table: tables.Table, rows: list[tables.TableRow]) -> Mapping:
    """From the form; before anybody has filled it in, what the names of the columns suggest."""
    given = request.POST if request.method == "POST" else request.GET
    guessed = mapping.guess(table.columns, [row.cells for row in rows if not row.trouble])
    target = given.get("target", "")
    if target not in mapping.TARGETS:
        return guessed
    parts = {name: given[name] for name in mapping.PARTS[target] if name in given}
    if given.get("drawn_header") != given.get("header"):
        parts = {}  # they name columns as they were called before
    if not parts and target == guessed.target:
        return guessed
    return Mapping(target, parts or _carried(guessed, target))


def _carried(guessed: Mapping, target: str) -> dict[str, str]:
    """What was guessed for another format, as far as it means the same in this one."""
    same = {"user": "prompt", "assistant": "completion", "text": "completion"}
    if target == "chat":
        same = {"prompt": "user", "completion": "assistant", "chosen": "assistant", "text": "assistant"}
    elif target == "preference":
        same = {"user": "prompt", "assistant": "chosen"}
    elif target == "text":
        same = {"assistant": "text", "completion": "text"}
    found = {same.get(name, name): template for name, template in guessed.parts.items()}
    return {name: found[name] for name in mapping.PARTS[target] if name in found}


def _examples(table: tables.Table, rows: list[tables.TableRow]) -> list[tuple[str, str]]:
    """Each column with its first cell that holds something."""
    found = []
    for column in table.columns:
        texts = (mapping.text_of(row.cells.get(column)) for row in rows)
        first = next((text for text in texts if text.strip()), "")
        found.append((column, excerpts.beginning(first, EXAMPLE_CHARACTERS)))
    return found


def _preview(asked: Mapping, table: tables.Table, rows: list[tables.TableRow]) -> dict[str, Any]:
    try:
        chosen = mapping.mapping_of(asked.target, asked.parts, table.columns)
    except IntakeError as error:
        return {"shown": [], "trouble": f"{error.message}. {error.fix}"}
    shown = [_shown(chosen, row) for row in rows[:SHOWN_ROWS]]
    return {
        "shown": shown,
        "place": "line" if table.counts_lines else "row",
        "trouble": "",
        "sound": sum(not each["errors"] for each in shown),
        "warned": sum(bool(each["warnings"]) for each in shown),
    }


def _shown(chosen: Mapping, row: tables.TableRow) -> dict[str, Any]:
    """One row as a conversation, with what the check would say of it."""
    try:
        if row.trouble:
            raise CannotMap(row.trouble)
        made = mapping.make_row(chosen, row.cells)
        line_of(made)
    except CannotMap as error:
        return {"line": row.line, "errors": [(str(error), "It will be left out.")], "warnings": [], "messages": []}
    errors = [(message, fix) for _, message, fix, _, _ in row_errors(made, detect_format(made))]
    said = [] if errors else made.get("messages", [])
    empty = any(message["role"] == "assistant" and is_empty_answer(message) for message in said)
    return {
        "line": row.line,
        "errors": errors,
        "warnings": [EMPTY_ANSWER] if empty else [],
        "messages": turns_of(made),
        "answers": answers_of(made),
        "tools": tools_of(made),
        "tags": made.get("tags", []),
    }


def _make(request: HttpRequest, file: DatasetFile, table: tables.Table) -> HttpResponse | None:
    """None: it cannot be made; the page says why and keeps what was typed."""
    target = request.POST.get("target", "")
    parts = {name: request.POST.get(name, "") for name in mapping.PARTS.get(target, ())}
    try:
        chosen = mapping.mapping_of(target, parts, table.columns)
    except IntakeError as error:
        messages.error(request, f"{error.message}. {error.fix}")
        return None
    header = {} if table.header is None else {"header": table.header}
    try:
        row = making.ask(
            file.project, request.user, Making.Kind.MAPPED, name=request.POST.get("name", "") or file.filename,  # type: ignore[arg-type]
            asked=chosen.as_json() | header, source=file, read_bytes=file.bytes,
        )  # fmt: skip
    except ApiError as error:
        messages.error(request, error.message)
        return None
    if row.status == Making.Status.FAILED:
        messages.error(request, row.message)
        row.delete()
        return None
    if row.made_id:
        messages.success(request, f"{row.name} is made; {file.filename} stays as it was.")
        return redirect(reverse("dataset", args=[row.made_id]))
    messages.success(request, f"{row.name} is being made; it appears in the list.")
    return redirect("datasets")


urlpatterns = [
    path("<str:file_id>/map", map_columns, name="map-columns"),
    path("<str:file_id>/map/preview", preview, name="map-preview"),
]
