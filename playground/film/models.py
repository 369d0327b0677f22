"""The rows of a film strip: which prompts are pinned to a job, and what each of its weights answered."""

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from training.models import Checkpoint, TrainingJob


class Film(models.Model):
    """The pinned prompts of one job. Without a row nothing was chosen yet; an empty list was chosen to be empty."""

    job = models.OneToOneField(TrainingJob, on_delete=models.CASCADE, related_name="film")
    prompts = models.JSONField(default=list)  # of playground.film.prompts.Pinned, in the order of the page
    open = models.BooleanField(default=True)  # a frame is missing, or may still come
    now = models.BooleanField(default=False)  # a person asked for what is missing: it does not wait for training


class Frame(models.Model):
    """What one checkpoint answered; without one, the weights that the job starts from.

    `answers`: by Pinned.key, {"text", "stop", "error"?}; without "stop" the answer is still growing.
    """

    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="frames")
    checkpoint = models.ForeignKey(Checkpoint, on_delete=models.CASCADE, null=True, blank=True, related_name="frames")
    answers = models.JSONField(default=dict)
    failure = models.TextField(blank=True)  # why these weights cannot answer at all
    asked_at = models.DateTimeField(null=True, blank=True)  # loaded for this frame alone: put away when it is answered
    woken_at = models.DateTimeField(null=True, blank=True)  # when a worker was last told
    claim = models.CharField(max_length=40, blank=True)  # token of the worker that answers
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "checkpoint"], name="one_frame_per_checkpoint"),
            models.UniqueConstraint(fields=["job"], condition=Q(checkpoint=None), name="one_first_frame_per_job"),
        ]

    def answer_to(self, key: str) -> dict[str, Any] | None:
        """Finished or not; None: not begun."""
        return self.answers.get(key)

    def has_answered(self, key: str) -> bool:
        return bool(self.answers.get(key, {}).get("stop"))
