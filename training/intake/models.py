"""The row of a dataset that is being made: of a table, of other datasets, of a file on the hub."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project

SILENT = timedelta(seconds=60)  # without a sign of life: whoever made it is gone


def new_making_id() -> str:
    return new_id("making-")


class MakingQuerySet(models.QuerySet["Making"]):
    def of(self, project: Project) -> "MakingQuerySet":
        return self.filter(project=project)

    def unfinished(self) -> "MakingQuerySet":
        return self.filter(status__in=["waiting", "working"])

    def left_alone(self) -> "MakingQuerySet":
        """That no living worker is at."""
        return self.unfinished().filter(beat_at__lt=timezone.now() - SILENT)


class Making(models.Model):
    """What was asked for and how far it is; the dataset itself remembers what it was made of."""

    class Kind(models.TextChoices):
        MAPPED = "mapped", "Mapping columns"
        COMBINED = "combined", "Combining"
        HUB = "hub", "Downloading"

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        WORKING = "working", "Working"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    id = models.CharField(primary_key=True, max_length=40, default=new_making_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="makings")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    kind = models.CharField(max_length=20, choices=Kind)
    name = models.CharField(max_length=255)  # of the dataset it will be
    asked = models.JSONField(default=dict)  # what each kind needs, see making.py
    source = models.ForeignKey(
        "training.DatasetFile", on_delete=models.CASCADE, null=True, blank=True, related_name="makings"
    )
    made = models.ForeignKey("training.DatasetFile", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    status = models.CharField(max_length=20, choices=Status, default=Status.WAITING)
    share = models.FloatField(default=0.0)  # 0..1
    message = models.TextField(blank=True)  # why it failed
    created_at = models.DateTimeField(default=timezone.now)
    beat_at = models.DateTimeField(default=timezone.now)

    objects = MakingQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name

    def tell(self, **columns: Any) -> None:
        Making.objects.filter(pk=self.pk).update(beat_at=timezone.now(), **columns)
