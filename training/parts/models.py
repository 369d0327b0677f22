"""Rows of an upload in parts, and of each part that has arrived."""

from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from training import home

LIFETIME = timedelta(hours=1)


def new_upload_id() -> str:
    return new_id("upload_")


def new_part_id() -> str:
    return new_id("part_")


def an_hour_from_now() -> object:
    return timezone.now() + LIFETIME


class UploadQuerySet(models.QuerySet["Upload"]):
    def of(self, project: Project) -> "UploadQuerySet":
        return self.filter(project=project)


class Upload(models.Model):
    """`file` is set when the parts were put together. One that nobody completed within the hour is `expired`."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        COMPLETED = "completed", "Completed"
        CANCELLED = "cancelled", "Cancelled"

    id = models.CharField(primary_key=True, max_length=40, default=new_upload_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="uploads")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=40)
    mime_type = models.CharField(max_length=100, blank=True)
    bytes = models.BigIntegerField()  # as announced
    keep_seconds = models.PositiveIntegerField(null=True, blank=True)  # expiry of the file, from its creation
    status = models.CharField(max_length=20, choices=Status, default=Status.PENDING)
    file = models.ForeignKey("training.DatasetFile", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(default=an_hour_from_now)

    objects = UploadQuerySet.as_manager()

    def __str__(self) -> str:
        return self.filename

    @property
    def state(self) -> str:
        """pending, completed, cancelled or expired."""
        if self.status == self.Status.PENDING and self.expires_at <= timezone.now():
            return "expired"
        return str(self.status)

    @property
    def folder(self) -> Path:
        return home.upload_folder(self.id)


class UploadPart(models.Model):
    """Its bytes lie in the upload's folder under its id."""

    id = models.CharField(primary_key=True, max_length=40, default=new_part_id, editable=False)
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    bytes = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.id

    @property
    def path(self) -> Path:
        return self.upload.folder / self.id
