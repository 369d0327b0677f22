"""Screens: datasets. Upload, the list, what is in one, and everything that can be done with it."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.db.models import Count
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from accounts.errors import ApiError
from dashboard.forms_datasets import BeginUploadForm, SplitForm
from dashboard.templatetags.figures import size
from dashboard.turns import answers_of, turns_of
from training import checks, files, jsonl, splits, texts, token_counts, uploads
from training.datasets import MIN_JOB_ROWS
from training.engine.errors import EngineError
from training.engine.spec import DataFacts
from training.models import BaseModel, DatasetFile
from training.rules import FORMAT_NAMES

PAGE_ROWS = 10
LONG_LIST = 200  # datasets shown in the list
BINS = 24
Status = DatasetFile.Status


# ---- the list ----


@require_GET
def datasets(request: HttpRequest) -> HttpResponse:
    """All datasets; the table alone for htmx, which asks again when there is news."""
    found = _files(request).annotate(
        train_count=Count("trains", distinct=True),
        valid_count=Count("validates", distinct=True),
        split_count=Count("children__trains", distinct=True),  # through the parts that were split off
    )
    found = found.order_by("-created_at", "-id")
    rows = [_list_row(file) for file in found[:LONG_LIST]]
    context = {
        "rows": rows,
        "busy": any(row["file"].status in (Status.UPLOADING, Status.UPLOADED) for row in rows),
        "total": len(rows) if len(rows) < LONG_LIST else found.count(),
        "samples_missing": not any(row["file"].sample_task for row in rows),
        "chunk_bytes": uploads.CHUNK_BYTES,
        "text_folders": settings.HONE_TEXT_FOLDERS,
    }
    return render(request, "dashboard/datasets.html" + ("#files" if request.htmx else ""), context)


def _list_row(file: DatasetFile) -> dict[str, Any]:
    facts = next(iter(file.token_facts.items()), None)
    received = uploads.received_bytes(file) if file.status == Status.UPLOADING else 0
    return {
        "file": file,
        "gone": file.status != Status.UPLOADING and not file.path.exists(),
        "kind": FORMAT_NAMES.get(file.format, ""),
        "tokens": facts[1]["tokens"] if facts else None,
        "tokens_by": facts[0] if facts else "",
        "jobs": file.train_count + file.valid_count + file.split_count,  # type: ignore[attr-defined]
        "through_parts": file.split_count,  # type: ignore[attr-defined]
        "received": received,
        "share": received / file.bytes if file.bytes else 0,
    }


@require_POST
def load_samples(request: HttpRequest) -> HttpResponse:
    try:
        files.ensure_samples(request.project)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, "The sample datasets are here.")
    return redirect("datasets")


# ---- uploading ----


@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """The plain form, for a browser without JavaScript; also what a drop falls back to."""
    sent = request.FILES.get("file")
    if not isinstance(sent, UploadedFile):
        messages.error(request, "Choose a file first.")
        return redirect("datasets")
    try:
        file = files.create_file(request.project, request.user, sent.name or "", "fine-tune", sent.file)
    except ApiError as error:
        messages.error(request, error.message)
        return redirect("datasets")
    return redirect("dataset", file.id)


@require_POST
def add_folder(request: HttpRequest) -> HttpResponse:
    """A folder of shards on this server."""
    try:
        file = files.add_folder(request.project, request.user, request.POST.get("folder", ""))
    except ApiError as error:
        messages.error(request, error.message)
        return redirect("datasets")
    return redirect("dataset", file.id)


@require_POST
def begin_upload(request: HttpRequest) -> HttpResponse:
    """Answers where to go on: 0 for a new file, more for one that was begun before."""
    form = BeginUploadForm(request.POST)
    if not form.is_valid():
        return JsonResponse({"error": "Give filename and bytes."}, status=400)
    asked = form.cleaned_data
    try:
        file = uploads.begin_upload(
            request.project, request.user, asked["filename"], asked["bytes"], asked["modified"] or 0
        )
    except ApiError as error:
        return _json_error(error)
    return JsonResponse(
        {"id": file.id, "received": uploads.received_bytes(file), "url": reverse("dataset", args=[file.id])}
    )


@require_POST
def upload_chunk(request: HttpRequest, file_id: str) -> HttpResponse:
    """The raw body continues the file at ?offset=; 409 with the server's size when it does not fit."""
    file = _file(request, file_id)
    offset = request.GET.get("offset", "")
    if not offset.isdecimal():
        return JsonResponse({"error": "Give ?offset= as a number of bytes."}, status=400)
    try:
        return JsonResponse({"received": uploads.append_chunk(file, int(offset), request.body)})
    except ApiError as error:
        return _json_error(error)


@require_POST
def finish_upload(request: HttpRequest, file_id: str) -> HttpResponse:
    try:
        file = uploads.finish_upload(_file(request, file_id))
    except ApiError as error:
        return _json_error(error)
    return JsonResponse({"id": file.id, "status": file.status, "url": reverse("dataset", args=[file.id])})


def _json_error(error: ApiError) -> JsonResponse:
    body: dict[str, Any] = {"error": error.message}
    if isinstance(error, uploads.WrongOffset):
        body["received"] = error.size
    return JsonResponse(body, status=error.status)


# ---- one dataset ----


@require_GET
def dataset(request: HttpRequest, file_id: str) -> HttpResponse:
    file = _file(request, file_id)
    if file.status == Status.UPLOADING:
        return redirect("datasets")
    if request.htmx and file.status != Status.UPLOADED:  # the page asked whether the check is done
        return HttpResponseClientRefresh()
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
    file = _file(request, file_id)
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
        {"line": number, "messages": turns_of(row), "answers": answers_of(row)} for number, row in found[:PAGE_ROWS]
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
    file = _file(request, file_id)
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


# ---- what can be done with it ----


@require_POST
def split(request: HttpRequest, file_id: str) -> HttpResponse:
    file = _file(request, file_id)
    form = SplitForm(request.POST)
    if not form.is_valid():
        messages.error(request, "; ".join(text for texts in form.errors.values() for text in texts))
        return redirect("dataset", file.id)
    asked = form.cleaned_data
    amount: dict[str, Any] = {"count": asked["count"]} if asked["count"] else {"share": (asked["percent"] or 10) / 100}
    try:
        train, valid = splits.split(file, seed=asked["seed"] or 0, user=request.user, **amount)
    except ApiError as error:
        messages.error(request, error.message)
        return redirect("dataset", file.id)
    messages.success(request, f"{train.filename} and {valid.filename} are made; {file.filename} stays as it was.")
    return redirect("datasets")


@require_POST
def rename(request: HttpRequest, file_id: str) -> HttpResponse:
    file = _file(request, file_id)
    try:
        files.rename(file, request.POST.get("filename", ""))
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("dataset", file.id)


@require_POST
def delete(request: HttpRequest, file_id: str) -> HttpResponse:
    """Also cancels an upload."""
    file = _file(request, file_id)
    try:
        files.delete(file)
    except ApiError as error:
        if request.htmx or request.headers.get("Accept") == "application/json":
            return HttpResponse(error.message, status=error.status, content_type="text/plain")
        messages.error(request, error.message)
        return redirect("dataset", file.id)
    if request.headers.get("Accept") == "application/json":
        return JsonResponse({"deleted": True})
    messages.success(request, f"{file.filename} is deleted.")
    return redirect("datasets")


@require_POST
def check_again(request: HttpRequest, file_id: str) -> HttpResponse:
    file = _file(request, file_id)
    if file.status in (Status.PROCESSED, Status.ERROR, Status.UPLOADED):
        try:
            checks.check_again(file)
        except ApiError as error:
            messages.error(request, error.message)
    return redirect("dataset", file.id)


@require_GET
def content(request: HttpRequest, file_id: str) -> HttpResponse:
    """The bytes as they came."""
    file = get_object_or_404(DatasetFile.objects.of(request.project), pk=file_id)
    if file.path.is_dir():
        messages.error(
            request, f"{file.filename} is a folder of this server: {file.path.resolve()}. Copy it from there."
        )
        return redirect("dataset", file.id)
    if not file.path.exists():
        messages.error(request, f"{file.filename} is gone from the disk. Upload it again.")
        return redirect("datasets")
    return FileResponse(file.path.open("rb"), as_attachment=True, filename=file.filename)


def _files(request: HttpRequest) -> Any:
    return DatasetFile.objects.of(request.project).datasets()


def _file(request: HttpRequest, file_id: str) -> DatasetFile:
    """One dataset of the current project; anybody else's is not there."""
    found: DatasetFile = get_object_or_404(_files(request), pk=file_id)
    return found


urlpatterns = [
    path("", datasets, name="datasets"),
    path("samples", load_samples, name="load-samples"),
    path("upload", upload, name="upload-dataset"),
    path("folders", add_folder, name="add-text-folder"),
    path("uploads", begin_upload, name="begin-upload"),
    path("<str:file_id>/", dataset, name="dataset"),
    path("<str:file_id>/chunks", upload_chunk, name="upload-chunk"),
    path("<str:file_id>/finish", finish_upload, name="finish-upload"),
    path("<str:file_id>/rows", rows, name="dataset-rows"),
    path("<str:file_id>/tokens", tokens, name="dataset-tokens"),
    path("<str:file_id>/split", split, name="split-dataset"),
    path("<str:file_id>/rename", rename, name="rename-dataset"),
    path("<str:file_id>/delete", delete, name="delete-dataset"),
    path("<str:file_id>/check", check_again, name="check-dataset"),
    path("<str:file_id>/content", content, name="dataset-content"),
]
