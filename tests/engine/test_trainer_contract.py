"""The rules between launcher and trainer, held by the fake trainer and the real one alike."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.factories import chat_rows, tiny_model, write_jsonl
from training.engine.spec import AnyEvent, CheckpointSaved, End, JobSpec, Started, Step, Validation
from training.events import EventReader

ROOT = Path(__file__).parents[2]
ROWS, EPOCHS = 24, 3


@pytest.fixture(params=["tests.fakes.trainer", "training.engine.sft"], ids=["fake", "real"])
def module(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def run_folder(tmp_path: Path, base: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    spec = JobSpec(
        job_id="ftjob-contract",
        base_model="tiny",
        base_path=base,
        training_file=write_jsonl(tmp_path / "train.jsonl", chat_rows(ROWS)),
        validation_file=write_jsonl(tmp_path / "valid.jsonl", chat_rows(4, 500)),
        n_epochs=EPOCHS,
        batch_size=1,
        learning_rate=1e-3,
        max_length=128,
        lora_r=4,
        lora_alpha=8,
        seed=7,
        valid_every_steps=8,
        valid_batch_rows=2,
    )
    (folder / "spec.json").write_text(spec.model_dump_json())
    return folder


class Run:
    """One start of a trainer on a folder."""

    def __init__(self, module: str, folder: Path) -> None:
        self.folder, self.reader, self.events = folder, EventReader(folder / "events.jsonl"), list[AnyEvent]()
        environment = {**os.environ, "FAKE_STEP_SECONDS": "0.02", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self.log = (folder / "trainer.log").open("ab")
        command = [sys.executable, "-m", module, str(folder)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=self.log, stderr=self.log)

    def until(self, condition: Callable[["Run"], bool]) -> "Run":
        deadline = time.monotonic() + 90
        while not condition(self):
            running = self.process.poll() is None
            while new := self.reader.read():
                self.events += new
            assert running or condition(self), f"it ended early:\n{(self.folder / 'trainer.log').read_text()[-2000:]}"
            assert time.monotonic() < deadline, "it does not come"
            time.sleep(0.01)
        return self

    def kill(self) -> None:
        """kill -9, then what it had still written is read."""
        self.process.kill()
        self.process.wait()
        while new := self.reader.read():
            self.events += new

    def steps(self) -> list[int]:
        return [event.step for event in self.events if isinstance(event, Step)]

    def finish(self) -> End:
        self.until(lambda run: bool(run.events) and isinstance(run.events[-1], End))
        assert self.process.wait(30) is not None
        self.log.close()
        return self.events[-1]


@pytest.fixture
def start(module: str, run_folder: Path):
    runs: list[Run] = []

    def start_run() -> Run:
        runs.append(Run(module, run_folder))
        return runs[-1]

    yield start_run
    for run in runs:
        run.process.kill()
        run.process.wait()


def test_a_plain_run_tells_every_step_and_leaves_complete_checkpoints(start, run_folder: Path):
    run = start()
    end = run.finish()
    assert (end.status, run.process.returncode) == ("succeeded", 0), end
    (started,) = [event for event in run.events if isinstance(event, Started)]
    assert (started.total_steps, started.steps_per_epoch, started.resumed_step) == (ROWS * EPOCHS, ROWS, 0)
    assert run.steps() == list(range(1, ROWS * EPOCHS + 1))
    whole = [event.step for event in run.events if isinstance(event, Validation) and event.whole]
    assert whole == [ROWS, 2 * ROWS, 3 * ROWS]
    assert [event.step for event in run.events if isinstance(event, Validation) and not event.whole][:2] == [8, 16]
    saved = [event for event in run.events if isinstance(event, CheckpointSaved)]
    assert [(event.step, event.epoch) for event in saved] == [(ROWS, 1), (2 * ROWS, 2), (3 * ROWS, 3)]
    for event in saved:
        assert (run_folder / event.path / "meta.json").exists()
        assert event.full_valid_loss is not None
    assert not list(run_folder.glob("checkpoints/*.part*"))


@pytest.mark.parametrize("wish,status", [("stop", "cancelled"), ("pause", "paused"), ("sigterm", "interrupted")])
def test_a_wish_ends_the_run_soon_and_the_next_start_continues_at_the_next_step(start, run_folder: Path, wish, status):
    first = start().until(lambda run: len(run.steps()) >= ROWS + 5)
    if wish == "sigterm":
        first.process.send_signal(signal.SIGTERM)
        first.process.send_signal(signal.SIGTERM)  # from the worker and from the leash
    else:
        (run_folder / wish).touch()
    assert first.finish().status == status
    last = first.steps()[-1]
    assert last < ROWS * EPOCHS
    for name in ("stop", "pause"):
        (run_folder / name).unlink(missing_ok=True)
    second = start()
    second.reader.offset = first.reader.offset
    assert second.finish().status == "succeeded"
    if status != "cancelled":  # a cancelled job is not continued, so it need not save
        assert second.steps()[0] == last + 1
    steps = sorted(set(first.steps()) | set(second.steps()))
    assert steps == list(range(1, ROWS * EPOCHS + 1))


def test_after_kill_9_the_next_start_goes_on_from_the_newest_saved_state(start):
    first = start().until(lambda run: len(run.steps()) >= ROWS + 5)
    first.kill()
    second = start()
    second.reader.offset = first.reader.offset
    assert second.finish().status == "succeeded"
    assert second.steps()[0] == ROWS + 1  # the checkpoint of epoch 1
    assert second.steps() == list(range(ROWS + 1, ROWS * EPOCHS + 1))


def test_losses_after_a_resume_are_those_of_an_unbroken_run(start, run_folder: Path, module: str):
    first = start().until(lambda run: len(run.steps()) >= ROWS + 5)
    first.kill()
    second = start()
    second.finish()
    seen: dict[int, float] = {}
    for event in second.events:  # from the beginning of the file: both starts
        if isinstance(event, Step):
            assert seen.setdefault(event.step, event.train_loss) == pytest.approx(event.train_loss, abs=1e-5)
