"""A base model and checkpoints as rows, without weights, for the playground's tests."""

from django.utils import timezone

from accounts.models import Project
from tests import makers
from training.models import BaseModel, Checkpoint, TrainingJob


def make_base(name: str = "SmolLM2-135M-Instruct", title: str = "SmolLM2 135M Instruct") -> BaseModel:
    return BaseModel.objects.create(
        name=name, title=title, source="folder", source_id="/nowhere", status=BaseModel.Status.READY
    )


def make_checkpoint(project: Project, base: BaseModel, *, epoch: int = 1, suffix: str = "ticket") -> Checkpoint:
    """The checkpoint of an epoch of one job with this suffix, which is made when it is not there."""
    job, _ = TrainingJob.objects.get_or_create(
        project=project,
        suffix=suffix,
        defaults={
            "base_model": base,
            "colour": 4,
            "status": TrainingJob.Status.SUCCEEDED,
            "finished_at": timezone.now(),
        },
    )
    return makers.make_checkpoint(job, step=epoch * 10, epoch=epoch, full_valid_loss=1 / epoch)
