"""The row of work on a whole dataset file: asked for by a page, done by a worker, with progress and what came out."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from training import home

TELLING_SHARE = 0.02  # what must be done before the rest can be foretold
TELLING_SECONDS = 3.0


def new_file_task_id() -> str:
    return new_id("work-")


class FileTaskQuerySet(models.QuerySet["FileTask"]):
    def of(self, project: Project) -> "FileTaskQuerySet":
        return self.filter(file__project=project)

    def unfinished(self) -> "FileTaskQuerySet":
        return self.filter(finished_at=None)


class FileTask(models.Model):
    """One for each file, kind and key; asked for otherwise than before, it is done anew (file_tasks.py)."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting for a worker"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    id = models.CharField(primary_key=True, max_length=40, default=new_file_task_id, editable=False)
    file = models.ForeignKey("training.DatasetFile", on_delete=models.CASCADE, related_name="tasks")
    other = models.ForeignKey(  # that it is compared with
        "training.DatasetFile", on_delete=models.CASCADE, null=True, blank=True, related_name="compared_in"
    )
    kind = models.CharField(max_length=20)  # a key of file_tasks.DOERS
    key = models.CharField(max_length=64, blank=True)  # tells tasks of one kind apart: the other file's id, say
    asked = models.JSONField(default=dict)
    status = models.CharField(max_length=20, choices=Status, default=Status.WAITING)
    share = models.FloatField(default=0.0)  # progress, 0..1
    message = models.TextField(blank=True)  # why it failed, for people
    result = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)  # by the worker that does it now
    finished_at = models.DateTimeField(null=True, blank=True)
    claim = models.CharField(max_length=80, blank=True)  # token of the worker that does it
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    objects = FileTaskQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["file", "kind", "key"], name="one_task_per_file_kind_and_key")]

    def __str__(self) -> str:
        return self.id

    @property
    def folder(self) -> Path:
        """Where it may leave files; it goes with the file."""
        return home.file_folder(self.file_id) / "tasks" / self.pk

    @property
    def is_busy(self) -> bool:
        return self.status in (self.Status.WAITING, self.Status.RUNNING)

    @property
    def seconds_left(self) -> float | None:
        """By how fast it came so far; None until that tells anything."""
        if self.status != self.Status.RUNNING or not self.started_at or not self.heartbeat_at:
            return None
        spent = (self.heartbeat_at - self.started_at).total_seconds()
        if self.share < TELLING_SHARE or spent < TELLING_SECONDS:
            return None
        return max(0.0, spent * (1 - self.share) / self.share)

    @property
    def figures(self) -> dict[str, Any]:
        """What came out, once it is done."""
        return self.result if self.status == self.Status.DONE else {}
