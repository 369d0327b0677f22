"""Versions of a dataset. Each is a file of its own that never changes; those of one dataset share `family`.

Whatever is done to a dataset (repaired, redacted, sampled, ...) makes another version with `new_version`; the version
before it stays, and so do the jobs that were trained on it.
"""

import shutil
from collections.abc import Callable
from typing import Any, BinaryIO

from django.db import IntegrityError, transaction
from django.db.models import Max

from accounts.errors import ApiError
from accounts.models import User
from training import home
from training.disk import disk_errors, free_bytes, no_room, refuse_too_large, sha256_of
from training.files import arrived, clean_name
from training.models import DatasetFile
from training.quotas import limits
from training.uploads import SPARE_BYTES

TRIES = 10  # for a number, while others make versions of the same dataset


def new_version(
    file: DatasetFile,
    *,
    kind: str,
    words: str,
    user: User | None,
    write: Callable[[BinaryIO], None],
    filename: str = "",
    **figures: Any,
) -> DatasetFile:
    """What `write` writes, as the next version of the dataset that `file` is a version of; checked as any file is.

    `kind` and `words` (one plain sentence of what was done) stand in its `origin`, and so do the `figures`. Made twice
    from the same version in the same way, the first one is returned. Raises ApiError when nothing would change
    (`same_content`), nothing is left (`no_rows`), the project may not keep as much again as `file` holds
    (`quota_exceeded`), or the disk is full; then nothing is kept.
    """
    made = DatasetFile(
        project=file.project,
        created_by=user,
        filename=clean_name(filename or file.filename),
        family=file.family,
        parent=file,
        origin={"kind": kind, "words": words, **figures},
        status=DatasetFile.Status.UPLOADING,
        expires_at=file.expires_at,
    )
    limits.refuse_bytes(file.project, file.bytes, f"The next version of {file.filename} was not made")
    folder = home.file_folder(made.id)
    try:
        if free_bytes() < file.bytes + SPARE_BYTES:
            raise no_room(made.filename, file.bytes)
        with disk_errors(made.filename):
            folder.mkdir(parents=True, exist_ok=True)
            with made.part_path.open("wb") as part:
                write(part)
            made.bytes, made.sha256 = made.part_path.stat().st_size, sha256_of(made.part_path)
        refuse_too_large(made.bytes, made.filename)
        twin = _the_same(file, made)
        if twin is None:
            return arrived(made, save=lambda: _save_numbered(made))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return twin


def _the_same(file: DatasetFile, made: DatasetFile) -> DatasetFile | None:
    """The version made of this one before, with the same bytes. Raises ApiError where `made` is nothing new."""
    if not made.bytes:
        raise ApiError("No row would be left, so no version was made.", param="file", code="no_rows")
    if made.sha256 == (file.sha256 or sha256_of(file.path)):
        text = f"Nothing would change: {file.filename} stays as it is, and no version was made."
        raise ApiError(text, param="file", code="same_content")
    siblings = DatasetFile.objects.of_family(file).filter(parent=file, sha256=made.sha256)
    return next((each for each in siblings if each.origin.get("kind") == made.origin["kind"]), None)


def next_number(file: DatasetFile) -> int:
    """Of the next version of its dataset: never one that was given before, to a version deleted since."""
    given = DatasetFile.objects.of_family(file).aggregate(Max("version"), Max("last_version"))
    return max(number or 0 for number in given.values()) + 1


def _save_numbered(made: DatasetFile) -> None:
    """Under the next number; another process may take it first."""
    family = DatasetFile.objects.of_family(made)
    for tries_left in reversed(range(TRIES)):
        made.version = made.last_version = next_number(made)
        try:
            with transaction.atomic():
                made.save(force_insert=True)
                family.update(last_version=made.version)
            return
        except IntegrityError:
            if not tries_left:
                raise
