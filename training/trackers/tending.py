"""The site's side of trackers: wishes become rows, a worker keeps their processes going, pages read how far they are.

Nothing here waits for a tracker. An idle worker looks every few seconds and starts what should run and does not.
"""

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project
from accounts.sealed import Unreadable
from training.locks import only_one
from training.models import TrainingJob
from training.trackers.models import Tracker, TrackerKey
from training.trackers.spec import (
    TITLES,
    Integration,
    TensorboardIntegration,
    TrackerConfig,
    TrackerState,
    WandbIntegration,
    WandbWish,
    ended_mark,
    lock_of,
    place_of,
    read_state,
    write_state,
)

log = logging.getLogger(__name__)
STUCK_SECONDS = 900  # a process with work before it that says nothing for so long is started anew
NO_KEY_RETRY_SECONDS = 30
GIVE_UP_AFTER = timedelta(days=7)  # from the job's end
processes: "dict[int, subprocess.Popen[bytes]]" = {}  # of this worker, by tracker row: to be waited for when they end


# ---- wishes ----


def refuse_impossible(project: Project, wishes: Sequence[Integration]) -> None:
    """Raises ApiError for a tracker that is not installed, named twice, or has no key."""
    kinds = [wish.type for wish in wishes]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise ApiError(f"{TITLES[kind]} is asked for twice; once is enough.", param="integrations")
        if text := not_installed(kind):
            raise ApiError(text, param="integrations", code="tracker_not_installed")
    online = [wish for wish in wishes if isinstance(wish, WandbIntegration) and not is_offline(wish.wandb)]
    if online and not TrackerKey.objects.filter(project=project).exists():
        text = (
            "This project has no key for Weights & Biases. An owner enters it under Settings, or the run is kept "
            "offline (`offline`) and sent later with `wandb sync`."
        )
        raise ApiError(text, param="integrations", code="wandb_key_missing")


def not_installed(kind: str) -> str:
    """What to do about it; empty for a tracker that is there."""
    if importlib.util.find_spec(kind):
        return ""
    return f"{TITLES[kind]} is not installed here. On the server: python3 scripts/install.py --extra trackers"


def is_offline(wish: WandbWish) -> bool:
    return wish.offline or settings.HONE_OFFLINE


def add(job: TrainingJob, wishes: Sequence[Integration]) -> None:
    """Rows for a new job."""
    for wish in wishes:
        asked = wish.wandb.model_dump() if isinstance(wish, WandbIntegration) else {}
        Tracker.objects.create(job=job, kind=wish.type, wish=asked)


def wishes_of(job: TrainingJob) -> list[Integration]:
    return [
        WandbIntegration(type="wandb", wandb=WandbWish.model_validate(row.wish))
        if row.kind == Tracker.Kind.WANDB
        else TensorboardIntegration(type="tensorboard")
        for row in job.trackers.all()
    ]


# ---- processes ----


def tend() -> None:
    """Start, restart and finish; returns at once."""
    _reap()
    waiting = Tracker.objects.filter(finished_at=None).exclude(job__started_at=None, job__finished_at=None)
    for tracker in waiting.select_related("job__base_model", "job__project"):
        try:
            _tend(tracker)
        except OSError:
            log.warning("%s of %s: its folder cannot be used", tracker.kind, tracker.job_id, exc_info=True)


def _reap() -> None:
    for pk, process in list(processes.items()):
        if process.poll() is not None:
            del processes[pk]


def _tend(tracker: Tracker) -> None:
    job, place = tracker.job, place_of(tracker.job.folder, tracker.kind)
    if job.is_final and not job.claim and not ended_mark(job.folder).exists():
        place.mkdir(parents=True, exist_ok=True)
        ended_mark(job.folder).write_text(job.status)
    state = read_state(place)
    ended = ended_mark(job.folder).exists()
    if state and state.state == "done":
        return _finish(tracker)
    if ended and (_given_up(tracker) or not _events_bytes(job)):
        return _finish(tracker)
    if not _has_work(job, state, ended):
        return None
    with only_one(lock_of(place)) as free:
        running = not free
    if running:
        if state and time.time() - state.time > STUCK_SECONDS:
            _end(state)
    elif not state or state.retry_at <= time.time():
        start(tracker)
    return None


def _has_work(job: TrainingJob, state: TrackerState | None, ended: bool) -> bool:
    return ended or _events_bytes(job) > (state.offset if state else 0)


def _events_bytes(job: TrainingJob) -> int:
    try:
        return (job.folder / "events.jsonl").stat().st_size
    except FileNotFoundError:
        return 0


def _given_up(tracker: Tracker) -> bool:
    ended_at = tracker.job.finished_at
    return bool(ended_at and timezone.now() - ended_at > GIVE_UP_AFTER)


def _finish(tracker: Tracker) -> None:
    Tracker.objects.filter(pk=tracker.pk).update(finished_at=timezone.now())


def _end(state: TrackerState) -> None:
    """A process that hangs; the next look starts another."""
    with suppress(psutil.NoSuchProcess):
        if "training.trackers.follow" in psutil.Process(state.pid).cmdline():
            os.kill(state.pid, signal.SIGKILL)


def start(tracker: Tracker) -> None:
    """On the worker's leash, in a session of its own, with nothing of the site but the key it needs."""
    place = place_of(tracker.job.folder, tracker.kind)
    place.mkdir(parents=True, exist_ok=True)
    try:
        environment = environment_of(tracker)
    except (TrackerKey.DoesNotExist, Unreadable) as problem:
        return _wait_for_key(place, problem)
    (place / "config.json").write_text(config_of(tracker).model_dump_json(indent=2))
    python = sys.executable
    command = [python, "-m", "training.leash", str(os.getpid())]
    command += [python, "-m", "training.trackers.follow", str(tracker.job.folder), tracker.kind]
    with (place / "follow.log").open("ab") as sink:
        processes[tracker.pk] = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )


def _wait_for_key(place: Path, problem: Exception) -> None:
    text = str(problem) if isinstance(problem, Unreadable) else "The key was removed. An owner enters it in Settings."
    before = read_state(place) or TrackerState()
    later = {"state": "waiting", "text": text, "retry_at": time.time() + NO_KEY_RETRY_SECONDS, "time": time.time()}
    write_state(place, before.model_copy(update=later))


def environment_of(tracker: Tracker) -> dict[str, str]:
    """Raises TrackerKey.DoesNotExist or Unreadable when an online run has no key."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HONE_", "DJANGO_", "WANDB_"))}
    kept |= {"HONE_GRACE_SECONDS": "5", "OMP_NUM_THREADS": "1"}
    if tracker.kind == Tracker.Kind.WANDB and not is_offline(WandbWish.model_validate(tracker.wish)):
        kept["WANDB_API_KEY"] = TrackerKey.objects.get(project=tracker.job.project).secret
    if settings.HONE_WANDB_URL:
        kept["WANDB_BASE_URL"] = settings.HONE_WANDB_URL
    return kept


def config_of(tracker: Tracker) -> TrackerConfig:
    job = tracker.job
    wish = WandbWish.model_validate(tracker.wish) if tracker.kind == Tracker.Kind.WANDB else None
    if wish and is_offline(wish):
        wish = wish.model_copy(update={"offline": True})
    configuration = {
        "model": job.start_checkpoint.name if job.start_checkpoint else job.base_model.name,
        "training_file": job.training_file_id or job.training_file_name,
        "validation_file": job.validation_file_id or job.validation_file_name or None,
        "hyperparameters": {key: value for key, value in (job.resolved_json or {}).items() if key != "reasons"},
        "method": job.recipe.method,
        "seed": job.seed,
    }
    return TrackerConfig(job_id=job.pk, base_model=job.base_model.name, wandb=wish, configuration=configuration)


# ---- for pages ----


@dataclass(frozen=True)
class Tracked:
    """How far a tracker of a job is."""

    tracker: Tracker
    state: TrackerState
    place: Path

    @property
    def title(self) -> str:
        return TITLES[self.tracker.kind]

    @property
    def url(self) -> str:
        """Only what a browser may be sent to."""
        return self.state.url if self.state.url.startswith(("https://", "http://")) else ""

    @property
    def name(self) -> str:
        """One word: the process's own, `expected` before it has begun, `given up` after a week."""
        if self.tracker.finished_at and self.state.state != "done":
            return "given up"
        return self.state.state if self.state.time else "expected"

    @property
    def words(self) -> str:
        return {
            "expected": "begins with the training",
            "starting": "connecting",
            "following": f"was handed step {self.state.step}",
            "paused": f"was handed step {self.state.step}; it goes on with the job",
            "waiting": self.state.text,
            "done": f"has everything, up to step {self.state.step}",
            "given up": f"given up at step {self.state.step}. {self.state.text}",
        }[self.name]

    @property
    def command(self) -> str:
        """What shows or sends what lies in the run folder; empty where nothing lies there."""
        if self.tracker.kind == Tracker.Kind.TENSORBOARD:
            return f"tensorboard --logdir {self.place.parent.parent / 'tensorboard'}"
        offline = is_offline(WandbWish.model_validate(self.tracker.wish))
        return f"wandb sync {self.place}/wandb/offline-run-*" if offline else ""

    def as_dict(self) -> dict[str, Any]:
        """For the API."""
        state = {"type": self.tracker.kind, "state": self.name, "step": self.state.step}
        return {**state, "message": self.words, "url": self.url or None}


def states(job: TrainingJob) -> list[Tracked]:
    places = [(row, place_of(job.folder, row.kind)) for row in job.trackers.all()]
    return [Tracked(row, read_state(place) or TrackerState(time=0), place) for row, place in places]
