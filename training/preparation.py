"""What a start of the trainer did before its first step, in TrainingJob.preparation: a list of
{"phase": name, "since": unix seconds, "done": rows, "total": rows}, in order; each phase lasts until the next."""

from typing import Any, Final

from training.engine.spec import Phase

STARTING: Final = "starting"  # not told by the trainer: its libraries take seconds to load before it can say a word
BEFORE_TRAINING: Final = (STARTING, "tokenizing", "loading", "reference")
FIRST_STEP: Final = "training"
Noted = dict[str, Any]


def begun(time: float) -> list[Noted]:
    return [{"phase": STARTING, "since": time, "done": 0, "total": 0}]


def noted(so_far: list[Noted], event: Phase) -> list[Noted]:
    """With this event; what comes after the first step leaves the list as it is."""
    current = so_far[-1] if so_far else None
    if event.phase not in (*BEFORE_TRAINING, FIRST_STEP):
        return so_far
    if current and current["phase"] == event.phase:
        return [*so_far[:-1], current | {"done": event.done, "total": event.total}] if event.total else so_far
    if current and current["phase"] == FIRST_STEP:
        return so_far
    return [*so_far, {"phase": event.phase, "since": event.time, "done": event.done, "total": event.total}]
