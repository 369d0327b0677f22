"""Rows of endpoints, and of what is owed to them."""

from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from accounts.sealed import seal, unseal


def new_endpoint_id() -> str:
    return new_id("we_")


class WebhookEndpointQuerySet(models.QuerySet["WebhookEndpoint"]):
    def of(self, project: Project) -> "WebhookEndpointQuerySet":
        return self.filter(project=project)


class WebhookEndpoint(models.Model):
    """An address that is told. Its signing secret is stored encrypted and shown once; `old_sealed` is the one before,
    which goes on signing until `old_until`."""

    id = models.CharField(primary_key=True, max_length=40, default=new_endpoint_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="webhook_endpoints")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    name = models.CharField(max_length=120)
    url = models.CharField(max_length=1000)
    event_types = models.JSONField(default=list)
    sealed = models.TextField()
    hint = models.CharField(max_length=20)
    old_sealed = models.TextField(blank=True)
    old_until = models.DateTimeField(null=True, blank=True)
    gone = models.BooleanField(default=False)  # it answered 410: nothing more is sent until it is changed
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = WebhookEndpointQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def keep_secret(self, secret: str) -> None:
        self.sealed, self.hint = seal(secret), f"whsec_…{secret[-4:]}"

    def secrets(self, now: datetime) -> list[str]:
        """The present one, and the one before while it still counts. Raises Unreadable."""
        found = [unseal(self.sealed)]
        if self.old_sealed and self.old_until and self.old_until > now:
            found.append(unseal(self.old_sealed))
        return found


class WebhookDelivery(models.Model):
    """One event owed to one endpoint: tried until it is taken or 3 days have gone by. A repeat has the same
    `event_id` and body, so that the receiver can tell."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        GIVEN_UP = "given_up", "Given up"

    endpoint = models.ForeignKey(WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries")
    event_id = models.CharField(max_length=40)
    type = models.CharField(max_length=60)
    body = models.TextField()  # as it is signed and sent
    status = models.CharField(max_length=20, choices=Status, default=Status.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_at = models.DateTimeField(default=timezone.now)  # of the next attempt, while it waits
    said = models.CharField(max_length=300, blank=True)  # the last answer, or why there was none
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [models.Index(fields=["status", "next_at"], name="webhook_due")]
