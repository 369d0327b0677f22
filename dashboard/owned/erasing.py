"""Deleting a project for good: its rows, its files, its run folders, its takeaway.

What is to leave the disk is written down before the rows go, and struck off when it has gone: a crash in between is
finished by the next server that starts (`finish`).
"""

import json
import logging
import shutil
from pathlib import Path

from django.db import connection, transaction

from accounts import first_start
from accounts.errors import ApiError
from accounts.models import Project
from dashboard.owned import belonging, takeaway
from playground.models import Campaign, Matrix
from training import home
from training.intake import making
from training.intake.models import Making
from training.models import Checkpoint, DatasetFile, TrainingJob, Upload
from training.permissions import granting

log = logging.getLogger(__name__)


def summary(project: Project) -> dict[str, int]:
    """What would go, for the question before it: how many of each kind, and the bytes on the disk."""
    return {
        "datasets": DatasetFile.objects.of(project).datasets().count(),
        "jobs": TrainingJob.objects.of(project).count(),
        "campaigns": Campaign.objects.filter(project=project).count(),
        "bytes": sum(home.size_of(place) for place in _folders(project)),
    }


def erase(project: Project) -> None:
    """Everything of it, at once. Raises ApiError while one of its jobs has a process."""
    busy = [job.display_name for job in TrainingJob.objects.of(project).exclude(claim="")[:3]]
    if busy:
        text = f"{', '.join(busy)} is still at work. Cancel it, wait until it has stopped, then delete the project."
        raise ApiError(text, status=409, code="project_busy")
    doomed = [str(place.relative_to(home.home())) for place in _folders(project)]
    note = _notes() / f"{project.pk}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"project": project.pk, "folders": doomed}))
    _overwrite_what_is_deleted()
    with transaction.atomic():
        granting.tell_of_deletion(Checkpoint.objects.of(project))
        # these two are kept from vanishing under what uses them, so what uses them goes first
        Campaign.objects.filter(project=project).delete()
        Matrix.objects.filter(project=project).delete()
        for model in belonging.paths():
            belonging.rows(model, project).order_by().delete()
        Project.objects.filter(pk=project.pk).delete()
        transaction.on_commit(_empty_the_log)
        transaction.on_commit(lambda: _free(note))


def _overwrite_what_is_deleted() -> None:
    """SQLite would leave the bytes of deleted rows in its file until the place is used again."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA secure_delete = ON")


def _empty_the_log() -> None:
    """Of SQLite's writes, which holds the rows as they were."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _folders(project: Project) -> list[Path]:
    files = [home.file_folder(pk) for pk in DatasetFile.objects.of(project).values_list("pk", flat=True)]
    runs = [home.run_folder(pk) for pk in TrainingJob.objects.of(project).values_list("pk", flat=True)]
    makings = [making.folder(pk) for pk in Making.objects.of(project).values_list("pk", flat=True)]
    uploads = [home.upload_folder(pk) for pk in Upload.objects.of(project).values_list("pk", flat=True)]
    path, key = first_start.local_key()
    dead = [path] if key and key.project_id == project.pk else []  # the next start makes one of another project
    return [*files, *runs, *makings, *uploads, takeaway.folder(project), *_server_logs(project), *dead]


def _server_logs(project: Project) -> list[Path]:
    """Full weights have a server of their own, and it a log, with older ones beside it."""
    names = {name for pair in Checkpoint.objects.of(project).values_list("step_name", "final_name") for name in pair}
    logs = [home.server_log(name) for name in names if name]
    return [path for log in logs for path in log.parent.glob(f"{log.name}*")]


def _notes() -> Path:
    return home.home() / "erasing"


def finish() -> int:
    """What a crash left of projects whose rows are gone; returns how many."""
    done = 0
    for note in sorted(_notes().glob("*.json")):
        if Project.objects.filter(pk=note.stem).exists():
            note.unlink(missing_ok=True)  # the rows were kept, so the folders are
        else:
            _free(note)
            done += 1
    return done


def _free(note: Path) -> None:
    """Takes the folders off the disk, then the note."""
    for name in json.loads(note.read_text())["folders"]:
        place = home.home() / name
        if place.is_file():
            place.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        if place.exists():
            log.error("%s could not be removed; it is tried again at the next start", place)
            return
    note.unlink(missing_ok=True)
