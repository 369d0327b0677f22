"""The one sentence on top of a job's page: is it learning?"""

from statistics import fmean

from dashboard.judged import Judged, best_of, judged
from dashboard.templatetags.figures import loss
from training import preparation
from training.models import TrainingJob

TREND_ROWS = 20


def headline(job: TrainingJob, places: dict[str, str], found: list[Judged] | None = None) -> str:
    """Plain words, no full stop. `places`: what is said of those in the queue, as of turns.places. `found`: what is
    judged of it, where that is known already."""
    match job.status:
        case "validating_files":
            return "Checking the files"
        case "queued":
            return places.get(job.pk, "Waiting in the queue")
        case "running":
            return _running(job, found)
        case "paused":
            return f"Paused at step {job.step:,} of {job.total_steps:,}"
        case "succeeded":
            return _succeeded(job, found)
        case "cancelled":
            return f"Stopped at step {job.step:,} of {job.total_steps:,}" if job.step else "Stopped before it began"
        case _:
            return f"Failed at step {job.step:,} of {job.total_steps:,}" if job.step else "Failed before it began"


def _running(job: TrainingJob, found: list[Judged] | None) -> str:
    if job.step and _prepares(job):
        return f"Resuming from step {job.step:,}"
    found = judged(job) if found is None else found
    if best := best_of(found):
        return f"{'Learning' if found[-1] is best else 'Past its best'}: {_verdict(found, best)}"
    if not job.step and job.phase == "training":
        return "Training: the first step"
    if job.step < 2:
        return f"{job.phase or job.status_text or 'starting'}".capitalize()
    first, last = _mean_loss(job, "step"), _mean_loss(job, "-step")
    if first is None or last is None:
        return "Training"
    if job.step < 2 * TREND_ROWS:
        return f"Training: loss {loss(last)} so far"
    trend = "down from" if last < first else "not below"
    return f"{'Learning' if last < first else 'Not learning yet'}: training loss {loss(last)}, {trend} {loss(first)}"


def _prepares(job: TrainingJob) -> bool:
    """Claimed, and its trainer has not come to a step yet."""
    return job.phase in preparation.BEFORE_TRAINING or bool(not job.phase and job.status_text)


def _succeeded(job: TrainingJob, found: list[Judged] | None) -> str:
    found = judged(job) if found is None else found
    best = best_of(found)
    if not best:
        last = _mean_loss(job, "-step")
        return f"Finished: training loss {loss(last)}, never validated" if last is not None else "Finished"
    at_end = found[-1].loss
    lost = "" if best.kept else ", its weights not kept"
    if job.status_text.startswith("Stopped early"):
        words = f"Stopped early at step {job.step:,} of {job.total_steps:,}: best validation loss {loss(best.loss)}"
        return f"{words} at {best.when}{lost}" + ("" if best is found[-1] else f"; {loss(at_end)} at the end")
    if best is found[-1]:
        return f"Finished: validation loss {loss(best.loss)}, the last epoch is the best"
    return f"Finished: best validation loss {loss(best.loss)} at {best.when}{lost}; {loss(at_end)} at the end"


def _verdict(found: list[Judged], best: Judged) -> str:
    last = found[-1]
    if len(found) == 1:
        return f"validation loss {loss(last.loss)} after {last.when}"
    words = f"validation loss {loss(last.loss)}, best at {best.when}"
    return f"{words}, still falling" if last is best else f"{words} ({loss(best.loss)}), rising since"


def _mean_loss(job: TrainingJob, order: str) -> float | None:
    rows = max(1, min(TREND_ROWS, job.step // 5))  # a short run is judged by its last steps, not by half of it
    values = job.metrics.exclude(train_loss=None).order_by(order).values_list("train_loss", flat=True)[:rows]
    return fmean(values) if values else None
