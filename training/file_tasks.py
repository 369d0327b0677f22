"""Work on whole dataset files: small ones at once, larger ones by a worker, with progress on a row (FileTask).

What a kind does is a function `do(task, progress) -> result`; it may leave files in `task.folder` and must be able to
begin anew.
"""

import logging
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import User
from training import notify
from training.models import DatasetFile, FileTask
from training.workers import holder_is_gone, new_claim, stopping

log = logging.getLogger(__name__)
Status = FileTask.Status

DONE_AT_ONCE_BYTES: Final = 1 << 20
PROGRESS_SECONDS: Final = 0.5
# kind -> module and function, imported when it is needed
DOERS: Final = {
    "repeats": ("training.repeats.work", "find_repeats"),
    "leaks": ("training.repeats.work", "find_leaks"),
    "prompts": ("training.repeats.work", "find_prompts"),
    "remove": ("training.repeats.removing", "do"),
    "split": ("training.splits", "do"),
    "tokens": ("training.token_counts", "do"),
}
Progress = Callable[[float], None]


class Stopped(Exception):
    """The worker ends, or another has taken over."""


def ask(
    file: DatasetFile,
    kind: str,
    *,
    key: str = "",
    asked: dict[str, Any] | None = None,
    other: DatasetFile | None = None,
    user: User | None = None,
    size: int | None = None,
    again: bool = False,
) -> FileTask:
    """The task, begun where there is none, where something else was asked before, or `again`. Files of `size` bytes
    (the file's own, if not given) up to a megabyte are done before this returns."""
    asked = asked or {}
    with transaction.atomic():
        task, made = FileTask.objects.select_for_update().get_or_create(
            file=file, kind=kind, key=key, defaults={"asked": asked, "other": other, "created_by": user}
        )
        if not made and not task.is_busy and (again or task.asked != asked):
            task.asked, task.created_by, task.created_at, made = asked, user, timezone.now(), True
            task.status, task.share, task.message, task.result = Status.WAITING, 0.0, "", {}
            task.started_at = task.finished_at = task.heartbeat_at = None
            task.claim = ""
            task.save()
    if made and (file.bytes if size is None else size) <= DONE_AT_ONCE_BYTES:
        run(task.pk)
        task.refresh_from_db()
    elif made:
        from training import tasks

        transaction.on_commit(lambda: tasks.wake(tasks.do_file_task, task.pk))
    return task


def waiting() -> list[FileTask]:
    """Tasks that no living worker does."""
    expired = timezone.now() - timedelta(seconds=settings.HONE_LEASE_SECONDS)
    return [
        task
        for task in FileTask.objects.unfinished().select_related("file", "other").order_by("created_at")
        if not task.claim or not task.heartbeat_at or task.heartbeat_at < expired or holder_is_gone(task.claim)
    ]


# ---- doing it ----


def run(task_id: str) -> None:
    """One task; a second delivery of the same message finds it claimed and leaves."""
    task = next((each for each in waiting() if each.pk == task_id), None)
    claim = new_claim()
    if task is None or not FileTask.objects.filter(pk=task.pk, claim=task.claim, heartbeat_at=task.heartbeat_at).update(
        claim=claim, started_at=timezone.now(), heartbeat_at=timezone.now(), status=Status.RUNNING, share=0.0
    ):
        return
    task.claim = claim
    shutil.rmtree(task.folder, ignore_errors=True)
    try:
        module, name = DOERS[task.kind]
        result = getattr(import_module(module), name)(task, _Heartbeat(task))
    except Stopped:
        FileTask.objects.filter(pk=task.pk, claim=claim).update(claim="", status=Status.WAITING)
    except ApiError as error:
        _finish(task, Status.FAILED, message=error.message)
    except FileNotFoundError:
        _finish(task, Status.FAILED, message="The file is gone from the disk. Upload it again.")
    except Exception:
        log.exception("%s of %s failed", task.kind, task.file_id)
        _finish(task, Status.FAILED, message="This failed; the reason stands in the worker's log. Try it again.")
    else:
        _finish(task, Status.DONE, result=result, share=1.0)


def _finish(task: FileTask, status: str, **columns: Any) -> None:
    mine = FileTask.objects.filter(pk=task.pk, claim=task.claim)
    mine.update(status=status, finished_at=timezone.now(), claim="", **columns)
    notify.project_changed(task.file.project_id)


class _Heartbeat:
    """Writes the progress to the row, twice a second at most, and keeps the claim alive by it."""

    def __init__(self, task: FileTask) -> None:
        self.task, self.next = task, time.monotonic() + PROGRESS_SECONDS

    def __call__(self, share: float) -> None:
        """Raises Stopped."""
        if stopping.is_set():
            raise Stopped
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + PROGRESS_SECONDS
        mine = FileTask.objects.filter(pk=self.task.pk, claim=self.task.claim)
        if not mine.update(share=share, heartbeat_at=timezone.now()):
            raise Stopped
        notify.project_changed(self.task.file.project_id)
