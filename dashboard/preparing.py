"""What a job does before its first step, and what it waits for: shown under the sentence on top of its page."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import Project
from dashboard.templatetags.figures import count, percent
from playground import sharing
from playground.models import Deployment
from training import devices, launcher
from training.models import TrainingJob
from training.preparation import BEFORE_TRAINING, FIRST_STEP, STARTING
from training.quotas import turns

BUSY_LOAD: Final = 1.5  # processes that want to run, for each core: a trainer alone keeps every core busy
MOST_NAMED: Final = 3


@dataclass(frozen=True)
class Part:
    """One thing of the way to the first step. `seconds`: it took, or takes so far; `since`: of what goes on now."""

    words: str
    state: str  # done, now, next
    seconds: float | None = None
    since: datetime | None = None
    done: int = 0
    total: int = 0
    unit: str = "rows"


@dataclass(frozen=True)
class Preparing:
    """`expected`: seconds from the start of the trainer to the end of its first step, as the estimate has it."""

    parts: list[Part]
    since: datetime
    seconds: float  # so far
    expected: float | None


@dataclass(frozen=True)
class Waiting:
    """For what it waits, and for about how many seconds (None: nobody knows)."""

    words: str
    seconds: float | None


def preparing(job: TrainingJob) -> Preparing | None:
    """None once the first step of this start is done."""
    told = job.preparation
    if job.status != "running" or not told or not is_preparing(job):
        return None
    names = [each["phase"] for each in told]
    ends = [each["since"] for each in told[1:]]
    parts = [
        Part(_words(job, each["phase"]), "done", seconds=end - each["since"])
        for each, end in zip(told, ends, strict=False)
    ]
    current, now = told[-1], timezone.now().timestamp()
    progress = {"done": current["done"], "total": current["total"]}
    since = current["since"]
    # The first step counts its own rows; how many they are is then said once.
    words = "First step" if current["phase"] == FIRST_STEP and current["total"] else _words(job, current["phase"])
    parts.append(Part(words, "now", seconds=now - since, since=_moment(since), unit=_unit(job), **progress))
    parts += [Part(_words(job, name), "next") for name in _way(job) if name not in names]
    began = told[0]["since"]
    return Preparing(parts, _moment(began), now - began, _expected(job))


def is_preparing(job: TrainingJob) -> bool:
    """Its trainer runs and has not done a step since it started."""
    resumed = (job.started_json or {}).get("resumed_step", 0)
    return job.phase in BEFORE_TRAINING or (job.phase == FIRST_STEP and job.step == resumed)


def _way(job: TrainingJob) -> list[str]:
    reference = ["reference"] if job.recipe.method == "dpo" else []
    return [STARTING, "tokenizing", "loading", *reference, FIRST_STEP]


def _words(job: TrainingJob, phase: str) -> str:
    rows = job.resolved.batch_size if job.resolved else 0
    words = {
        STARTING: "Start the trainer",
        "tokenizing": "Read and tokenize the rows",
        "loading": f"Load {job.base_model.name} ({count(job.base_model.facts.parameters)} parameters)",
        "reference": "Judge every pair with the weights it starts from",
        FIRST_STEP: f"First step, {count(rows)} {_unit(job, rows)}",
    }
    return words.get(phase, phase.capitalize())


def _unit(job: TrainingJob, number: int = 2) -> str:
    word = "pair" if job.recipe.method == "dpo" else "row"
    return word if number == 1 else f"{word}s"


def _expected(job: TrainingJob) -> float | None:
    estimate = job.estimate
    if not estimate or not estimate.seconds_parts:
        return None
    return estimate.seconds_parts.start + estimate.seconds_parts.training / max(1, estimate.steps)


def _moment(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)


# ---- the queue ----


def waiting(job: TrainingJob, ordered: list[turns.Place]) -> Waiting | None:
    """None for a job that waits for nothing. Jobs of other projects have no name here. `ordered`: the queue."""
    if job.status == "validating_files":
        return Waiting(_checking(job), None)
    if job.status != "queued" or not job.queued_at:
        return None
    running = list(TrainingJob.objects.filter(status="running").select_related("base_model").order_by("started_at"))
    if (said := turns.places(ordered).get(job.pk, "")).startswith("Waits"):
        return Waiting(f"{said}, and so many run.", None)
    ahead = turns.ahead_of(job, ordered)
    if not running and not ahead:
        return Waiting("Nothing is before it: a worker takes it in a moment.", None)
    named = [_named(each, job.project_id) for each in [*running, *ahead]]
    more = len(named) - MOST_NAMED
    shown = [*named[:MOST_NAMED], f"{more} more"] if more > 0 else named
    return Waiting(f"It waits behind {_listed(shown)}.", _seconds_until_turn(running, ahead))


def _checking(job: TrainingJob) -> str:
    files = [file for file in (job.training_file, job.validation_file) if file and file.status == "uploaded"]
    if not files:
        return "Its tokens are counted and what is left to Hone is chosen; then it joins the queue."
    done = _listed([f"{file.filename} ({percent(file.check_share)})" for file in files])
    return f"Every row is checked before it joins the queue: {done}."


def _named(other: TrainingJob, project_id: str) -> str:
    name = other.display_name if other.project_id == project_id else "a job of another project"
    if other.status == "running" and other.total_steps:
        return f"{name} (step {other.step:,} of {other.total_steps:,})"
    return name


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _seconds_until_turn(running: list[TrainingJob], ahead: list[TrainingJob]) -> float | None:
    """Each slot takes the next job as soon as it is free."""
    left = [_seconds_left(each) for each in running]
    takes = [each.estimate.seconds if each.estimate else None for each in ahead]
    known = [seconds for seconds in [*left, *takes] if seconds is not None]
    if len(known) < len(left) + len(takes):
        return None
    slots = sorted(known[: len(left)])
    slots += [0.0] * (len(launcher.slots()) - len(slots))
    for seconds in known[len(left) :]:
        slots.sort()
        slots[0] += seconds
    return min(slots)


def _seconds_left(job: TrainingJob) -> float | None:
    now = timezone.now()
    if job.estimated_finish_at:
        return max(0.0, (job.estimated_finish_at - now) / timedelta(seconds=1))
    if not job.estimate or not job.started_at:
        return None
    return max(0.0, job.estimate.seconds - (now - job.started_at) / timedelta(seconds=1))


# ---- what else this machine does ----


def busy_words(job: TrainingJob) -> str:
    """Of a running job: what takes time from it; empty when nothing does."""
    if job.status != "running":
        return ""
    found = _busy_with(job.project_id, TrainingJob.objects.exclude(pk=job.pk), "beside it")
    return f"This machine is busy: {_listed(found)}. The job takes longer than estimated." if found else ""


def busy_now(project: Project) -> str:
    """For a job that is yet to be made: why it would take longer than estimated; empty when nothing else goes on."""
    running = TrainingJob.objects.filter(status="running")
    beside = running if running.count() < len(launcher.slots()) else running.none()  # else it waits until one is done
    found = _busy_with(project.pk, beside, "now")
    words = "While that lasts, a job takes longer than estimated here"
    return f"This machine is busy now: {_listed(found)}. {words}." if found else ""


def _busy_with(project_id: str, others: QuerySet[TrainingJob], how: str) -> list[str]:
    """On GPUs of their own jobs and models do not disturb each other, and the load of the processor says little."""
    if devices.all_gpus() and not sharing.shares_device():
        return []
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    running = [] if devices.all_gpus() else others.filter(status="running")
    named = [_named(other, project_id) for other in running[:MOST_NAMED]]
    found = [f"{_listed(named)} train{'s' if len(named) == 1 else ''} {how}"] if named else []
    served = Deployment.objects.ready().count()
    if served and sharing.models_are_in_use():
        found.append(f"vLLM serves {served} model{'' if served == 1 else 's'} on the same device")
    if load > BUSY_LOAD * cores:
        found.append(f"{load:.0f} processes want its {cores} core{'' if cores == 1 else 's'}")
    return found
