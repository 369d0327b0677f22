"""Large files that arrive piece by piece, and go on where they were after a broken line or another day.

Beside them, `files.create_file` takes a file in one go.
"""

import fcntl
import os
import shutil
import time

from accounts.errors import ApiError
from accounts.models import Project, User
from training import home, notify
from training.checks import CHECKED_AT_ONCE_BYTES
from training.disk import disk_errors, free_bytes, no_room, refuse_too_large, sha256_of, write_all
from training.files import arrived, clean_name, remove
from training.models import DatasetFile
from training.quotas import limits

Status = DatasetFile.Status

CHUNK_BYTES = 8 << 20
STILL_SECONDS = 20.0  # without a byte: the page says how it goes on
SPARE_BYTES = 64 << 20  # left free on the disk for everything else


def begin_upload(
    project: Project, user: User | None, filename: str, size: int, modified: int = 0, purpose: str = "fine-tune"
) -> DatasetFile:
    """A row that grows by `append_chunk`. A file begun before (same name, size and time) goes on where it was."""
    filename = clean_name(filename)
    if size <= 0:
        raise ApiError(f"{filename} is empty. Choose a file with one JSON object on each line.", param="bytes")
    refuse_too_large(size, filename)
    uploading = DatasetFile.objects.of(project).filter(status=Status.UPLOADING, filename=filename, bytes=size)
    for file in uploading:
        if file.statistics.get("modified", 0) == modified and file.part_path.exists():
            return file
    limits.refuse_bytes(project, size, f"{filename} was not stored")
    free = free_bytes()
    if free < size + SPARE_BYTES:
        raise no_room(filename, size)
    file = DatasetFile.objects.create(
        project=project,
        created_by=user,
        filename=filename,
        purpose=purpose,
        bytes=size,
        status=Status.UPLOADING,
        statistics={"modified": modified},
    )
    with disk_errors(filename):
        home.file_folder(file.id).mkdir(parents=True, exist_ok=True)
        file.part_path.touch()
    notify.project_changed(file.project_id)
    return file


class WrongOffset(ApiError):
    """The client and the server differ about how much has arrived; `size` is the server's answer."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"{size} bytes have arrived; go on from there.", status=409, param="offset", code="wrong_offset"
        )
        self.size = size


def append_chunk(file: DatasetFile, offset: int, data: bytes) -> int:
    """Returns the size now. Raises WrongOffset when the chunk does not continue what has arrived."""
    if file.status != Status.UPLOADING:
        raise ApiError(f"{file.filename} is complete already.", status=409, code="upload_complete")
    try:
        with disk_errors(file.filename), file.part_path.open("r+b", buffering=0) as part:
            fcntl.flock(part, fcntl.LOCK_EX)  # two tabs with the same file take turns
            size = part.seek(0, os.SEEK_END)
            if offset != size:
                raise WrongOffset(size)
            if size + len(data) > file.bytes:
                raise ApiError(f"{file.filename} was announced with {file.bytes} bytes; this is more.", param="offset")
            write_all(part, data)
            return size + len(data)
    except FileNotFoundError:
        raise ApiError("This upload was cancelled. Choose the file again.", status=404, code="upload_gone") from None
    except ApiError as error:
        if error.code == "disk_full":
            shutil.rmtree(home.file_folder(file.id), ignore_errors=True)  # first: the database needs room, too
            remove(file)
        raise


def stands_still(file: DatasetFile) -> bool:
    """Nothing has arrived for a while, and something is missing."""
    if received_bytes(file) >= file.bytes:
        return False
    try:
        moved_at = file.part_path.stat().st_mtime
    except OSError:  # nothing has arrived at all
        moved_at = file.created_at.timestamp()
    return time.time() - moved_at > STILL_SECONDS


def received_bytes(file: DatasetFile) -> int:
    return file.part_path.stat().st_size if file.part_path.exists() else 0


def finish_upload(file: DatasetFile) -> DatasetFile:
    """All bytes are here: give the file its place and have it checked."""
    if file.status != Status.UPLOADING:
        return file  # asked twice
    size = received_bytes(file)
    if size != file.bytes:
        raise WrongOffset(size)
    if size < CHECKED_AT_ONCE_BYTES:
        file.sha256 = sha256_of(file.part_path)
    file.statistics = {}
    return arrived(file)
