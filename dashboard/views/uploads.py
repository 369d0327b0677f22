"""Screens: taking datasets in, whole, in pieces, from a folder of the server, or the samples."""

from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from dashboard.forms_datasets import BeginUploadForm
from dashboard.views.one_dataset import one_dataset
from training import files, uploads


@require_POST
def load_samples(request: HttpRequest) -> HttpResponse:
    try:
        files.ensure_samples(request.project)
    except ApiError as error:
        messages.error(request, error.message)
    else:
        messages.success(request, "The sample datasets are here.")
    return redirect("datasets")


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
    file = one_dataset(request, file_id)
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
        file = uploads.finish_upload(one_dataset(request, file_id))
    except ApiError as error:
        return _json_error(error)
    return JsonResponse({"id": file.id, "status": file.status, "url": reverse("dataset", args=[file.id])})


def _json_error(error: ApiError) -> JsonResponse:
    body: dict[str, Any] = {"error": error.message}
    if isinstance(error, uploads.WrongOffset):
        body["received"] = error.size
    return JsonResponse(body, status=error.status)
