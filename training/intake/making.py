"""Datasets that are made here: what was asked for is kept in a row (models.Making), done at once where it is small and
by the worker where it is not, and found again after a crash.
"""

import logging
import shutil
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from django.db import transaction

from accounts.errors import ApiError
from accounts.models import Project, User
from training import home, notify
from training.checks import CHECKED_AT_ONCE_BYTES
from training.files import clean_name
from training.hub import HubError
from training.intake.errors import IntakeError
from training.intake.models import Making
from training.locks import only_one
from training.models import DatasetFile
from training.quotas import limits

log = logging.getLogger(__name__)
Kind, Status = Making.Kind, Making.Status

TELL_SECONDS = 0.5

Progress = Callable[[float], None]
Maker = Callable[[Making, Progress], DatasetFile]


def ask(
    project: Project,
    user: User | None,
    kind: str,
    *,
    name: str,
    asked: dict[str, Any],
    source: DatasetFile | None = None,
    read_bytes: int | None = None,
) -> Making:
    """`read_bytes`: how much has to be read for it; little is done before this returns. None: the worker does it."""
    limits.refuse_bytes(project, 0, f"{name} was not made")
    row = Making.objects.create(
        project=project, created_by=user, kind=kind, name=clean_name(name), asked=asked, source=source
    )
    if read_bytes is not None and read_bytes < CHECKED_AT_ONCE_BYTES:
        make(row.pk)
        row.refresh_from_db()
        return row
    from training import tasks

    transaction.on_commit(lambda: tasks.wake(tasks.make_dataset, row.pk))
    notify.project_changed(project.pk)
    return row


def folder(making_id: str) -> Path:
    """Where what is brought from the hub grows."""
    return home.home() / "makings" / making_id


def again(row: Making) -> None:
    """What failed is tried once more, by the worker."""
    from training import tasks

    Making.objects.filter(pk=row.pk, status=Status.FAILED).update(status=Status.WAITING, message="", share=0.0)
    transaction.on_commit(lambda: tasks.wake(tasks.make_dataset, row.pk))
    notify.project_changed(row.project_id)


def forget(row: Making) -> None:
    """Of a failed one nobody wants any more; what it had brought goes with it."""
    Making.objects.filter(pk=row.pk, status=Status.FAILED).delete()
    shutil.rmtree(folder(row.pk), ignore_errors=True)
    notify.project_changed(row.project_id)


def make(making_id: str) -> None:
    """Body of the actor. What another process is at is left to it; every failure ends as words on the row."""
    lock = folder(making_id).with_suffix(".lock")
    with only_one(lock) as is_mine:
        row = Making.objects.unfinished().filter(pk=making_id).first()
        if not is_mine or row is None:
            return
        row.tell(status=Status.WORKING)
        try:
            made = _made_before(row) or _maker(row.kind)(row, _Telling(row))
        except (IntakeError, ApiError, HubError) as error:
            fix = f". {error.fix}" if isinstance(error, IntakeError) else ""
            row.tell(status=Status.FAILED, message=f"{getattr(error, 'message', error)}{fix}")
        except Exception as error:
            log.exception("making %s failed", row.pk)
            row.tell(status=Status.FAILED, message=f"Unexpected: {error}. The worker's log says more.")
        else:
            row.tell(status=Status.DONE, share=1.0, made=made)
    lock.unlink(missing_ok=True)
    notify.project_changed(row.project_id)


def _maker(kind: str) -> Maker:
    """Loaded when it is needed, since each of them asks for makings itself."""
    module = {Kind.MAPPED: "map_file", Kind.COMBINED: "combine", Kind.HUB: "hub_files"}[Kind(kind)]
    found: Maker = import_module(f"training.intake.{module}").make
    return found


def _made_before(row: Making) -> DatasetFile | None:
    """By a worker that died before it could say so."""
    return DatasetFile.objects.filter(project=row.project_id, origin__making=row.pk).first()


class _Telling:
    """Writes how far it is, and so a sign of life, to the row."""

    def __init__(self, row: Making) -> None:
        self.row, self.next = row, 0.0

    def __call__(self, share: float) -> None:
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + TELL_SECONDS
        self.row.tell(share=min(share, 1.0))
        notify.project_changed(self.row.project_id)
