"""What came from OpenAI: the history of a job beside its row, and the checkpoints whose weights stayed there."""

from typing import Any

from django.db import models
from django.utils import timezone

from training.models import Checkpoint, TrainingJob, new_checkpoint_id

REINFORCEMENT = "reinforcement"


class ImportedJob(models.Model):
    """OpenAI's account of a job. The job's own row holds what every page reads, and the recipe of a rerun in our terms:
    its base model is the local one that OpenAI's was mapped to."""

    job = models.OneToOneField(TrainingJob, on_delete=models.CASCADE, primary_key=True, related_name="imported")
    model = models.CharField(max_length=250)  # what it was trained from, in OpenAI's words
    base = models.CharField(max_length=250)  # OpenAI's base model under it
    fine_tuned_model = models.CharField(max_length=250, blank=True, db_index=True)
    answer = models.JSONField(default=dict)  # the job object as OpenAI told it last
    start_job = models.ForeignKey(
        TrainingJob, on_delete=models.SET_NULL, null=True, blank=True, related_name="continued_at_openai"
    )
    notes = models.JSONField(default=list, blank=True)  # sentences: what could not come, what a rerun does otherwise
    imported_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.job_id

    @property
    def method(self) -> str:
        """supervised, dpo or reinforcement."""
        return str((self.answer.get("method") or {}).get("type") or "supervised")

    @property
    def can_rerun(self) -> bool:
        return self.method != REINFORCEMENT

    @property
    def organization(self) -> str:
        return str(self.answer.get("organization_id") or "")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """As OpenAI told them; it leaves the older field empty for other methods than supervised."""
        of_method = (self.answer.get("method") or {}).get(self.method) or {}
        return of_method.get("hyperparameters") or self.answer.get("hyperparameters") or {}


class ImportedCheckpoint(models.Model):
    """Figures of a checkpoint whose weights stayed at OpenAI: it can be looked at, not asked."""

    id = models.CharField(primary_key=True, max_length=60, default=new_checkpoint_id, editable=False)  # OpenAI's
    job = models.ForeignKey(TrainingJob, on_delete=models.CASCADE, related_name="imported_checkpoints")
    name = models.CharField(max_length=250, db_index=True)
    step = models.IntegerField()
    metrics = models.JSONField(default=dict)  # OpenAI's names
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-created_at", "-step"]

    def __str__(self) -> str:
        return self.name


def local_reruns(job: TrainingJob) -> list[Checkpoint]:
    """The models that reruns of an imported job have made here, the newest first."""
    made = Checkpoint.objects.filter(job__parent=job, final_name__isnull=False, job__status="succeeded")
    return list(made.select_related("job", "base_model").order_by("-created_at"))
