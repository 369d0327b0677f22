"""A job belongs to the worker whose claim its row holds; only that one may write what its trainer said."""

from training.models import TrainingJob


class LostClaim(Exception):
    """Another worker owns this job now, or it was deleted: leave it alone."""


def owned(job: TrainingJob, claim: str) -> TrainingJob:
    """The row, locked until the transaction ends."""
    row = TrainingJob.objects.select_for_update().select_related("base_model").filter(pk=job.pk).first()
    if row is None or (claim and row.claim != claim):
        raise LostClaim(job.pk)
    return row
