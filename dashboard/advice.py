"""What to try next, read off the curves of a job that has ended."""

import re
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt
from statistics import fmean
from urllib.parse import urlencode

from django.db.models import Avg, QuerySet
from django.urls import reverse

from dashboard.templatetags.figures import loss, percent
from training.engine.spec import Resolved
from training.models import JobEvent, TrainingJob

WORSE = 0.01  # the last epoch's validation loss is so much above the best one's: it memorises
FALLING = 0.02  # the last epoch still took so much off
ROSE = 0.05  # within an epoch, where only a few rows are looked at
FLAT = 0.03  # the whole run took less than this off
TREND_SHARE = 0.1  # of the steps at each end, to see where the training loss began and ended
LEAST_STEPS = 10
SPIKES, SPIKY_SHARE = 2, 0.005  # so many spikes, of the steps as well, are no odd rows but steps that are too large
STEEP = 0.1  # a fall of the last third of one epoch that two more epochs will not use up
CLIPPED = 1.0  # gradient norm; the usual limit
RUINED_TIMES, RUINED_NATS = 1.5, 0.5  # the training loss ends so far above that of the first step
FAR_TOO_HIGH = 10.0  # a rate multiplier of a ruined run: not a tenth of it comes next, but the usual one
LEARNED = 0.01  # nats a token of the whole validation set: nothing is left to learn
UNTAUGHT = log(2)  # DPO's loss of a pair under the weights it starts from
MOST_EPOCHS, MOST_RATE = 50, 1000.0  # as in Recipe
Finding = tuple[str, str, dict[str, str]]  # what was seen, what to try, the fields to change


@dataclass(frozen=True)
class Advice:
    """What was seen, what to do, and the form with that change made."""

    seen: str
    try_next: str
    changes: dict[str, str]
    job_id: str
    elsewhere: str = ""  # where another job is not what comes next
    warns: bool = False  # the weights are worse than those that it began with

    @property
    def address(self) -> str:
        return self.elsewhere or f"{reverse('new-job')}?{urlencode({'from': self.job_id, **self.changes})}"


def advice(job: TrainingJob) -> Advice | None:
    """None while it runs, and for a run too short to say anything."""
    resolved = job.resolved
    if not job.is_final or job.status == "failed" or not resolved:
        return None
    steps = job.metrics.count()
    if finding := _from_ruin(job, steps, resolved.learning_rate_multiplier):
        return Advice(*finding, job.pk, warns=True)
    if resolved.method != "dpo" and (learned := _from_mastery(job)):
        return learned
    ends = _ends(job, steps)
    if not ends:
        return None
    epochs = job.checkpoints.exclude(full_valid_loss=None).order_by("step")
    judged = list(epochs.values_list("epoch", "full_valid_loss"))
    finding = (
        _from_training(*ends, resolved.learning_rate_multiplier)
        or _from_spikes(job, resolved)
        or (_from_one_epoch(job, resolved) if len(judged) == 1 else _from_validation(judged, resolved))
    )
    return Advice(*finding, job.pk)


def _from_ruin(job: TrainingJob, steps: int, rate: float) -> Finding | None:
    """A run that ends far worse than the model that it began with; few steps are enough to see it."""
    began, ended = _mean_loss(job, "step", 1), _mean_loss(job, "-step", max(1, round(steps * TREND_SHARE)))
    if began is None or ended is None or ended <= began * RUINED_TIMES or ended <= began + RUINED_NATS:
        return None
    judged = _values(job, "full_valid_loss")
    at_end = f", and the validation loss is {loss(judged[-1])}" if judged else ""
    seen = f"It unlearned: the training loss rose from {loss(began)} at the first step to {loss(ended)}{at_end}."
    seen += f" A learning rate multiplier of {rate:g} is too high here."
    if rate >= FAR_TOO_HIGH:
        return seen, "The usual learning rate", {"learning_rate_multiplier": "1"}
    return seen, "A tenth of the learning rate", {"learning_rate_multiplier": _number(rate / 10)}


def _from_mastery(job: TrainingJob) -> Advice | None:
    last = job.metrics.filter(full_valid_loss__isnull=False).order_by("-step").first()
    if not last or last.full_valid_loss is None or last.full_valid_loss >= LEARNED:
        return None
    right = last.full_valid_accuracy
    words = f", and {percent(right)} of the validated tokens are right" if right is not None else ""
    made = job.checkpoints.filter(archived_at=None).order_by("-step").first()
    names = ",".join([job.base_model.name, *([made.name] if made else [])])
    return Advice(
        f"It is learned: the validation loss is {loss(last.full_valid_loss)}{words}. More epochs have nothing to add.",
        "Prompts of your own",
        {},
        job.pk,
        f"{reverse('playground')}?{urlencode({'models': names})}",
    )


def _from_training(began: float, ended: float, rate: float) -> Finding | None:
    """A rate that is clearly wrong shows before anything else."""
    if ended > began * (1 + FLAT):
        seen = f"The training loss rose from {loss(began)} to {loss(ended)}: the learning rate is too high."
        return seen, "A third of the learning rate", {"learning_rate_multiplier": _number(rate / 3)}
    if began - ended < began * FLAT:
        seen = f"The training loss is flat, {loss(began)} at first and {loss(ended)} at the end: it learns too slowly."
        return seen, "Three times the learning rate", {"learning_rate_multiplier": _number(min(MOST_RATE, rate * 3))}
    return None


def _from_spikes(job: TrainingJob, resolved: Resolved) -> Finding | None:
    """Jumps of the training loss that come again and again; one alone is shown with its rows."""
    count = told_spikes(job).count()
    if count < max(SPIKES, SPIKY_SHARE * job.step):
        return None
    seen = f"The training loss jumped {count} times to more than twice what was usual: single steps are too large."
    if resolved.max_grad_norm > CLIPPED:
        return seen, f"Gradients clipped at {CLIPPED:g}", {"max_grad_norm": _number(CLIPPED)}
    rate = {"learning_rate_multiplier": _number(resolved.learning_rate_multiplier / 2)}
    return seen, "Half the learning rate", rate


def _from_validation(judged: list[tuple[int, float]], resolved: Resolved) -> Finding:
    if not judged:
        seen = "Nothing was validated, so nobody can tell whether it learned or memorised."
        return seen, "Keep a share of the rows for validation", {"validation": "split"}
    (best_epoch, best), last = min(judged, key=lambda each: each[1]), judged[-1][1]
    if last > best * (1 + WORSE):
        return _overfit(best_epoch, best, last, resolved)
    more = min(MOST_EPOCHS, 2 * resolved.n_epochs)
    fall = (judged[-2][1] - last) / judged[-2][1]
    if fall > FALLING and more > resolved.n_epochs:
        seen = f"The validation loss is still falling: the last epoch took {100 * fall:.0f} % off, to {loss(last)}."
        return seen, f"{more} epochs", {"n_epochs": str(more)}
    return f"The validation loss has levelled off at {loss(last)}.", "More or other rows; more epochs will not help", {}


def _from_one_epoch(job: TrainingJob, resolved: Resolved) -> Finding:
    """One validation of the whole set has no trend; what was seen on the way to it has."""
    if resolved.n_epochs > 1:
        seen = f"It was stopped in or after the first of {resolved.n_epochs} epochs, too early to see a trend."
        return seen, f"The same with all {resolved.n_epochs} epochs", {}
    rate = resolved.learning_rate_multiplier
    if resolved.method == "dpo":
        return _from_one_pass_of_pairs(job, rate)
    column = "full_valid_loss" if _thirds(job, "full_valid_loss") else "valid_loss"
    judged = _thirds(job, column)
    if judged and judged[-1] > min(judged) * (1 + ROSE):
        seen = f"Within the epoch the validation loss rose from {loss(min(judged))} to {loss(judged[-1])}: it overfits."
        return seen, "Half the learning rate, or more rows", {"learning_rate_multiplier": _number(rate / 2)}
    for name, measured in (("training", "train_loss"), ("validation", column)):
        thirds = _thirds(job, measured)
        fall = (thirds[-2] - thirds[-1]) / thirds[-2] if thirds else 0.0
        if thirds and fall > max(FALLING, _noise(job, measured)):
            seen = f"The {name} loss was still falling: the last third of the epoch took {100 * fall:.0f} % off, to "
            more = 3 if fall > STEEP else 2
            return f"{seen}{loss(thirds[-1])}.", f"{more} epochs", {"n_epochs": str(more)}
    seen = f"The losses had levelled off before the epoch's end, training at {loss(_thirds(job, 'train_loss')[-1])}."
    return seen, "More or other rows; a second epoch will hardly help", {}


def _noise(job: TrainingJob, name: str) -> float:
    """How far chance alone moves the mean of the last third from that of the middle one, as a share of it: two standard
    errors. Each batch has other rows, so that a run that learns nothing more seems to fall by some per cent, or to
    rise."""
    values = _values(job, name)
    third = len(values) // 3
    before, last = values[third:-third], values[-third:]
    error = sqrt(_jumps(before) / len(before) + _jumps(last) / len(last))
    return 2 * error / fmean(before)


def _jumps(values: list[float]) -> float:
    """The variance of one value round its trend: half the mean square of the difference of neighbours."""
    return fmean((after - before) ** 2 for before, after in pairwise(values)) / 2 if len(values) > 1 else 0.0


def _from_one_pass_of_pairs(job: TrainingJob, rate: float) -> Finding:
    """Before the first step the loss of every pair is ln 2, so that one validation tells what the pass did."""
    last = job.checkpoints.exclude(full_valid_loss=None).get().full_valid_loss
    moved = f"One pass took the validation loss from {loss(UNTAUGHT)}, where nothing is told apart, to {loss(last)}."
    if last > UNTAUGHT * (1 - FLAT):
        return moved, "Twice the learning rate", {"learning_rate_multiplier": _number(min(MOST_RATE, rate * 2))}
    return f"{moved} Another pass over these soon makes even the preferred answers less likely.", "More pairs", {}


def _thirds(job: TrainingJob, name: str) -> list[float]:
    """Means over the first, middle and last third of what was measured of this; empty for too little."""
    values = _values(job, name)
    third = len(values) // 3
    return [fmean(values[:third]), fmean(values[third:-third]), fmean(values[-third:])] if third else []


def _values(job: TrainingJob, name: str) -> list[float]:
    return list(job.metrics.filter(**{f"{name}__isnull": False}).order_by("step").values_list(name, flat=True))


def _overfit(epoch: int, best: float, last: float, resolved: Resolved) -> Finding:
    seen = f"It overfits since epoch {epoch}: validation loss {loss(best)} there, {loss(last)} at the end."
    if epoch > 1:
        return seen, f"{epoch} epochs, or more rows", {"n_epochs": str(epoch)}
    rate = {"learning_rate_multiplier": _number(resolved.learning_rate_multiplier / 2)}
    return seen, "Half the learning rate, or more rows", rate


def _ends(job: TrainingJob, steps: int) -> tuple[float, float] | None:
    """The mean training loss of the first and of the last tenth of the steps."""
    if steps < LEAST_STEPS:
        return None
    taken = max(3, round(steps * TREND_SHARE))
    first, last = (_mean_loss(job, order, taken) for order in ("step", "-step"))
    return (first, last) if first is not None and last is not None else None


def _mean_loss(job: TrainingJob, order: str, rows: int) -> float | None:
    """Of the first or last steps; the database counts, because there can be very many."""
    found = job.metrics.filter(train_loss__isnull=False).order_by(order)[:rows]
    mean: float | None = found.aggregate(mean=Avg("train_loss"))["mean"]
    return mean


def _number(value: float) -> str:
    return f"{value:.2g}"


# ---- spikes ----

SPIKE = re.compile(
    r"(?P<what>The training loss rose to \S+ from about [^;]+)(?:; this batch had lines? (?P<lines>[\d, ]+))?"
)
SPIKES_SHOWN = 3


@dataclass(frozen=True)
class Spike:
    """What the trainer said when it came, and the first lines of its batch."""

    what: str
    lines: list[int]


def told_spikes(job: TrainingJob) -> QuerySet[JobEvent]:
    """What the trainer said of them (training/engine/spikes.py)."""
    return job.events.messages().filter(level="warn", message__startswith="The training loss rose to")


def spikes(job: TrainingJob) -> tuple[list[Spike], int]:
    """The first ones of a job that has ended, and how many more there were."""
    if not job.is_final:
        return [], 0
    told = told_spikes(job).order_by("pk").values_list("message", flat=True)
    found = [match for text in told if (match := SPIKE.match(text))]
    shown = [
        Spike(match["what"], [int(line) for line in re.findall(r"\d+", match["lines"] or "")])
        for match in found[:SPIKES_SHOWN]
    ]
    return shown, len(found) - len(shown)
