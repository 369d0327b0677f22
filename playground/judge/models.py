"""A model that judges the pairs that people judge: its runs, and what it said. Never mixed into people's votes."""

import hashlib

from django.conf import settings
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Project
from playground.campaigns.models import Campaign
from playground.matrix.models import Matrix


def new_run_id() -> str:
    return new_id("jdg_", 16)


class JudgeRunQuerySet(models.QuerySet["JudgeRun"]):
    def of(self, project: Project) -> "JudgeRunQuerySet":
        return self.filter(project=project)


class JudgeRun(models.Model):
    """One model under one rubric. Of a campaign it judges what people judged there, of a bare matrix each column
    against the first."""

    class State(models.TextChoices):
        RUNNING = "running", "Judging"
        DONE = "done", "Done"
        CANCELLED = "cancelled", "Cancelled"
        FAILED = "failed", "Failed"

    id = models.CharField(primary_key=True, max_length=40, default=new_run_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judge_runs")
    matrix = models.ForeignKey(Matrix, on_delete=models.CASCADE, related_name="judge_runs")
    campaign = models.ForeignKey(Campaign, on_delete=models.CASCADE, null=True, blank=True, related_name="judge_runs")
    model = models.CharField(max_length=250)  # its lasting name
    rubric = models.TextField()
    state = models.CharField(max_length=12, choices=State, default=State.RUNNING)
    trouble = models.TextField(blank=True)  # why it failed, for people
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    woken_at = models.DateTimeField(null=True, blank=True)  # when a worker was last told
    claim = models.CharField(max_length=80, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)

    objects = JudgeRunQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    @property
    def rubric_key(self) -> str:
        return hashlib.sha256(self.rubric.encode()).hexdigest()[:16]


class JudgeVerdict(models.Model):
    """What one model said of two frozen answers in one order. Kept: another run that asks the same finds it here."""

    class Choice(models.TextChoices):
        LEFT = "left", "The first"
        RIGHT = "right", "The second"
        TIE = "tie", "Tie"
        UNREADABLE = "", "Not readable"  # the reply was neither the JSON nor the letter that was asked for

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judge_verdicts")
    model = models.CharField(max_length=250)
    rubric = models.CharField(max_length=16)  # JudgeRun.rubric_key
    prompt = models.CharField(max_length=16)  # Prompt.key
    left = models.CharField(max_length=64)  # contender keys in the order in which it read them
    right = models.CharField(max_length=64)
    choice = models.CharField(max_length=5, choices=Choice, blank=True)
    reply = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "model", "rubric", "prompt", "left", "right"], name="one_verdict_per_question"
            )
        ]
