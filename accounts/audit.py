"""The audit log: who changed what, when, from where, and how it ended. Rows outlive what they speak of."""

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, models, transaction
from django.http import HttpRequest
from django.utils import timezone

logger = logging.getLogger(__name__)


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def newest(self) -> "AuditQuerySet":
        return self.order_by("-pk")

    def matching(
        self,
        *,
        who: Collection[str] = (),
        kind: str = "",
        text: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> "AuditQuerySet":
        """Each condition that is given; `text` is looked for in the sentence and the id, `until` is not included."""
        found = self.filter(who__in=who) if who else self
        found = found.filter(kind=kind) if kind else found
        for word in text.split():
            found = found.filter(models.Q(words__icontains=word) | models.Q(object_id__icontains=word))
        found = found.filter(created_at__gte=since) if since else found
        return found.filter(created_at__lt=until) if until else found


class AuditEntry(models.Model):
    """One change, or one download of data. Holds names and ids as text, never what was sent."""

    class Outcome(models.TextChoices):
        DONE = "done", "Done"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    HONE = "Hone"  # who: the server itself, by the clock or by a command of manage.py

    project = models.ForeignKey("accounts.Project", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    user = models.ForeignKey("accounts.User", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    who = models.CharField(max_length=254)  # the person's e-mail as it was then, or HONE
    key_hint = models.CharField(max_length=20, blank=True)  # where a program came with a key of theirs
    key_name = models.CharField(max_length=120, blank=True)
    address = models.CharField(max_length=45, blank=True)
    agent = models.CharField(max_length=60, blank=True)
    action = models.CharField(max_length=60)  # the name of the route, or of the command
    kind = models.CharField(max_length=20)  # of dashboard.audit.objects.KINDS
    object_id = models.CharField(max_length=200, blank=True)
    words = models.CharField(max_length=400)
    outcome = models.CharField(max_length=10, choices=Outcome, default=Outcome.DONE)
    reason = models.CharField(max_length=60, blank=True)  # why not, as a code

    objects = AuditQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="audit_newest"),
            models.Index(fields=["project", "who", "-id"], name="audit_of_somebody"),
            models.Index(fields=["created_at"], name="audit_old"),
        ]

    def __str__(self) -> str:
        return self.words


def write(**columns: Any) -> None:
    """One insert. What cannot be written (a full disk) is told to the server's log and breaks nothing."""
    for field in AuditEntry._meta.concrete_fields:
        if isinstance(field, models.CharField) and field.name in columns:
            columns[field.name] = str(columns[field.name])[: field.max_length]
    try:
        with transaction.atomic():
            AuditEntry.objects.create(**columns)
    except DatabaseError:
        logger.exception("not in the audit log: %s: %s", columns.get("who"), columns.get("words"))


def by_hone(
    words: str, *, project: Any = None, kind: str = "server", object_id: str = "", action: str = "clock"
) -> None:
    """What the server did by itself, or what somebody at its command line had it do."""
    write(project=project, who=AuditEntry.HONE, words=words, kind=kind, object_id=object_id, action=action)


def tell(request: HttpRequest, words: str = "", **known: Any) -> None:
    """From a view: what the address does not tell of this change. `words`: the sentence, with its verb in front ("make
    API key ..."); `project`, `user`, `refused` (a code); the rest are objects that the sentence of the route names."""
    request.audit_told = getattr(request, "audit_told", {}) | known | ({"words": words} if words else {})  # type: ignore[attr-defined]


def tell_one(request: HttpRequest, *, refused: str = "", **known: Any) -> None:
    """From a view that changes several things at once: a row for this one of them, done or `refused` (a code), whatever
    became of the others. `known`: the objects that the sentence of the route names."""
    told = {"refused": refused, **known}
    request.audit_each = [*getattr(request, "audit_each", ()), told]  # type: ignore[attr-defined]


def tell_nothing(request: HttpRequest) -> None:
    """From a view that found everything as it was asked to make it, such as a repeated request: no row."""
    request.audit_nothing = True  # type: ignore[attr-defined]


def remove_old(now: datetime | None = None) -> int:
    """Rows of days that are HONE_AUDIT_DAYS past; 0 keeps all. Returns how many went."""
    if not settings.HONE_AUDIT_DAYS:
        return 0
    today = (now or timezone.now()).replace(hour=0, minute=0, second=0, microsecond=0)
    old = AuditEntry.objects.filter(created_at__lt=today - timedelta(days=settings.HONE_AUDIT_DAYS))
    counted = list(old.order_by().values_list("project").annotate(models.Count("pk")))
    for project_id, rows in counted:
        old.filter(project=project_id).delete()
        text = f"Removed {rows:,} rows of this log that were older than {settings.HONE_AUDIT_DAYS} days"
        write(project_id=project_id, who=AuditEntry.HONE, words=text, kind="audit", action="clock")
    return sum(rows for _, rows in counted)
