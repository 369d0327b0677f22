"""/v1/files: upload, list, retrieve, content, delete."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, cast

from django.db.models import Q, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from ninja import File as FilePart
from ninja import Form, Query, Router, UploadedFile
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema, WithJsonSchema

from accounts.errors import ApiError
from dashboard import schemas
from dashboard.paging import Order, page
from training import files
from training.intake import packed
from training.models import DatasetFile
from training.rules import recognise

router = Router()

NoNull = SkipJsonSchema[None]  # a form has no null
LEAST, MOST = 3600, 2_592_000  # seconds until a file expires
CHUNK_BYTES = 1 << 20
BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
A_TABLE = "This is a table. Upload it on the Datasets page of Hone, which maps its columns, or send JSONL."
PURPOSES_TO_COME = {"assistants", "batch", "vision", "user_data", "evals"}


class Expiry(schemas.Schema):
    """`expires_after` as bracketed form fields; forms hold text, so numbers are converted here."""

    purpose: schemas.Purpose
    anchor: Annotated[Literal["created_at"] | NoNull, Field(alias="expires_after[anchor]")] = None
    # not `Annotated[int, Field(ge=...)] | NoNull`, whose refusal would also say that it is not null
    seconds: Annotated[
        int | NoNull,
        Field(alias="expires_after[seconds]", ge=LEAST, le=MOST),
        WithJsonSchema({"type": "integer", "minimum": LEAST, "maximum": MOST}),
    ] = None


@router.post("/files", response=schemas.File)
def create_file(request: HttpRequest, form: Form[Expiry], file: UploadedFile = FilePart(...)) -> dict[str, Any]:  # noqa: B008
    """Upload a JSONL file. It is checked at once: `status` goes from `uploaded` to `processed` or `error`."""
    refuse_purpose(form.purpose)
    if (form.anchor is None) != (form.seconds is None):
        absent = "anchor" if form.anchor is None else "seconds"
        param = f"expires_after.{absent}"
        raise ApiError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    refuse_packed(cast(BinaryIO, file))
    made = files.create_file(
        project=request.project,  # type: ignore[attr-defined]
        user=request.auth_user,  # type: ignore[attr-defined]
        filename=file.name or "",
        purpose=form.purpose,
        source=cast(BinaryIO, file),
    )
    if made.format == "table" or no_line_is_json(made):
        why = made.problems[0]["message"] if made.problems else A_TABLE
        files.delete(made)
        raise not_jsonl(why)
    if form.seconds:
        made.expires_at = made.created_at + timedelta(seconds=form.seconds)
        made.save(update_fields=["expires_at"])
    return as_file(made)


def refuse_packed(file: BinaryIO) -> None:
    """OpenAI takes JSONL as it is; unpacking is for the page of the datasets."""
    head = file.read(32)
    file.seek(0)
    if packed.kind_of(head) and (problem := recognise(head)):
        raise not_jsonl(problem.message)


def no_line_is_json(made: DatasetFile) -> bool:
    if made.status != DatasetFile.Status.ERROR:
        return False
    return made.rows == sum(each["count"] for each in made.problems if each["kind"] == "not_json")


def not_jsonl(why: str) -> ApiError:
    return ApiError(f"Expected file to have JSONL format, where every line is a JSON dictionary. {why}", param="file")


def refuse_purpose(purpose: str) -> None:
    if purpose in PURPOSES_TO_COME:
        message = f"Files with the purpose '{purpose}' are not served yet by Hone; it takes 'fine-tune'."
        raise ApiError(message, param="purpose", code="not_served")
    if purpose != "fine-tune":
        raise ApiError(f"'{purpose}' is not a purpose; Hone takes 'fine-tune'.", param="purpose", code="invalid_value")


@router.get("/files", response=schemas.FileList)
def list_files(
    request: HttpRequest,
    purpose: str | None = None,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
) -> dict[str, Any]:
    """Newest first unless `order=asc`."""
    rows = complete_files(request)
    if purpose:
        rows = rows.filter(purpose=purpose)
    found, more = page(rows, after=after, limit=limit, order=order)
    data = [as_file(row) for row in found]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": more, "first_id": first, "last_id": last}


@router.get("/files/{file_id}", response=schemas.File)
def retrieve_file(request: HttpRequest, file_id: str) -> dict[str, Any]:
    return as_file(find_file(request, file_id))


@router.delete("/files/{file_id}", response=schemas.Deleted)
def delete_file(request: HttpRequest, file_id: str) -> dict[str, Any]:
    """Frees the disk. Refused while a job that has not ended needs the file."""
    files.delete(find_file(request, file_id))
    return {"id": file_id, "object": "file"}


@router.get("/files/{file_id}/content", openapi_extra={"responses": {200: {"content": BINARY}}})
def file_content(request: HttpRequest, file_id: str) -> StreamingHttpResponse:
    """The bytes as they were uploaded; a result file is plain CSV."""
    row = find_file(request, file_id)
    if not row.path.exists():
        message = f"The content of {file_id} is no longer on the server's disk."
        raise ApiError(message, status=404, param="id", code="content_missing")
    if row.path.is_dir():
        message = f"{file_id} is a folder of the server and has no single content."
        raise ApiError(message, param="id", code="folder")
    response = StreamingHttpResponse(read_in_chunks(row.path), content_type="application/octet-stream")
    response["Content-Length"] = str(row.path.stat().st_size)
    response["Content-Disposition"] = f'attachment; filename="{row.id}"'
    return response


async def read_in_chunks(path: Path) -> AsyncIterator[bytes]:
    """Under ASGI a plain iterator would be read into memory as a whole."""
    with await asyncio.to_thread(path.open, "rb") as source:
        while chunk := await asyncio.to_thread(source.read, CHUNK_BYTES):
            yield chunk


def complete_files(request: HttpRequest) -> "QuerySet[DatasetFile]":
    """The project's files that have arrived and have not expired."""
    rows = DatasetFile.objects.of(request.project)  # type: ignore[attr-defined]
    alive = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return rows.filter(alive).exclude(status=DatasetFile.Status.UPLOADING)


def find_file(request: HttpRequest, file_id: str) -> DatasetFile:
    """404 in OpenAI's words for a file that is not there or belongs to another project."""
    row = complete_files(request).filter(pk=file_id).first()
    if row is None:
        raise ApiError(f"No such File object: {file_id}", status=404, param="id")
    return row


def as_file(row: DatasetFile) -> dict[str, Any]:
    checked = row.status != DatasetFile.Status.UPLOADED
    return {
        "id": row.id,
        "bytes": row.bytes,
        "created_at": int(row.created_at.timestamp()),
        "expires_at": row.expires_at and int(row.expires_at.timestamp()),
        "filename": row.filename,
        "purpose": row.purpose,
        "status": row.status,
        "status_details": row.status_details or None,
        "format": row.format or None,
        "rows": row.rows if checked else None,
        "problem_count": row.problem_count,
    }
