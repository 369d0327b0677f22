"""Files of a project: taken in, renamed, removed. Large ones arrive by uploads.py; what is in one is told by checks.py.

On disk each file has a folder of its own (training.home): `content.part` while it arrives, `content` when it is
complete, `lines.idx` with the place of every thousandth line.
"""

import io
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.errors import ApiError
from accounts.models import Project, User
from training import home, notify
from training.checks import have_checked
from training.disk import disk_errors, sha256_of, write
from training.engine import text
from training.engine.errors import InvalidTrainingFile
from training.models import DatasetFile, TrainingJob, TrainingJobQuerySet
from training.quotas import limits

Status = DatasetFile.Status
RESULTS = "fine-tune-results"

STALE_UPLOAD = timedelta(days=7)
UNBORN = timedelta(days=1)
VALIDATION_NAME = re.compile(r"(?<![a-z])(valid|eval|test|held)")
SAMPLES = Path(__file__).parent / "samples"
SAMPLE_TASKS = ("ticket", "tone", "steer", "pairs")


# ---- taking files in ----


def create_file(
    project: Project,
    user: User | None,
    filename: str,
    purpose: str,
    source: BinaryIO | bytes,
    expires_after: dict[str, Any] | int | None = None,
    *,
    counted_bytes: int = 0,
    **given: Any,
) -> DatasetFile:
    """A whole file at once. Small ones are checked before this returns, larger ones by the worker.

    `counted_bytes`: what the quota counts already and is freed afterwards, such as parts of an upload; `given`: columns
    of a file that had them elsewhere, such as its id."""
    if "id" in given and DatasetFile.objects.filter(pk=given["id"]).exists():
        raise ApiError(f"There is a file {given['id']} already.", status=409, code="file_exists")
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    file = DatasetFile(
        **given,
        project=project,
        created_by=user,
        filename=clean_name(filename),
        purpose=purpose,
        status=Status.UPLOADING,
        expires_at=_expiry(expires_after),
    )
    if purpose != RESULTS:  # a finished job's figures, a few kilobytes that nobody could make again
        limits.refuse_bytes(project, _length(stream), f"{file.filename} was not stored", counted=counted_bytes)
    folder = home.file_folder(file.id)
    try:
        with disk_errors(file.filename):
            folder.mkdir(parents=True, exist_ok=True)
            file.bytes, file.sha256 = write(stream, file.part_path, file.filename)
        file.save()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return arrived(file)


def _length(stream: BinaryIO) -> int:
    """Bytes in it, where it can tell; 0 where it cannot."""
    if not (hasattr(stream, "seekable") and stream.seekable()):
        return 0
    here = stream.tell()
    length = stream.seek(0, io.SEEK_END) - here
    stream.seek(here)
    return length


def add_folder(project: Project, user: User | None, folder: str) -> DatasetFile:
    """A folder of shards as a dataset, read where it lies. Only folders below HONE_TEXT_FOLDERS can be named: whoever
    may add one may read it. Raises ApiError."""
    path = Path(folder.strip()).resolve()
    allowed = [Path(root).expanduser().resolve() for root in settings.HONE_TEXT_FOLDERS]
    if not any(path.is_relative_to(root) for root in allowed) or not path.is_dir():
        among = ", ".join(map(str, allowed)) or "none; set HONE_TEXT_FOLDERS"
        raise ApiError(f"{folder} is no folder below those that may be read here ({among}).", param="folder")
    try:
        size = text.size_bytes(path)
    except InvalidTrainingFile as error:
        raise ApiError(error.message, param="folder") from error
    file = DatasetFile(project=project, created_by=user, filename=clean_name(path.name), bytes=size)
    home.file_folder(file.id).mkdir(parents=True)
    file.path.symlink_to(path, target_is_directory=True)
    file.save()
    have_checked(file)
    return file


def arrived(file: DatasetFile, save: Callable[[], object] | None = None) -> DatasetFile:
    """The part file becomes the content; datasets are checked now or by the worker. `save` writes the row its way."""
    if file.purpose != "fine-tune":
        file.status = Status.PROCESSED
        file.sha256 = file.sha256 or sha256_of(file.part_path)
    else:
        file.status = Status.UPLOADED
    file.part_path.replace(file.path)
    try:
        (save or file.save)()
    except Exception:  # not known to the database, so not there yet: finishing it can be tried again
        file.path.replace(file.part_path)
        raise
    notify.project_changed(file.project_id)
    if file.status == Status.UPLOADED:
        have_checked(file)
    return file


def clean_name(filename: str) -> str:
    """The last part of a path, printable, at most 200 characters."""
    name = PurePath(filename.replace("\\", "/")).name
    name = "".join(letter for letter in name if letter.isprintable()).strip()
    return name[-200:] or "dataset.jsonl"


def _expiry(expires_after: dict[str, Any] | int | None) -> Any:
    if not expires_after:
        return None
    seconds = expires_after["seconds"] if isinstance(expires_after, dict) else expires_after
    return timezone.now() + timedelta(seconds=int(seconds))


# ---- renaming and deleting ----


@transaction.atomic
def rename(file: DatasetFile, filename: str) -> DatasetFile:
    """All versions of the dataset. One of another kind, such as the table that the rows were mapped from, keeps its
    ending, which tells how it is read. Raises ApiError."""
    if not filename.strip():
        raise ApiError("A file needs a name.", param="filename")
    name, ending = clean_name(filename), PurePath(file.filename).suffix
    file.filename = name
    for each in DatasetFile.objects.of_family(file).only("filename", "family"):
        own = PurePath(each.filename).suffix
        renamed = name if own == ending or each.pk == file.pk else f"{PurePath(name).stem}{own}"
        DatasetFile.objects.filter(pk=each.pk).update(filename=renamed)
    notify.project_changed(file.project_id)
    return file


def expire(file: DatasetFile, days: int | None) -> DatasetFile:
    """It is removed by itself after so many days, though never while a job needs it; None keeps it for good."""
    file.expires_at = _expiry(days * 86_400 if days else None)
    file.save(update_fields=["expires_at"])
    notify.project_changed(file.project_id)
    return file


def jobs_using(file: DatasetFile) -> TrainingJobQuerySet:
    return TrainingJob.objects.of(file.project).filter(Q(training_file=file) | Q(validation_file=file))


def is_validation(file: DatasetFile) -> bool:
    """Whether it is rather validated with than trained on: by the jobs of all its versions, else by its name."""
    return validations([file])[file.pk]


def validations(files: Sequence[DatasetFile]) -> dict[str, bool]:
    """The same of several, by id."""
    families = {file.family for file in files}
    trains, validates = (
        Counter(
            TrainingJob.objects.filter(**{f"{part}__family__in": families}).values_list(f"{part}__family", flat=True)
        )
        for part in ("training_file", "validation_file")
    )
    return {file.pk: _is_validation(file, trains[file.family], validates[file.family]) for file in files}


def _is_validation(file: DatasetFile, trains: int, validates: int) -> bool:
    return validates > trains if validates or trains else bool(VALIDATION_NAME.search(file.filename.lower()))


def offspring(file: DatasetFile) -> set[str]:
    """Families of the datasets that were made of any version of it, and of those in turn."""
    found, newest = set[str](), {file.family}
    while newest:
        made = DatasetFile.objects.of(file.project).datasets().filter(parent__family__in=newest)
        newest = set(made.values_list("family", flat=True)) - found - {file.family}
        found |= newest
    return found


def delete(file: DatasetFile) -> None:
    """Removes the row and its bytes. Refused while a job that has not ended needs the file."""
    waiting = list(jobs_using(file).unfinished()[:3])
    if waiting:
        names = ", ".join(job.display_name for job in waiting)
        raise ApiError(
            f"{file.filename} is needed by a job that has not ended ({names}). Cancel it or wait for its end.",
            status=409,
            param="file_id",
            code="file_in_use",
        )
    remove(file)


@transaction.atomic
def remove(file: DatasetFile) -> None:
    """What was made of it keeps in `origin` what it was made of."""
    folder = home.file_folder(file.id)
    project_id = file.project_id
    for child in DatasetFile.objects.select_for_update().filter(parent=file):
        child.origin["made_of"] = f"version {file.version}" if child.family == file.family else file.filename
        child.save(update_fields=["origin"])
    DatasetFile.objects.filter(pk=file.pk).delete()
    transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
    notify.project_changed(project_id)


def remove_stale() -> int:
    """Uploads nobody went on with for a week, and files past their expiry; returns how many went."""
    now = timezone.now()
    stale = DatasetFile.objects.filter(
        Q(status=Status.UPLOADING, created_at__lt=now - STALE_UPLOAD) | Q(expires_at__lt=now)
    )
    gone = 0
    for file in stale:
        if not jobs_using(file).unfinished().exists():
            remove(file)
            gone += 1
            why = "nobody went on with its upload" if file.status == Status.UPLOADING else "its time was up"
            audit.by_hone(
                f"Deleted dataset {file.filename}: {why}", project=file.project, kind="dataset", object_id=file.pk
            )
    return gone


def remove_unborn() -> int:
    """Half files without a row, a day old: whoever wrote them was killed. A folder with a whole file in it is never
    touched, whatever the database knows of it. Returns how many went."""
    gone = 0
    for part in home.file_folder("").glob("file-*/content.part"):
        folder = part.parent
        with suppress(OSError):  # another process may be at it, too
            fresh = time.time() - part.stat().st_mtime < UNBORN.total_seconds()
            if (
                not fresh
                and not (folder / "content").exists()
                and not DatasetFile.objects.filter(pk=folder.name).exists()
            ):
                shutil.rmtree(folder)
                gone += 1
    return gone


# ---- sample data ----


def ensure_samples(project: Project) -> list[DatasetFile]:
    """The sample tasks as files of this project, those that are missing are made; train and valid of each task."""
    there = {(file.sample_task, file.filename): file for file in project.files.exclude(sample_task="")}
    files = []
    for task in reversed(SAMPLE_TASKS):  # the newest stands first in lists: ticket
        for part in ("valid", "train"):  # the training file last, so that it stands first in the list
            name = f"{task}-{part}.jsonl"
            file = there.get((task, name))
            if file is None:
                with (SAMPLES / task / f"{part}.jsonl").open("rb") as source:
                    file = create_file(project, None, name, "fine-tune", source)
                file.sample_task = task
                file.save(update_fields=["sample_task"])
            files.append(file)
    return files
