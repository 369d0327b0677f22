"""What to try next, read off the curves of a job that has ended."""

from dataclasses import dataclass
from statistics import fmean
from urllib.parse import urlencode

from django.urls import reverse

from dashboard.templatetags.figures import loss
from training.engine.spec import Resolved
from training.models import TrainingJob

WORSE = 0.01  # the last epoch's validation loss is so much above the best one's: it memorises
FALLING = 0.02  # the last epoch still took so much off
FLAT = 0.03  # the whole run took less than this off
TREND_SHARE = 0.1  # of the steps at each end, to see where the training loss began and ended
LEAST_STEPS = 10
MOST_EPOCHS, MOST_RATE = 50, 1000.0  # as in Recipe
Finding = tuple[str, str, dict[str, str]]  # what was seen, what to try, the fields to change


@dataclass(frozen=True)
class Advice:
    """What was seen, what to do, and the form with that change made."""

    seen: str
    try_next: str
    changes: dict[str, str]
    job_id: str

    @property
    def address(self) -> str:
        return f"{reverse('new-job')}?{urlencode({'from': self.job_id, **self.changes})}"


def advice(job: TrainingJob) -> Advice | None:
    """None while it runs, and for a run too short to say anything."""
    resolved, ends = job.resolved, _ends(job)
    if not job.is_final or job.status == "failed" or not resolved or not ends:
        return None
    judged = job.checkpoints.exclude(full_valid_loss=None).order_by("step").values_list("epoch", "full_valid_loss")
    finding = _from_training(*ends, resolved.learning_rate_multiplier) or _from_validation(list(judged), resolved)
    return Advice(*finding, job.pk)


def _from_training(began: float, ended: float, rate: float) -> Finding | None:
    """A rate that is clearly wrong shows before anything else."""
    if ended > began * (1 + FLAT):
        seen = f"The training loss rose from {loss(began)} to {loss(ended)}: the learning rate is too high."
        return seen, "A third of the learning rate", {"learning_rate_multiplier": _number(rate / 3)}
    if began - ended < began * FLAT:
        seen = f"The training loss is flat, {loss(began)} at first and {loss(ended)} at the end: it learns too slowly."
        return seen, "Three times the learning rate", {"learning_rate_multiplier": _number(min(MOST_RATE, rate * 3))}
    return None


def _from_validation(judged: list[tuple[int, float]], resolved: Resolved) -> Finding:
    if not judged:
        seen = "Nothing was validated, so nobody can tell whether it learned or memorised."
        return seen, "Keep a share of the rows for validation", {"validation": "split"}
    (best_epoch, best), last = min(judged, key=lambda each: each[1]), judged[-1][1]
    if last > best * (1 + WORSE):
        return _overfit(best_epoch, best, last, resolved)
    more = min(MOST_EPOCHS, 2 * resolved.n_epochs)
    if len(judged) == 1:
        return "One epoch shows no trend of the validation loss.", f"{more} epochs", {"n_epochs": str(more)}
    fall = (judged[-2][1] - last) / judged[-2][1]
    if fall > FALLING and more > resolved.n_epochs:
        seen = f"The validation loss is still falling: the last epoch took {100 * fall:.0f} % off, to {loss(last)}."
        return seen, f"{more} epochs", {"n_epochs": str(more)}
    return f"The validation loss has levelled off at {loss(last)}.", "More or other rows; more epochs will not help", {}


def _overfit(epoch: int, best: float, last: float, resolved: Resolved) -> Finding:
    seen = f"It overfits since epoch {epoch}: validation loss {loss(best)} there, {loss(last)} at the end."
    if epoch > 1:
        return seen, f"{epoch} epochs, or more rows", {"n_epochs": str(epoch)}
    rate = {"learning_rate_multiplier": _number(resolved.learning_rate_multiplier / 2)}
    return seen, "Half the learning rate, or more rows", rate


def _ends(job: TrainingJob) -> tuple[float, float] | None:
    """The mean training loss of the first and of the last tenth of the steps."""
    rows = job.metrics.exclude(train_loss=None)
    count = rows.count()
    if count < LEAST_STEPS:
        return None
    taken = max(3, round(count * TREND_SHARE))
    first, last = (rows.order_by(order).values_list("train_loss", flat=True)[:taken] for order in ("step", "-step"))
    return fmean(first), fmean(last)


def _number(value: float) -> str:
    return f"{value:.2g}"
