"""One project's own limits. Nothing in a column: the server's default (HONE_PROJECT_...); 0: no limit."""

from django.conf import settings
from django.db import models

from accounts.models import Project


class Quota(models.Model):
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="quota")
    jobs = models.PositiveIntegerField(null=True, blank=True)  # that train at the same time
    waiting = models.PositiveIntegerField(null=True, blank=True)  # that are checked or queued
    disk_gb = models.FloatField(null=True, blank=True)
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    changed_at = models.DateTimeField(auto_now=True)
