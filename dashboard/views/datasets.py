"""Screens: the list of datasets, and everything that can be done with one."""

from pathlib import PurePath
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import include, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from accounts.telling_apart import tell_apart
from dashboard import leaks_told, quotas_shown
from dashboard.forms_datasets import ExpiryForm
from dashboard.ranges import FileInPieces
from dashboard.views import (
    dataset_estimate,
    dataset_moderation,
    dataset_page,
    dataset_repairs,
    dataset_rows,
    dataset_safety,
    dataset_split,
    dataset_tokens,
    intake_combine,
    intake_hub,
    intake_map,
    uploads,
)
from dashboard.views.one_dataset import one_dataset
from training import checks, files
from training.intake.models import Making
from training.models import DatasetFile, TrainingJob
from training.rules import FORMAT_NAMES
from training.uploads import CHUNK_BYTES, received_bytes, stands_still

LONG_LIST = 200  # datasets shown in the list
Status = DatasetFile.Status


@require_GET
def datasets(request: HttpRequest) -> HttpResponse:
    """All datasets; the table alone for htmx, which asks again when there is news."""
    found = DatasetFile.objects.of(request.project).datasets().newest()
    found = found.annotate(
        train_count=_jobs("training_file__family"),
        valid_count=_jobs("validation_file__family"),
        split_count=_jobs("training_file__parent__family"),  # through the parts that were split off
    )
    found = found.order_by("-created_at", "-id")
    listed = tell_apart(found[:LONG_LIST], "filename")
    leaks = leaks_told.found(request.project, listed)
    rows = [_list_row(file) | {"found": leaks.get(file.pk)} for file in listed]
    makings = list(Making.objects.of(request.project).exclude(status=Making.Status.DONE)[:LONG_LIST])
    context = {
        "rows": rows,
        "makings": makings,
        "busy": any(row["file"].status in (Status.UPLOADING, Status.UPLOADED) for row in rows)
        or any(each.status != Making.Status.FAILED for each in makings),
        "total": len(rows) if len(rows) < LONG_LIST else found.count(),
        "samples_missing": not DatasetFile.objects.of(request.project).exclude(sample_task="").exists(),
        "chunk_bytes": CHUNK_BYTES,
        "quota_near": quotas_shown.near(request.project),
        "text_folders": settings.HONE_TEXT_FOLDERS,
    }
    return render(request, "dashboard/datasets.html" + ("#files" if request.htmx else ""), context)


def _jobs(through: str) -> Coalesce:
    """How many jobs use any version of a dataset, by a path from the job to the family; versions are no parts."""
    jobs = TrainingJob.objects.filter(**{through: OuterRef("family")}).order_by()
    if "parent" in through:
        jobs = jobs.exclude(training_file__family=OuterRef("family"))
    counted = jobs.values(through).annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted), 0)


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
def rename(request: HttpRequest, file_id: str) -> HttpResponse:
    file = one_dataset(request, file_id)
    try:
        files.rename(file, request.POST.get("filename", ""))
    except ApiError as error:
        messages.error(request, error.message)
    return redirect("dataset", file.id)


@require_POST
def expire(request: HttpRequest, file_id: str) -> HttpResponse:
    """This version goes by itself after ?days=; empty: never."""
    file = one_dataset(request, file_id)
    form = ExpiryForm(request.POST)
    if form.is_valid():
        files.expire(file, form.cleaned_data["days"])
        when = (
            f"is removed on {timezone.localtime(file.expires_at):%-d %B %Y}" if file.expires_at else "is kept for good"
        )
        messages.success(request, f"Version {file.version} {when}.")
    else:
        messages.error(request, "Choose one of the times.")
    return redirect(f"{reverse('dataset', args=[file.pk])}?tab=versions")


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
    others = DatasetFile.objects.of_family(file).newest().first()
    if others is None:
        messages.success(request, f"{file.filename} is deleted.")
        return redirect("datasets")
    messages.success(request, f"Version {file.version} of {file.filename} is deleted; the others stay.")
    return redirect(f"{reverse('dataset', args=[others.pk])}?tab=versions")


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
    return FileInPieces(file.path.open("rb"), as_attachment=True, filename=_download_name(file))


def _download_name(file: DatasetFile) -> str:
    """tickets.v3.jsonl: the versions of a dataset have one name, and lie side by side where they are saved."""
    name = PurePath(file.filename)
    return f"{name.stem}.v{file.version}{name.suffix}" if file.last_version > 1 else file.filename


urlpatterns = [
    *intake_combine.urlpatterns,
    *intake_hub.urlpatterns,
    *intake_map.urlpatterns,
    path("", datasets, name="datasets"),
    path("samples", uploads.load_samples, name="load-samples"),
    path("upload", uploads.upload, name="upload-dataset"),
    path("folders", uploads.add_folder, name="add-text-folder"),
    path("uploads", uploads.begin_upload, name="begin-upload"),
    path("<str:file_id>/", dataset_page.dataset, name="dataset"),
    path("<str:file_id>/chunks", uploads.upload_chunk, name="upload-chunk"),
    path("<str:file_id>/finish", uploads.finish_upload, name="finish-upload"),
    path("<str:file_id>/rows", dataset_rows.rows, name="dataset-rows"),
    path("<str:file_id>/rows/<int:line>", dataset_rows.row, name="dataset-row"),
    path("<str:file_id>/safety", dataset_safety.safety, name="dataset-safety"),
    path("<str:file_id>/safety/decide", dataset_safety.decide, name="decide-safety"),
    path("<str:file_id>/safety/apply", dataset_safety.apply, name="apply-safety"),
    path("<str:file_id>/safety/moderate", dataset_moderation.moderate, name="moderate-dataset"),
    path("<str:file_id>/safety/again", dataset_safety.look_again, name="look-again-safety"),
    path("<str:file_id>/tokens", dataset_tokens.tokens, name="dataset-tokens"),
    path("<str:file_id>/estimate", dataset_estimate.estimate, name="dataset-estimate"),
    path("<str:file_id>/repairs", dataset_repairs.look, name="look-dataset-repairs"),
    path("<str:file_id>/repairs/<str:repair_id>", dataset_repairs.follow, name="dataset-repair"),
    path("<str:file_id>/repairs/<str:repair_id>/make", dataset_repairs.make, name="make-dataset-repair"),
    path("<str:file_id>/repeats/", include("dashboard.views.dataset_repeats")),
    path("<str:file_id>/split", dataset_split.split, name="split-dataset"),
    path("<str:file_id>/split/tab", dataset_split.split_tab, name="dataset-split"),
    path("<str:file_id>/rename", rename, name="rename-dataset"),
    path("<str:file_id>/expiry", expire, name="expire-dataset"),
    path("<str:file_id>/delete", delete, name="delete-dataset"),
    path("<str:file_id>/check", check_again, name="check-dataset"),
    path("<str:file_id>/content", content, name="dataset-content"),
]
