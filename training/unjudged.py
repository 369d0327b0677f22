"""Why a checkpoint was saved on the way, and why it has no figures over the validation set: in words for the table, the
API and the playground."""

from training.models import Checkpoint, TrainingJob

STOPPED_ITSELF = {"loss_spike": "the training loss jumped", "non_finite_loss": "the loss became no number"}


def saved_because(checkpoint: Checkpoint) -> str:
    """Of the weights before the step for which the job stopped itself; empty for others. Needs the checkpoint's job."""
    job = checkpoint.job
    if job.status != "failed" or job.error_code not in STOPPED_ITSELF or checkpoint.step != job.step:
        return ""
    return f"the weights with which {STOPPED_ITSELF[job.error_code]} in step {job.step + 1:,}, which was not done"


def unjudged_because(checkpoint: Checkpoint) -> str:
    """Without a full stop; empty for one that was judged. Needs the checkpoint's job."""
    job = checkpoint.job
    if checkpoint.full_valid_loss is not None:
        return ""
    if not job.validation_file_name:
        return "the job has no validation file"
    if saved_because(checkpoint):
        return "saved when the job stopped itself"
    before, after = _validations_around(job, checkpoint.step)
    if before and after:
        return f"saved on the way, between the validations at steps {before:,} and {after:,}"
    if after:
        return f"saved on the way, before the first validation at step {after:,}"
    return f"saved after the last validation at step {before:,}" if before else "saved before any validation"


def _validations_around(job: TrainingJob, step: int) -> tuple[int, int]:
    """The nearest steps with a validation of the whole set before and after this one; 0 where there is none (any more).
    The trainer validates at each epoch's end, and every so many steps if the job asks for it."""
    each = (job.started_json or {}).get("steps_per_epoch") or 0
    often = (job.resolved_json or {}).get("validate_every_steps") or 0
    last = job.step if job.is_final else job.total_steps
    gaps = [gap for gap in (each, often) if gap]
    before = max(((step - 1) // gap * gap for gap in gaps), default=0)
    after = min((found for gap in gaps if (found := (step // gap + 1) * gap) <= last), default=0)
    return before, after
