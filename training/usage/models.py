"""Rows of what was used, and of what a project pays for it and may use of it."""

from django.conf import settings
from django.db import models

from accounts.models import ApiKey, Project
from training.models import BaseModel, TrainingJob

FIGURES = (
    *("requests", "prompt_tokens", "cached_tokens", "completion_tokens"),
    *("trained_tokens", "file_tokens", "device_seconds"),
)


class UsageQuerySet(models.QuerySet["Usage"]):
    def of(self, project: Project) -> "UsageQuerySet":
        return self.filter(project=project)


class Usage(models.Model):
    """What one key or person used of one model in one hour. Two processes that write at once may leave two rows of the
    same hour: sums are right all the same."""

    class Kind(models.TextChoices):
        CHAT = "chat", "Chat"  # these two, and moderation, by the API
        COMPLETION = "completion", "Completions"
        PLAYGROUND = "playground", "Playground"
        CAMPAIGN = "campaign", "Matrices and campaigns"  # answers for judges, of judges, of pinned prompts
        TRAINING = "training", "Training"
        MODERATION = "moderation", "Moderation"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="usage")
    hour = models.DateTimeField()  # its beginning
    kind = models.CharField(max_length=20, choices=Kind)
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    job = models.ForeignKey(TrainingJob, on_delete=models.SET_NULL, null=True, blank=True, related_name="usage")
    model = models.CharField(max_length=250)  # as it was named when it was used
    base = models.CharField(max_length=120, blank=True)  # name of its base model, whose prices hold
    requests = models.BigIntegerField(default=0)  # that were answered
    prompt_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)  # of the prompts, those that need not be read again
    completion_tokens = models.BigIntegerField(default=0)
    trained_tokens = models.BigIntegerField(default=0)  # learned from, as the API tells it of a job
    file_tokens = models.BigIntegerField(default=0)  # of the training file, each epoch anew: what is priced
    device_seconds = models.FloatField(default=0)  # of training, times the devices

    objects = UsageQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["project", "hour"], name="usage_by_hour")]


class ModelTerms(models.Model):
    """What a project pays for a base model and all that was fine-tuned from it, and how much of it it may ask a minute.
    What is empty is as the server's settings say."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="terms")
    base_model = models.ForeignKey(BaseModel, on_delete=models.CASCADE, related_name="+")
    training_price = models.FloatField(null=True, blank=True)  # of a million tokens, in HONE_PRICE_CURRENCY
    input_price = models.FloatField(null=True, blank=True)
    output_price = models.FloatField(null=True, blank=True)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "base_model"], name="one_terms_a_project_and_base")]
