"""The validations of the whole set of a job, whether their weights were kept or not."""

from dataclasses import dataclass

from training.models import TrainingJob


@dataclass(frozen=True)
class Judged:
    """One validation of the whole set."""

    step: int
    loss: float
    when: str  # 'epoch 3', or 'step 7' on the way
    kept: bool  # there is a checkpoint of these weights


def judged(job: TrainingJob) -> list[Judged]:
    """Oldest first. The curves know those too whose weights were never saved, or are deleted."""
    saved = dict(job.checkpoints.values_list("step", "full_valid_loss"))
    kept = set(saved)
    if hasattr(job, "imported"):  # kept at OpenAI
        kept |= set(job.imported_checkpoints.values_list("step", flat=True))
    losses = {step: loss for step, loss in saved.items() if loss is not None}
    losses |= dict(job.metrics.filter(full_valid_loss__isnull=False).values_list("step", "full_valid_loss"))
    return [Judged(step, losses[step], _when(job, step), step in kept) for step in sorted(losses)]


def best_of(found: list[Judged]) -> Judged | None:
    """The lowest loss, of equals the earlier."""
    return min(found, key=lambda each: each.loss, default=None)


def _when(job: TrainingJob, step: int) -> str:
    each = (job.started_json or {}).get("steps_per_epoch")
    return f"epoch {step // each}" if each and step % each == 0 else f"step {step:,}"
