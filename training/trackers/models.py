"""Which jobs are tracked where, and the key of a project for that."""

from typing import Any

from django.db import models
from django.utils import timezone

from accounts.models import Project
from accounts.sealed import seal, unseal


class TrackerKey(models.Model):
    """A project's key for Weights & Biases. Encrypted; people see its last characters."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="wandb_key")
    sealed = models.TextField()
    hint = models.CharField(max_length=20)
    created_at = models.DateTimeField(default=timezone.now)

    @classmethod
    def store(cls, project: Project, secret: str) -> "TrackerKey":
        values = {"sealed": seal(secret), "hint": f"…{secret[-4:]}", "created_at": timezone.now()}
        return cls.objects.update_or_create(project=project, defaults=values)[0]

    @property
    def secret(self) -> str:
        """Raises Unreadable."""
        return unseal(self.sealed)


class Tracker(models.Model):
    """A job's wish to be tracked; how far it is stands in the run folder."""

    class Kind(models.TextChoices):
        WANDB = "wandb", "Weights & Biases"
        TENSORBOARD = "tensorboard", "TensorBoard"

    job = models.ForeignKey("training.TrainingJob", on_delete=models.CASCADE, related_name="trackers")
    kind = models.CharField(max_length=20, choices=Kind)
    wish = models.JSONField(default=dict, blank=True)  # WandbWish; empty for TensorBoard
    finished_at = models.DateTimeField(null=True, blank=True)  # everything was handed over, or it was given up

    class Meta:
        ordering = ["kind"]
        constraints = [models.UniqueConstraint(fields=["job", "kind"], name="one_tracker_of_a_kind_per_job")]

    @property
    def integration(self) -> dict[str, Any]:
        """As it was asked for, in the words of the API."""
        return {"type": self.kind, **({"wandb": self.wish | {"run_id": self.job_id}} if self.kind == "wandb" else {})}
