"""What was found in a dataset that should not be in it, and who decided what becomes of it."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import Project
from accounts.sealed import seal, unseal
from training.models import DatasetFile
from training.safety import guards

WHOLE_KIND = 0  # the line of a decision about every find of a kind


class SafetyScan(models.Model):
    """One look through a file; what it found stands in the file's folder, counted here."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting for a worker"
        RUNNING = "running", "Being looked through"
        DONE = "done", "Looked through"
        FAILED = "failed", "Failed"

    file = models.OneToOneField(DatasetFile, on_delete=models.CASCADE, related_name="safety_scan")
    status = models.CharField(max_length=20, choices=Status, default=Status.WAITING)
    trouble = models.TextField(blank=True)
    share = models.FloatField(default=0.0)  # of the file, 0..1
    finders = models.CharField(max_length=20, blank=True)  # their version; a newer one looks again
    counts = models.JSONField(default=dict, blank=True)  # finds by kind
    rows_by_kind = models.JSONField(default=dict, blank=True)
    rows = models.BigIntegerField(default=0)  # with any find
    listed = models.IntegerField(default=0)  # finds that are kept to be shown, the first of the file
    seconds = models.FloatField(default=0.0)
    changed_at = models.DateTimeField(default=timezone.now)  # of its status or share
    making = models.BooleanField(default=False)  # a worker makes a version without what was decided on
    making_trouble = models.TextField(blank=True)

    @property
    def found(self) -> int:
        return sum(self.counts.values())


class SafetyDecision(models.Model):
    """What becomes of one find, or of all finds of a kind. A find's own decision stands above its kind's."""

    class Decision(models.TextChoices):
        KEEP = "keep", "Keep"
        REDACT = "redact", "Redact"
        DROP = "drop", "Drop the row"

    file = models.ForeignKey(DatasetFile, on_delete=models.CASCADE, related_name="safety_decisions")
    kind = models.CharField(max_length=40)
    line = models.BigIntegerField(default=WHOLE_KIND)
    field = models.CharField(max_length=500, blank=True)
    start = models.IntegerField(default=0)  # in the field's text
    decision = models.CharField(max_length=10, choices=Decision)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    decided_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["line", "start", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["file", "kind", "line", "field", "start"], name="one_decision_per_find")
        ]


class ModerationPolicy(models.Model):
    """What a project does about flagged rows, and who flags them. Without a row: warn, by the embedded classifier."""

    class Policy(models.TextChoices):
        OFF = "off", "Off"
        WARN = "warn", "Warn"
        BLOCK = "block", "Block"

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="moderation")
    policy = models.CharField(max_length=10, choices=Policy, default=Policy.WARN)
    base_url = models.CharField(max_length=500, blank=True)  # of another server; empty: somebody here judges
    model = models.CharField(max_length=250, blank=True)  # its name there; without a base URL, in Hone's own list
    guard = models.CharField(max_length=30, blank=True, choices=guards.choices)  # family; empty: no guard model judges
    sealed = models.TextField(blank=True)  # the key, encrypted; empty: that server wants none
    hint = models.CharField(max_length=20, blank=True)  # the key's last characters
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)

    @classmethod
    def of(cls, project: Project) -> "ModerationPolicy":
        """The stored one, or the default, not stored."""
        return cls.objects.filter(project=project).first() or cls(project=project)

    @property
    def is_embedded(self) -> bool:
        """By the classifier that comes with Hone."""
        return not self.base_url and not self.guard

    def keep_key(self, secret: str) -> None:
        """Encrypts it; an empty one means none. Four last characters are shown, of a long key only."""
        self.sealed = seal(secret) if secret else ""
        self.hint = f"…{secret[-4:]}" if len(secret) >= 16 else ""

    @property
    def key(self) -> str:
        """Raises Unreadable."""
        return unseal(self.sealed) if self.sealed else ""


class ModerationCheck(models.Model):
    """What one classifier said about one file. The rows it flagged stand in the file's folder."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting for a worker"
        RUNNING = "running", "Being looked at"
        DONE = "done", "Looked at"
        FAILED = "failed", "Failed"

    file = models.ForeignKey(DatasetFile, on_delete=models.CASCADE, related_name="moderation_checks")
    classifier = models.CharField(max_length=300)  # which one, with its version or address
    sha256 = models.CharField(max_length=64, blank=True)  # of what was looked at
    status = models.CharField(max_length=20, choices=Status, default=Status.WAITING)
    trouble = models.TextField(blank=True)
    share = models.FloatField(default=0.0)
    flagged = models.BigIntegerField(default=0)  # rows
    categories = models.JSONField(default=dict, blank=True)  # flagged rows by category
    seconds = models.FloatField(default=0.0)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["file", "classifier"], name="one_check_by_each_classifier")]
