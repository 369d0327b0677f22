"""kill -9 at three random steps of one run: what comes after is the unbroken run, bit for bit.

The steps, the places in them and how often a resume point is written are drawn anew each time and printed;
HONE_KILL_SEED=N draws those of N again.
"""

import os
import random
import secrets
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.killed import FORWARD, SAVED, TOLD, UPDATE, Kill, Starter, starter
from tests.engine.kinds import PROMISED, make_bases, write_run
from tests.engine.runs import ended, events

KILLS = 3
CHECKPOINT = {"path", "step", "epoch", "sha256", "full_valid_loss", "full_valid_accuracy", "metrics"}


@pytest.fixture(scope="module")
def trainer() -> Iterator[Starter]:
    with starter() as started:
        yield started


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    return make_bases(tmp_path_factory.mktemp("killed"))


def told(folder: Path) -> dict[int, set[str]]:
    """Everything but times and sizes that was ever said of each step, by this run's starts together."""
    found = defaultdict(set)
    for event in [*events(folder, "step"), *events(folder, "validation")]:
        figures: dict[str, Any] = event.model_dump(exclude={"time", "tokens_per_second", "memory_bytes"})
        found[event.step].add(repr(figures))
    return found


def checkpoints(folder: Path) -> dict[int, dict[str, Any]]:
    return {event.step: event.model_dump(include=CHECKPOINT) for event in events(folder, "checkpoint")}


@pytest.mark.parametrize(("name", "adaptation"), PROMISED)
def test_a_run_that_was_killed_three_times_is_the_unbroken_run_bit_for_bit(
    trainer: Starter, bases: dict[bool, Path], tmp_path: Path, name: str, adaptation: str
) -> None:
    seed = int(os.environ.get("HONE_KILL_SEED", secrets.randbelow(2**32)))
    chance = random.Random(f"{seed} {name} {adaptation}")
    changes = {"resume_every_seconds": chance.choice([1e-6, 600.0])}
    whole, broken = (write_run(tmp_path / part, bases, name, adaptation, **changes) for part in ("whole", "broken"))
    assert trainer.start(whole) == 0, (whole / "trainer.log").read_text()
    steps = events(whole, "started")[0].total_steps
    kills = [
        Kill(step, chance.choice([FORWARD, UPDATE, TOLD])) for step in sorted(chance.sample(range(1, steps + 1), KILLS))
    ]
    print(f"HONE_KILL_SEED={seed}: {name} {adaptation}, {steps} steps, {changes}, killed at {kills}")

    for kill in kills:
        assert trainer.start(broken, kill) == -9, (broken / "trainer.log").read_text()
        assert events(broken)[-1].type != "end"
    assert trainer.start(broken) == 0, (broken / "trainer.log").read_text()

    assert ended(broken).status == "succeeded"
    assert len(events(broken, "started")) == KILLS + 1
    expected, found = told(whole), told(broken)
    assert sorted(found) == list(range(1, steps + 1))
    assert found == expected  # also what was said twice: a step that came again said the same
    assert checkpoints(broken) == checkpoints(whole)
    assert not list(broken.rglob("*.part")) and not (broken / "resume").exists()


@pytest.mark.parametrize("step", [4, 8], ids=["first epoch", "last epoch"])
def test_a_checkpoint_that_was_in_place_and_not_told_is_told_by_the_next_start(
    trainer: Starter, bases: dict[bool, Path], tmp_path: Path, step: int
) -> None:
    folder = write_run(tmp_path / "run", bases, "sft-completion", "lora", batch_size=3)
    assert trainer.start(folder, Kill(step, SAVED)) == -9
    assert step not in checkpoints(folder) and list(folder.glob(f"checkpoints/*-step-{step}/meta.json"))
    assert trainer.start(folder) == 0
    assert ended(folder).status == "succeeded"
    assert sorted(checkpoints(folder)) == [4, 8]
    assert trainer.start(folder) == 0  # and only once
    assert len(events(folder, "checkpoint")) == 2
