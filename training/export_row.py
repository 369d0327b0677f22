"""The row of an export: a checkpoint's adapter merged into its base, made by a worker on request."""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project


def new_export_id() -> str:
    return new_id("export-")


class ExportQuerySet(models.QuerySet["Export"]):
    def of(self, project: Project) -> "ExportQuerySet":
        return self.filter(project=project)

    def unfinished(self) -> "ExportQuerySet":
        return self.filter(finished_at=None)


class Export(models.Model):
    """One for each checkpoint; asked for again after a failure, it begins anew."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Waiting"
        RUNNING = "running", "Merging"
        SUCCEEDED = "succeeded", "Ready"
        FAILED = "failed", "Failed"

    id = models.CharField(primary_key=True, max_length=40, default=new_export_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="exports")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    checkpoint = models.OneToOneField("training.Checkpoint", on_delete=models.CASCADE, related_name="export")
    status = models.CharField(max_length=20, choices=Status, default=Status.QUEUED)
    message = models.TextField(blank=True)  # why it failed
    report_json = models.JSONField(null=True, blank=True)  # ExportReport: how near the merged weights are
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    claim = models.CharField(max_length=40, blank=True)  # token of the worker that makes it
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    objects = ExportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                name="finished_exports_have_a_time",
                condition=Q(status__in=["succeeded", "failed"], finished_at__isnull=False)
                | Q(status__in=["queued", "running"], finished_at=None),
            )
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def report(self) -> dict[str, Any]:
        return self.report_json or {}
