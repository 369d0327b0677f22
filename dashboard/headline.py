"""The one sentence on top of a job's page: is it learning?"""

from statistics import fmean

from dashboard.templatetags.figures import loss
from training.job_log import queue_text
from training.models import Checkpoint, TrainingJob

TREND_ROWS = 20


def headline(job: TrainingJob) -> str:
    """Plain words, no full stop."""
    match job.status:
        case "validating_files":
            return "Checking the files"
        case "queued":
            return _queued(job)
        case "running":
            return _running(job)
        case "paused":
            return f"Paused at step {job.step:,} of {job.total_steps:,}"
        case "succeeded":
            return _succeeded(job)
        case "cancelled":
            return f"Stopped at step {job.step:,} of {job.total_steps:,}" if job.step else "Stopped before it began"
        case _:
            return f"Failed at step {job.step:,} of {job.total_steps:,}" if job.step else "Failed before it began"


def _queued(job: TrainingJob) -> str:
    if not job.queued_at:
        return "Waiting in the queue"
    return queue_text(TrainingJob.objects.ahead_of(job).count())


def _running(job: TrainingJob) -> str:
    judged = _judged(job)
    if judged:
        return f"Learning: {_verdict(judged)}" if judged[-1] is _best(judged) else f"Past its best: {_verdict(judged)}"
    if job.step < 2:
        return f"{job.phase or job.status_text or 'starting'}".capitalize()
    first, last = _mean_loss(job, "step"), _mean_loss(job, "-step")
    if first is None or last is None:
        return "Training"
    if job.step < 2 * TREND_ROWS:
        return f"Training: loss {loss(last)} so far"
    trend = "down from" if last < first else "not below"
    return f"{'Learning' if last < first else 'Not learning yet'}: training loss {loss(last)}, {trend} {loss(first)}"


def _succeeded(job: TrainingJob) -> str:
    judged = _judged(job)
    if judged and job.status_text.startswith("Stopped early"):
        found = f"best validation loss {loss(_best(judged).full_valid_loss)} at step {_best(judged).step:,}"
        return f"Stopped early at step {job.step:,} of {job.total_steps:,}: {found}"
    if not judged:
        last = _mean_loss(job, "-step")
        return f"Finished: training loss {loss(last)}, never validated" if last is not None else "Finished"
    best = _best(judged)
    if best is judged[-1]:
        return f"Finished: validation loss {loss(best.full_valid_loss)}, the last epoch is the best"
    return f"Finished: best validation loss {loss(best.full_valid_loss)} at {best.when}; later epochs are worse"


def _judged(job: TrainingJob) -> list[Checkpoint]:
    """Checkpoints with a loss over the whole validation set, oldest first."""
    return list(job.checkpoints.exclude(full_valid_loss=None).order_by("step"))


def _best(judged: list[Checkpoint]) -> Checkpoint:
    return min(judged, key=lambda checkpoint: checkpoint.full_valid_loss or 0.0)


def _verdict(judged: list[Checkpoint]) -> str:
    last, best = judged[-1], _best(judged)
    words = f"validation loss {loss(last.full_valid_loss)}, best at {best.when}"
    if len(judged) == 1:
        return f"validation loss {loss(last.full_valid_loss)} after {last.when}"
    return f"{words}, still falling" if last is best else f"{words} ({loss(best.full_valid_loss)}), rising since"


def _mean_loss(job: TrainingJob, order: str) -> float | None:
    rows = max(1, min(TREND_ROWS, job.step // 5))  # a short run is judged by its last steps, not by half of it
    values = job.metrics.exclude(train_loss=None).order_by(order).values_list("train_loss", flat=True)[:rows]
    return fmean(values) if values else None
