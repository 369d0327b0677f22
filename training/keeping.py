"""Which checkpoints of a job stay on disk, by the policy that it was started with."""

from functools import partial

from django.db import transaction

from training import home
from training.engine.spec import Resolved
from training.models import Checkpoint, TrainingJob
from training.permissions import granting

WORDS = {"last": "the last {count}", "best": "the best {count} by {metric}"}
METRICS = {"full_valid_loss": "validation loss", "full_valid_accuracy": "validation accuracy"}


def outside(found: list[Checkpoint], resolved: Resolved) -> list[Checkpoint]:
    """Those that the policy lets go. The newest always stays: the job goes on from it after a crash; so does one that
    a person has named."""
    if resolved.keep_checkpoints == "all":
        return []
    newest_first = sorted(found, key=lambda checkpoint: -checkpoint.step)
    order = newest_first
    if resolved.keep_checkpoints == "best":
        order = sorted(newest_first, key=lambda checkpoint: _rank(checkpoint, resolved.keep_metric))
    kept = {checkpoint.pk for checkpoint in [*order[: resolved.keep_count], *newest_first[:1]]}
    return [checkpoint for checkpoint in found if checkpoint.pk not in kept and not checkpoint.label]


def _rank(checkpoint: Checkpoint, metric: str) -> tuple[bool, float, int]:
    """Best first, one that was never judged last, of equals the earlier."""
    value = getattr(checkpoint, metric)
    return value is None, (value or 0.0) * (1 if metric == "full_valid_loss" else -1), checkpoint.step


def let_go(job: TrainingJob) -> str:
    """Deletes what the policy does not keep, except what another job waits to start from; says so in words."""
    from training import exports

    resolved = job.resolved
    doomed = outside(list(job.checkpoints.all()), resolved) if resolved else []
    doomed = [checkpoint for checkpoint in doomed if not checkpoint.continued_by.unfinished().exists()]
    granting.tell_of_deletion(doomed)
    for checkpoint in doomed:
        for folder in (checkpoint.path, exports.folder_of(checkpoint)):
            transaction.on_commit(partial(home.free, folder))
        checkpoint.delete()
    if not resolved or not doomed:
        return ""
    kept = WORDS[resolved.keep_checkpoints].format(count=resolved.keep_count, metric=METRICS[resolved.keep_metric])
    steps = ", ".join(f"{checkpoint.step:,}" for checkpoint in doomed)
    return f"Checkpoint of step {steps} deleted: this job keeps {kept}"
