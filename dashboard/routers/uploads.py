"""/v1/uploads: a large file in parts, sent at once and in any order; what the SDK's `upload_file_chunked` calls."""

from typing import Annotated, Any, BinaryIO, Literal, cast

from django.http import HttpRequest
from ninja import File as FilePart
from ninja import Router, Schema, UploadedFile
from pydantic import Field

from accounts.errors import ApiError
from dashboard import schemas
from dashboard.routers.files import as_file, refuse_purpose
from training.models import Upload
from training.parts import joining

router = Router()


class AskedExpiry(schemas.Asked):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=2_592_000)]


class AskUpload(schemas.Asked):
    """`mime_type` is kept and given back; what is in the file is told from its bytes."""

    filename: Annotated[str, Field(min_length=1, max_length=500)]
    purpose: schemas.Purpose
    bytes: Annotated[int, Field(ge=1)]
    mime_type: Annotated[str, Field(min_length=1, max_length=100)]
    expires_after: AskedExpiry | None = None


class AskComplete(schemas.Asked):
    part_ids: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    md5: str | None = None


class UploadAnswer(Schema):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    mime_type: str = Field(description="Hone's own: as it was announced")
    file: schemas.File | None


class PartAnswer(Schema):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


@router.post("/uploads", response=UploadAnswer)
def create_upload(request: HttpRequest, asked: AskUpload) -> dict[str, Any]:
    """Announce a file; send its parts within the hour."""
    refuse_purpose(asked.purpose)
    upload = joining.begin(
        request.project,  # type: ignore[attr-defined]
        request.auth_user,  # type: ignore[attr-defined]
        asked.filename,
        asked.purpose,
        asked.bytes,
        asked.mime_type,
        asked.expires_after.seconds if asked.expires_after else None,
    )
    return as_upload(upload)


@router.get("/uploads/{upload_id}", response=UploadAnswer)
def retrieve_upload(request: HttpRequest, upload_id: str) -> dict[str, Any]:
    """Hone's own: how an upload stands."""
    return as_upload(find_upload(request, upload_id))


@router.post("/uploads/{upload_id}/parts", response=PartAnswer)
def add_part(request: HttpRequest, upload_id: str, data: UploadedFile = FilePart(...)) -> dict[str, Any]:  # noqa: B008
    """At most 64 MB. The order is said when the upload is completed."""
    part = joining.add_part(find_upload(request, upload_id), cast(BinaryIO, data.file), data.size or 0)
    return {"id": part.id, "created_at": int(part.created_at.timestamp()), "upload_id": upload_id}


@router.post("/uploads/{upload_id}/complete", response=UploadAnswer)
def complete_upload(request: HttpRequest, upload_id: str, asked: AskComplete) -> dict[str, Any]:
    """Puts the parts together in the order named; `file` is then checked like any other."""
    upload = find_upload(request, upload_id)
    joining.complete(upload, asked.part_ids, asked.md5)
    return as_upload(upload)


@router.post("/uploads/{upload_id}/cancel", response=UploadAnswer)
def cancel_upload(request: HttpRequest, upload_id: str) -> dict[str, Any]:
    """Its parts are removed; none can be added."""
    return as_upload(joining.cancel(find_upload(request, upload_id)))


def find_upload(request: HttpRequest, upload_id: str) -> Upload:
    upload = Upload.objects.of(request.project).filter(pk=upload_id).first()  # type: ignore[attr-defined]
    if upload is None:
        raise ApiError(f"No such Upload object: {upload_id}", status=404, param="upload_id")
    return upload


def as_upload(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.id,
        "bytes": upload.bytes,
        "created_at": int(upload.created_at.timestamp()),
        "expires_at": int(upload.expires_at.timestamp()),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.state,
        "mime_type": upload.mime_type,
        "file": as_file(upload.file) if upload.file else None,
    }
