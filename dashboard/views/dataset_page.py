"""Screens: one dataset. The verdict on it, its rows as conversations, its tokens."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET
from django_htmx.http import HttpResponseClientRefresh

from dashboard import guide
from dashboard.templatetags.figures import size
from dashboard.turns import answers_of, tools_of, turns_of
from training import checks, files, jsonl, texts, token_counts
from training.datasets import MIN_JOB_ROWS
from training.engine.errors import EngineError
from training.engine.spec import DataFacts
from training.models import BaseModel, DatasetFile
from training.rules import FORMAT_NAMES

PAGE_ROWS = 10
BINS = 24
Status = DatasetFile.Status


def one_dataset(request: HttpRequest, file_id: str) -> DatasetFile:
    """One dataset of the current project; anybody else's is not there."""
    found: DatasetFile = get_object_or_404(DatasetFile.objects.of(request.project).datasets(), pk=file_id)
    return found


@require_GET
def dataset(request: HttpRequest, file_id: str) -> HttpResponse:
    file = one_dataset(request, file_id)
    if file.status == Status.UPLOADING:
        return redirect("datasets")
    if request.htmx and file.status != Status.UPLOADED:  # the page asked whether the check is done
        return HttpResponseClientRefresh()
    if file.sample_task == guide.TASK:
        request.session[guide.LOOKED] = True
    jobs, roles = list(files.jobs_using(file)[:20]), file.statistics.get("roles", {})
    children = list(file.children.datasets()[:20])
    context = {
        "file": file,
        "gone": file.status != Status.UPLOADING and not file.path.exists(),
        "kind": FORMAT_NAMES.get(file.format, "unknown"),
        "unit": "document" if file.format == "text" else "row",
        "verdict": _verdict(file),
        "errors": [problem for problem in file.problems if problem["level"] == "error"],
        "warnings": [problem for problem in file.problems if problem["level"] == "warning"],
        "jobs": jobs,
        "answers": roles.get("assistant", 0),
        "other_roles": ", ".join(f"{number:,} {role}" for role, number in roles.items() if role != "assistant"),
        "delete_words": _delete_words(file, jobs),
        "can_train": file.status == Status.PROCESSED and checks.refusal(file, method=checks.method_for(file)) is None,
        "pairs": _pairs(file),
        "children": [(child, list(files.jobs_using(child)[:20])) for child in children],
        **_tokens(request, file, start=False),
        **_rows(request, file),
    }
    return render(request, "dashboard/dataset.html", context)


@dataclass(frozen=True)
class Verdict:
    level: str  # ok | warn | bad | busy
    sentence: str
    detail: str = ""


def _verdict(file: DatasetFile) -> Verdict:
    """The answer to "what is wrong with my data?" in one line."""
    if file.status == Status.UPLOADED:
        return Verdict("busy", f"Checking: {100 * file.check_share:.0f} % read")
    rows = f"{file.rows:,} {'document' if file.format == 'text' else 'row'}{'' if file.rows == 1 else 's'}"
    warnings = f"{file.warning_count} warning{'' if file.warning_count == 1 else 's'}"
    if file.status == Status.ERROR:
        problems = f"{file.problem_count:,} problem{'' if file.problem_count == 1 else 's'}"
        sentence = f"{rows}, {problems}: not ready" if file.rows else "Not ready"
        return Verdict("bad", sentence, file.status_details or "Correct them and upload the file again.")
    if not file.path.exists():
        return Verdict(
            "bad", "The file is gone from the disk", "Upload it again; the figures below are what was found."
        )
    method = checks.method_for(file)
    if file.rows < MIN_JOB_ROWS and method != "pretrain":
        detail = f"Training needs at least {MIN_JOB_ROWS} rows; as a validation set it will do."
        return Verdict("warn", f"{rows}: too few to train on", detail)
    refusal = checks.refusal(file, method=method)
    if refusal:
        return Verdict("warn", f"{rows}, sound, but no job can train on it", f"The format is {file.format}.")
    if method == "pretrain":
        return Verdict("ok", f"{rows} of raw text, ready to continue pre-training with")
    if file.warning_count:
        return Verdict("warn", f"{rows}, ready; {warnings}")
    return Verdict("ok", f"{rows}, ready")


def _pairs(file: DatasetFile) -> dict[str, Any]:
    """Mean lengths of the two answers of a preference file, and how often the preferred one is the longer."""
    counted = file.statistics.get("pairs")
    if not counted or not file.rows:
        return {}
    return {
        "preferred": round(counted["preferred_characters"] / file.rows),
        "other": round(counted["other_characters"] / file.rows),
        "longer": counted["preferred_longer"] / file.rows,
    }


def _delete_words(file: DatasetFile, jobs: list[Any]) -> str:
    words = f"{file.filename} ({size(file.bytes)}) is removed from the disk for good."
    if jobs:
        names = ", ".join(job.display_name for job in jobs[:5]) + (" and others" if len(jobs) > 5 else "")
        words += f" Used by: {names}. Their results stay, but a rerun will need another file."
    return words


@require_GET
def rows(request: HttpRequest, file_id: str) -> HttpResponse:
    """A page of rows as conversations."""
    file = one_dataset(request, file_id)
    return render(request, "dashboard/dataset.html#rows", {"file": file, **_rows(request, file)})


def _rows(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """Rows from line ?line= on."""
    asked = request.GET.get("line", "1")
    last_line = int(file.statistics.get("lines") or 0)
    raw = file.path.exists() and texts.is_raw_text(file.path, file.filename)
    last_line = min(file.rows, texts.SHOWN_DOCUMENTS) if raw else last_line
    line = min(max(int(asked), 1), max(last_line, 1)) if asked.isdecimal() and len(asked) < 16 else 1
    if not file.path.exists() or file.status == Status.UPLOADED or not last_line:
        return {"shown": [], "line": 1, "raw": raw, "last_line": 0, "present": file.path.exists()}
    found = _documents(file, line) if raw else jsonl.page(file.path, line, PAGE_ROWS + 1, checks.read_index(file))
    shown = [
        {"line": number, "messages": turns_of(row), "answers": answers_of(row), "tools": tools_of(row)}
        for number, row in found[:PAGE_ROWS]
    ]
    return {
        "present": True,
        "raw": raw,
        "shown": shown,
        "line": line,
        "last_line": last_line,
        "next_line": found[PAGE_ROWS][0] if len(found) > PAGE_ROWS else None,
        "previous_line": max(line - PAGE_ROWS, 1) if line > 1 else None,
    }


def _documents(file: DatasetFile, first: int) -> list[tuple[int, dict[str, Any] | None]]:
    """Nothing where the file cannot be read; the check says why."""
    try:
        return [*texts.page(file.path, first, PAGE_ROWS + 1)]
    except EngineError:
        return []


@require_GET
def tokens(request: HttpRequest, file_id: str) -> HttpResponse:
    """Token counts for the base model ?model=; asks the worker when the file is large."""
    file = one_dataset(request, file_id)
    return render(request, "dashboard/dataset.html#tokens", {"file": file, **_tokens(request, file, start=True)})


def _tokens(request: HttpRequest, file: DatasetFile, start: bool) -> dict[str, Any]:
    """`start`: count now if that was not done yet; the page itself only shows what is known."""
    models = [model for model in BaseModel.objects.ready() if model.is_present]
    asked = request.GET.get("model", "")
    model = next((each for each in models if each.name == asked), None)
    model = model or next((each for each in models if each.name in file.token_facts), None) or next(iter(models), None)
    present = file.path.exists()
    context: dict[str, Any] = {"models": models, "model": model, "facts": None, "token_error": "", "present": present}
    if model is None or file.status != Status.PROCESSED or not present:
        return context
    try:
        facts = token_counts.facts_or_start(file, model) if start or asked else file.facts_for(model)
    except (EngineError, OSError) as error:
        return {**context, "token_error": str(error)}
    if facts is None:
        return {**context, "counting": True, "asked": start}
    return {**context, "facts": facts, "share": _share(facts), "histogram": histogram(facts.lengths)}


def _share(facts: DataFacts) -> float:
    return facts.trained_tokens / facts.tokens if facts.tokens else 0.0


def histogram(lengths: list[int]) -> dict[str, Any]:
    """Bars of equal width in tokens; heights in per cent of the tallest."""
    if not lengths:
        return {"bars": []}
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // BINS))
    tally = Counter((length - low) // width for length in lengths)
    tallest = max(tally.values())
    last = max(tally)
    bars = [
        {
            "x": index,
            "height": round(100 * tally[index] / tallest, 2),
            "y": round(100 - 100 * tally[index] / tallest, 2),
            "rows": tally[index],
            "from": low + index * width,
            "to": low + (index + 1) * width - 1,
        }
        for index in range(last + 1)
    ]
    ordered = sorted(lengths)
    return {
        "bars": bars,
        "count": last + 1,
        "low": low,
        "high": high,
        "median": ordered[len(ordered) // 2],
        "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
    }
