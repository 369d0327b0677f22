"""Bytes on the disk that holds HONE_HOME: written in full or refused, with words for a disk that is full."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

from accounts.errors import ApiError, is_disk_full
from training import home, texts


def write(stream: BinaryIO, path: Path, filename: str) -> tuple[int, str]:
    """Returns size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as part:
        while block := stream.read(1 << 20):
            size += len(block)
            refuse_too_large(size, filename)
            digest.update(block)
            write_all(part, block)
        os.fsync(part.fileno())
    return size, digest.hexdigest()


def write_all(part: Any, data: bytes) -> None:
    """An unbuffered write may take only a part, just before the disk is full."""
    left = memoryview(data)
    while left:
        left = left[part.write(left) :]


def sha256_of(path: Path) -> str:
    """Of a folder's shards: over their names, sizes and times, since they may be far too large to be read for this."""
    if path.is_dir():
        return texts.folder_sha256(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes() -> int:
    """On the disk that holds HONE_HOME."""
    return shutil.disk_usage(home.home()).free


def refuse_too_large(size: int, filename: str) -> None:
    limit = int(settings.HONE_MAX_FILE_GB * 1e9)
    if size > limit:
        raise ApiError(
            f"{filename} is larger than this server takes ({limit / 1e9:g} GB). Split it, or raise HONE_MAX_FILE_GB.",
            status=413,
            param="file",
            code="file_too_large",
        )


def no_room(filename: str, needed: int | None = None) -> ApiError:
    wants = f" It needs {needed / 1e6:,.0f} MB." if needed else ""
    return ApiError(
        f"The disk of this server is full: {filename} was not stored, and nothing of it was kept."
        f"{wants} {free_bytes() / 1e6:,.0f} MB are free under HONE_HOME. Delete files or jobs, then try again.",
        status=507,
        type="server_error",
        code="disk_full",
    )


@contextmanager
def disk_errors(filename: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise no_room(filename) from error
        raise
