"""How long a job stood still: in the queue before its first turn, and paused or in the queue again after it.

Read off its event log, which keeps the moments; the columns of a job hold only the newest of each.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from training.models import TrainingJob

GOES_ON = "Fine-tuning job goes on"  # said when a worker takes a job that had begun before
QUEUED, PAUSED, RUNS = "queued", "paused", ""
WORDS = {  # the beginning of a message, and what the job does from then on
    "Files validated, moving job to queued state": QUEUED,
    "Fine-tuning job paused": PAUSED,
    "Fine-tuning job resumed, moving job to queued state": QUEUED,
    "Training interrupted": QUEUED,  # its worker ended; it keeps its place
    GOES_ON: RUNS,
    "Training continues after step": RUNS,  # of jobs from before GOES_ON was said
}


@dataclass(frozen=True)
class Stood:
    """Seconds. `queued_first`: before its first turn; the others after it."""

    queued_first: float = 0.0
    queued: float = 0.0
    paused: float = 0.0

    @property
    def after_start(self) -> float:
        """What the time taken leaves out."""
        return self.queued + self.paused


def stood(job: TrainingJob) -> Stood:
    """Up to now, or to its end."""
    began, end = job.started_at, job.finished_at or timezone.now()
    spans = {"queued_first": 0.0, QUEUED: 0.0, PAUSED: 0.0}
    doing, since = RUNS, end
    for at, found in [*_changes(job), (end, RUNS)]:
        seconds = (at - since) / timedelta(seconds=1)
        if doing and began and since >= began:
            spans[doing] += seconds
        elif doing == QUEUED:
            spans["queued_first"] += seconds
        if found != doing:
            doing, since = found, at
        elif doing:
            since = at
    return Stood(**spans)


def _changes(job: TrainingJob) -> list[tuple[datetime, str]]:
    """When it began to do what, in order; its first turn is told by its start."""
    found = [(job.started_at, RUNS)] if job.started_at else []
    for message, at in job.events.messages().order_by("created_at", "pk").values_list("message", "created_at"):
        what = next((what for words, what in WORDS.items() if message.startswith(words)), None)
        if what is not None:
            found.append((at, what))
    return sorted(found, key=lambda change: change[0])
