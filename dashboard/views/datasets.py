"""Screens: the list of datasets, and everything that can be done with one."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Count
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from dashboard.forms_datasets import SplitForm
from dashboard.views import dataset_page, uploads
from dashboard.views.dataset_page import one_dataset
from training import checks, files, splits
from training.models import DatasetFile
from training.rules import FORMAT_NAMES
from training.uploads import CHUNK_BYTES, received_bytes, stands_still

LONG_LIST = 200  # datasets shown in the list
Status = DatasetFile.Status


@require_GET
def datasets(request: HttpRequest) -> HttpResponse:
    """All datasets; the table alone for htmx, which asks again when there is news."""
    found = DatasetFile.objects.of(request.project).datasets()
    found = found.annotate(
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
        "chunk_bytes": CHUNK_BYTES,
        "text_folders": settings.HONE_TEXT_FOLDERS,
    }
    return render(request, "dashboard/datasets.html" + ("#files" if request.htmx else ""), context)


def _list_row(file: DatasetFile) -> dict[str, Any]:
    facts = next(iter(file.token_facts.items()), None)
    received = received_bytes(file) if file.status == Status.UPLOADING else 0
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
        "stands_still": file.status == Status.UPLOADING and stands_still(file),
    }


# ---- what can be done with it ----


@require_POST
def split(request: HttpRequest, file_id: str) -> HttpResponse:
    file = one_dataset(request, file_id)
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
    file = one_dataset(request, file_id)
    try:
        files.rename(file, request.POST.get("filename", ""))
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("dataset", file.id)


@require_POST
def delete(request: HttpRequest, file_id: str) -> HttpResponse:
    """Also cancels an upload."""
    file = one_dataset(request, file_id)
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
    file = one_dataset(request, file_id)
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


urlpatterns = [
    path("", datasets, name="datasets"),
    path("samples", uploads.load_samples, name="load-samples"),
    path("upload", uploads.upload, name="upload-dataset"),
    path("folders", uploads.add_folder, name="add-text-folder"),
    path("uploads", uploads.begin_upload, name="begin-upload"),
    path("<str:file_id>/", dataset_page.dataset, name="dataset"),
    path("<str:file_id>/chunks", uploads.upload_chunk, name="upload-chunk"),
    path("<str:file_id>/finish", uploads.finish_upload, name="finish-upload"),
    path("<str:file_id>/rows", dataset_page.rows, name="dataset-rows"),
    path("<str:file_id>/tokens", dataset_page.tokens, name="dataset-tokens"),
    path("<str:file_id>/split", split, name="split-dataset"),
    path("<str:file_id>/rename", rename, name="rename-dataset"),
    path("<str:file_id>/delete", delete, name="delete-dataset"),
    path("<str:file_id>/check", check_again, name="check-dataset"),
    path("<str:file_id>/content", content, name="dataset-content"),
]
