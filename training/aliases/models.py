"""Names of a team's own ("support-bot") that point at a model, and the history of what they pointed at."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import Project
from training.models import BaseModel, Checkpoint


class AliasQuerySet(models.QuerySet["Alias"]):
    def of(self, project: Project) -> "AliasQuerySet":
        return self.filter(project=project)


class Alias(models.Model):
    """A name that the API answers to. Its newest promotion says what it means."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=250)
    created_at = models.DateTimeField(default=timezone.now)

    objects = AliasQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="one_alias_per_name")]

    def __str__(self) -> str:
        return self.name

    @property
    def current(self) -> "Promotion":
        return self.promotions.all()[0]


class Promotion(models.Model):
    """One time the alias was pointed at a model. The model's name stays when the model is deleted."""

    alias = models.ForeignKey(Alias, on_delete=models.CASCADE, related_name="promotions")
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.SET_NULL, null=True, blank=True)
    base_model = models.ForeignKey(BaseModel, on_delete=models.SET_NULL, null=True, blank=True)
    model_name = models.CharField(max_length=250)
    reason = models.CharField(max_length=500, blank=True)
    promoted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    promoted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-promoted_at", "-pk"]

    @property
    def target(self) -> BaseModel | Checkpoint | None:
        return self.checkpoint or self.base_model
