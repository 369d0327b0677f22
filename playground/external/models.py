"""Models that somebody else serves: a colleague's server or a vendor, behind any OpenAI-compatible address."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from accounts.sealed import seal, unseal

PREFIX = "ext_"


def new_external_id() -> str:
    return new_id(PREFIX, 16)


class ExternalModelQuerySet(models.QuerySet["ExternalModel"]):
    def of(self, project: Project) -> "ExternalModelQuerySet":
        return self.filter(project=project)

    def kept(self) -> "ExternalModelQuerySet":
        return self.filter(removed_at=None)


class ExternalModel(models.Model):
    """One model of somebody else's server. Columns and answers name it by its id; a removed one only gives its name
    to old comparisons: its key is wiped and nothing asks it any more."""

    id = models.CharField(primary_key=True, max_length=40, default=new_external_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="external_models")
    name = models.CharField(max_length=80)  # here
    base_url = models.CharField(max_length=500)  # without the last slash, e.g. https://api.example.com/v1
    model = models.CharField(max_length=250)  # its name there
    sealed = models.TextField(blank=True)  # the key, encrypted; empty: that server wants none
    hint = models.CharField(max_length=20, blank=True)  # the key's last characters
    input_price = models.FloatField(null=True, blank=True)  # of 1M tokens, in HONE_PRICE_CURRENCY
    output_price = models.FloatField(null=True, blank=True)
    tested = models.JSONField(null=True, blank=True)  # the last test: {"at", "ok", "words"}
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects = ExternalModelQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], condition=models.Q(removed_at=None), name="one_external_model_per_name"
            )
        ]

    def __str__(self) -> str:
        return self.name

    def keep_key(self, secret: str) -> None:
        """Encrypts it; an empty one means none. Four last characters are shown, of a long key only."""
        self.sealed = seal(secret) if secret else ""
        self.hint = f"…{secret[-4:]}" if len(secret) >= 16 else ""

    @property
    def key(self) -> str:
        """Raises Unreadable."""
        return unseal(self.sealed) if self.sealed else ""

    @property
    def tested_at(self) -> datetime | None:
        return datetime.fromisoformat(self.tested["at"]) if self.tested else None

    def cost(self, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
        """Of one answer; None when its prices or its tokens are not known."""
        if self.input_price is None or self.output_price is None or None in (prompt_tokens, completion_tokens):
            return None
        assert prompt_tokens is not None and completion_tokens is not None
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6
