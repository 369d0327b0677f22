"""The rows of refusal checks: which checkpoint was asked what it should refuse, and what a project does with a drop."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.models import Project
from playground.matrix.models import Matrix
from training.models import Checkpoint


class RefusalCheck(models.Model):
    """One checkpoint beside the weights its job started from, on one set of prompts; the answers are the matrix's."""

    checkpoint = models.OneToOneField(Checkpoint, on_delete=models.CASCADE, related_name="refusal_check")
    matrix = models.ForeignKey(Matrix, on_delete=models.CASCADE, related_name="refusal_checks")
    against = models.CharField(max_length=250)  # lasting name of the weights before
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)


class RefusalPolicy(models.Model):
    """What a project does before a name is pointed at a checkpoint that refuses less. Without a row: warn."""

    class Promotion(models.TextChoices):
        OFF = "off", "Do nothing"
        WARN = "warn", "Warn"
        BLOCK = "block", "Refuse the promotion"

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="refusal_policy")
    promotion = models.CharField(max_length=8, choices=Promotion, default=Promotion.WARN)
