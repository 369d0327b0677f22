"""Hand a run's figures to a tracker: python -m training.trackers.follow RUN_FOLDER KIND

It reads events.jsonl as the site does and knows neither the trainer nor the database: whatever the tracker does, the
run does not notice. Started again it asks the tracker which step it has, and goes on after that one.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from training.engine.spec import AnyEvent, CheckpointSaved, End, Started, Step, Validation
from training.events import EventReader
from training.locks import only_one
from training.trackers.spec import (
    TITLES,
    TrackerConfig,
    TrackerState,
    ended_mark,
    lock_of,
    place_of,
    read_state,
    write_state,
)

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 15.0, 1800.0
OPENAI_NAMES = {  # the names that figures have in OpenAI's events
    "train_accuracy": "train_mean_token_accuracy",
    "valid_accuracy": "valid_mean_token_accuracy",
    "full_valid_accuracy": "full_valid_mean_token_accuracy",
}


class Tracker(Protocol):
    """A run at a tracker."""

    url: str

    def last_step(self) -> int:
        """The last step that it has; 0 for none."""

    def describe(self, facts: dict[str, Any]) -> None:
        """Sizes that are known once training begins."""

    def log(self, step: int, time: float, figures: dict[str, float]) -> None: ...

    def checkpoint(self, folder: Path, facts: dict[str, Any]) -> None: ...

    def flush(self) -> None:
        """What was logged is safe when this returns, as far as the tracker can say."""

    def close(self, succeeded: bool) -> None: ...


def main() -> int:
    run_folder, kind = Path(sys.argv[1]), sys.argv[2]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    place = place_of(run_folder, kind)
    with only_one(lock_of(place)) as mine:
        if not mine:
            return 0
        os.nice(10)  # the trainer goes first
        before = read_state(place) or TrackerState()
        state = before.model_copy(update={"state": "starting", "pid": os.getpid(), "text": "", "time": time.time()})
        write_state(place, state)
        try:
            Follower(run_folder, place, state).run(open_tracker(run_folder, kind, place))
            return 0
        except Exception as error:  # the border of the process
            log.exception("%s failed", kind)
            _wait(place, state, kind, error)
            return 1


def _wait(place: Path, state: TrackerState, kind: str, error: Exception) -> None:
    failures = state.failures + 1
    pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** (failures - 1))
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    text = f"{TITLES[kind]} does not take figures now: {reason} Training goes on; the figures follow."
    now = {"state": "waiting", "text": text, "failures": failures, "retry_at": time.time() + pause, "pid": 0}
    if place.is_dir():
        write_state(place, state.model_copy(update={**now, "time": time.time()}))


def open_tracker(run_folder: Path, kind: str, place: Path) -> Tracker:
    config = TrackerConfig.model_validate_json((place / "config.json").read_text())
    if kind == "wandb":
        from training.trackers.wandb_run import WandbRun

        return WandbRun(config, place)
    from training.trackers.tensorboard_run import TensorboardRun

    return TensorboardRun(run_folder / "tensorboard")


class Follower:
    """From events.jsonl to a tracker; a step is handed over when the next one shows that nothing more belongs to it."""

    def __init__(self, run_folder: Path, place: Path, state: TrackerState) -> None:
        self.run_folder, self.place, self.state = run_folder, place, state
        self.reader = EventReader(run_folder / "events.jsonl")
        self.held: tuple[int, float, dict[str, float]] | None = None
        self.last = 0
        self.end: End | None = None  # what the trainer said last, if it said that it ends

    def run(self, tracker: Tracker) -> None:
        """Until the job has ended, rests, or its folder is gone."""
        self.last = tracker.last_step()
        while self.place.is_dir():
            ended = ended_mark(self.run_folder).exists()  # looked at before reading: nothing is written after it
            events = self.reader.read()
            for event in events:
                self.take(tracker, event)
            if events:
                tracker.flush()
                self.tell(tracker, "following")
            elif ended or self.end:
                self.hand_over(tracker)
                tracker.close(succeeded=self.succeeded())
                self.tell(tracker, "done" if ended or self.is_over() else "paused")
                return
            else:
                time.sleep(POLL_SECONDS)

    def take(self, tracker: Tracker, event: AnyEvent) -> None:
        self.end = event if isinstance(event, End) else None
        if isinstance(event, Started):
            tracker.describe(event.model_dump(exclude={"type", "time"}))
        elif isinstance(event, Step):
            if self.held and event.step > self.held[0]:
                self.hand_over(tracker)
            fresh = event.step > self.last
            self.held = (event.step, event.time, figures_of(event)) if fresh else None
        elif isinstance(event, Validation) and self.held and self.held[0] == event.step:
            self.held[2].update(figures_of(event))
        elif isinstance(event, CheckpointSaved):
            tracker.checkpoint(self.run_folder / event.path, event.model_dump(exclude={"type", "time"}))

    def hand_over(self, tracker: Tracker) -> None:
        if self.held:
            tracker.log(*self.held)
            self.last, self.held = self.held[0], None

    def tell(self, tracker: Tracker, state: str) -> None:
        new = {"state": state, "step": self.last, "offset": self.reader.offset, "url": tracker.url, "failures": 0}
        if self.place.is_dir():
            write_state(self.place, self.state.model_copy(update={**new, "time": time.time()}))

    def is_over(self) -> bool:
        """The trainer itself said that nothing more comes, neither after a pause nor after a restart."""
        return bool(self.end and self.end.status in {"succeeded", "cancelled", "failed"})

    def succeeded(self) -> bool:
        """False only for a run that went wrong; one that rests did not."""
        if self.end:
            return self.end.status not in {"cancelled", "failed"}
        return ended_mark(self.run_folder).read_text().strip() == "succeeded"


def figures_of(event: Step | Validation) -> dict[str, float]:
    """Every number of the event, also those a method of its own adds, by the names of OpenAI's events."""
    numbers = {name: value for name, value in flat(event.model_dump()) if name not in {"time", "step"}}
    if isinstance(event, Validation):
        prefix = "full_valid" if event.whole else "valid"
        sizes = {"tokens", "rows"}
        numbers = {f"{prefix}_{name}": value for name, value in numbers.items() if name not in sizes}
    return {OPENAI_NAMES.get(name, name): value for name, value in numbers.items()}


def flat(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value)  # the method's own names, such as rewards/margins
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


if __name__ == "__main__":
    sys.exit(main())
