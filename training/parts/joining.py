"""Begin, take a part, put the parts together, give up."""

import hashlib
import io
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from django.db.models import Sum
from django.utils import timezone

from accounts import audit
from accounts.errors import ApiError
from accounts.models import Project, User
from training import files
from training.disk import disk_errors, free_bytes, no_room, refuse_too_large, write
from training.files import clean_name
from training.locks import only_one
from training.models import DatasetFile
from training.parts.models import Upload, UploadPart
from training.quotas import limits

LARGEST_PART = 64 << 20
SPARE_BYTES = 64 << 20  # left free on the disk for everything else
Status = Upload.Status


def begin(
    project: Project,
    user: User | None,
    filename: str,
    purpose: str,
    size: int,
    mime_type: str,
    keep_seconds: int | None = None,
) -> Upload:
    """Refused at once when the whole could not be stored: parts and file lie side by side for a moment."""
    filename = clean_name(filename)
    refuse_too_large(size, filename)
    limits.refuse_bytes(project, size, f"{filename} was not stored")
    if free_bytes() < 2 * size + SPARE_BYTES:
        raise no_room(filename, 2 * size)
    return Upload.objects.create(
        project=project,
        created_by=user,
        filename=filename,
        purpose=purpose,
        mime_type=mime_type,
        bytes=size,
        keep_seconds=keep_seconds,
    )


def add_part(upload: Upload, data: BinaryIO, size: int) -> UploadPart:
    """Parts may come at once and twice: the order, and which ones count, is said at the end."""
    refuse_unless_pending(upload)
    if not size:
        raise ApiError("The part is empty.", param="data")
    if size > LARGEST_PART:
        raise ApiError(f"A part holds at most {LARGEST_PART >> 20} MB; this one has {size:,} bytes.", param="data")
    here = _held_bytes(upload)
    if here + size > 2 * max(upload.bytes, LARGEST_PART):  # a part that was sent again is not a mistake, many are
        text = f"The parts sent so far hold {here:,} bytes, far more than the {upload.bytes:,} bytes announced."
        raise ApiError(text, param="data")
    part = UploadPart(upload=upload, bytes=size)
    with disk_errors(upload.filename):
        part.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(data, part.path, upload.filename)
        except BaseException:
            part.path.unlink(missing_ok=True)
            raise
    part.save()
    return part


def complete(upload: Upload, part_ids: Sequence[str], md5: str | None = None) -> DatasetFile:
    """The file of the parts in this order; asked again, the file that was made. After an ApiError the upload is as it
    was: a part can be sent again, another order given."""
    if upload.status == Status.COMPLETED and upload.file:
        return upload.file
    refuse_unless_pending(upload)
    with only_one(upload.folder / "lock") as mine:
        if not mine:
            text = "This upload is being put together just now."
            raise ApiError(text, status=409, code="upload_in_progress", headers={"x-should-retry": "true"})
        upload.refresh_from_db()
        if upload.status == Status.COMPLETED and upload.file:
            return upload.file
        refuse_unless_pending(upload)
        paths = _in_order(upload, part_ids)
        if md5 is not None and (here := _md5_of(paths)) != md5.strip().lower():
            text = f"The parts hold a file whose MD5 is {here}, not {md5}. Send them again."
            raise ApiError(text, param="md5", code="checksum_mismatch")
        file = files.create_file(
            upload.project,
            upload.created_by,
            upload.filename,
            upload.purpose,
            io.BufferedReader(_Joined(paths), 1 << 20),
            upload.keep_seconds,
            counted_bytes=_held_bytes(upload),
        )
        upload.status, upload.file = Status.COMPLETED, file
        upload.save(update_fields=["status", "file"])
    free_parts(upload)
    return file


def cancel(upload: Upload) -> Upload:
    """Asked again, nothing happens."""
    if upload.status != Status.CANCELLED:
        refuse_unless_pending(upload)
        upload.status = Status.CANCELLED
        upload.save(update_fields=["status"])
        free_parts(upload)
    return upload


def refuse_unless_pending(upload: Upload) -> None:
    if upload.state != "pending":
        why = {"expired": "has expired: begin a new one", "completed": "is completed", "cancelled": "was cancelled"}
        raise ApiError(f"Upload {upload.id} {why[upload.state]}.", param="upload_id", code=f"upload_{upload.state}")


def free_parts(upload: Upload) -> None:
    upload.parts.all().delete()
    shutil.rmtree(upload.folder, ignore_errors=True)


def remove_stale() -> int:
    """Parts of uploads that nobody completed in time; returns how many uploads lost theirs."""
    late = Upload.objects.filter(status=Status.PENDING, expires_at__lt=timezone.now(), parts__isnull=False).distinct()
    for upload in late:
        free_parts(upload)
        words = f"Removed the parts of the upload {upload.filename}: nobody completed it in time"
        audit.by_hone(words, project=upload.project, kind="upload", object_id=upload.pk)
    return len(late)


def _held_bytes(upload: Upload) -> int:
    return upload.parts.aggregate(total=Sum("bytes"))["total"] or 0


def _in_order(upload: Upload, part_ids: Sequence[str]) -> list[Path]:
    parts = {part.id: part for part in upload.parts.all()}
    for place, part_id in enumerate(part_ids):
        if part_id not in parts:
            raise ApiError(f"No such part in upload {upload.id}: {part_id}", param=f"part_ids[{place}]")
        if part_id in part_ids[:place]:
            raise ApiError(f"Part {part_id} is named twice.", param=f"part_ids[{place}]")
    total = sum(parts[part_id].bytes for part_id in part_ids)
    if total != upload.bytes:
        text = f"The parts named hold {total:,} bytes; {upload.bytes:,} were announced when the upload was created."
        raise ApiError(text, param="part_ids", code="upload_incomplete")
    return [parts[part_id].path for part_id in part_ids]


def _blocks(paths: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        with path.open("rb") as part:
            while block := part.read(1 << 20):
                yield block


def _md5_of(paths: Sequence[Path]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for block in _blocks(paths):
        digest.update(block)
    return digest.hexdigest()


class _Joined(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._blocks, self._left = _blocks(paths), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        self._left = self._left or next(self._blocks, b"")
        taken = self._left[: len(buffer)]
        buffer[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)
