"""The processes that hand a run's figures to trackers, with the real wandb and the real TensorBoard."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.util import get_core_path

from accounts.models import Project
from tests.http_serving import Quiet, serving
from tests.jobs import make_job, make_resolved
from tests.workers import Workers, wait_for
from training.engine.emit import EventWriter
from training.engine.spec import CheckpointSaved, End, Step, Validation
from training.models import TrackerKey, TrainingJob
from training.trackers import tending
from training.trackers.models import Tracker
from training.trackers.spec import (
    TensorboardIntegration,
    TrackerConfig,
    TrackerState,
    WandbIntegration,
    WandbWish,
    ended_mark,
    place_of,
    read_state,
)

ROOT = Path(__file__).resolve().parents[2]
LONG = 240  # wandb takes seconds to be loaded, minutes on a starved machine


class Run:
    """A run folder, its trainer's voice, and the process that follows it."""

    def __init__(self, folder: Path, kind: str, **wish: object) -> None:
        self.folder, self.kind, self.place = folder, kind, place_of(folder, kind)
        self.place.mkdir(parents=True)
        self.out = EventWriter(folder / "events.jsonl")
        asked = WandbWish(project="tickets", offline=True, **wish) if kind == "wandb" else None
        numbers = {"model": "tiny", "hyperparameters": {"n_epochs": 2}}
        config = TrackerConfig(job_id="ftjob-abc", base_model="tiny", wandb=asked, configuration=numbers)
        (self.place / "config.json").write_text(config.model_dump_json())
        self.processes: list[subprocess.Popen[bytes]] = []

    def step(self, number: int) -> None:
        self.out.write(
            Step,
            step=number,
            epoch=number / 10,
            train_loss=2 / number,
            train_accuracy=0.5,
            learning_rate=1e-3,
            grad_norm=1.0,
            trained_tokens=number * 5,
            tokens_per_second=100.0,
            memory_bytes=1_000_000,
            metrics={"rewards/margins": 0.25},
        )

    def checkpoint(self, number: int) -> None:
        """The whole validation set and a saved checkpoint, as at the end of an epoch."""
        self.out.write(Validation, step=number, whole=True, loss=1.5, accuracy=0.4, tokens=20, rows=4)
        path = Path("checkpoints") / f"epoch-1-step-{number}"
        (self.folder / path).mkdir(parents=True)
        (self.folder / path / "adapter_model.safetensors").write_bytes(b"weights")
        self.out.write(
            CheckpointSaved, step=number, epoch=1, path=str(path), kind="lora", size_bytes=7, sha256="0" * 64
        )

    def follow(self) -> "subprocess.Popen[bytes]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        command = [sys.executable, "-m", "training.trackers.follow", str(self.folder), self.kind]
        with (self.place / "follow.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=kept, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def state(self) -> TrackerState:
        return read_state(self.place) or TrackerState()

    def until(self, condition: Callable[[], object], what: str) -> None:
        with suppress(AssertionError):
            return wait_for(condition, LONG, what)
        raise AssertionError(f"{what}: {self.state()}\n{(self.place / 'follow.log').read_text()}")

    def end_processes(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def make(kind: str, **wish: object) -> Run:
        made.append(Run(tmp_path / "run", kind, **wish))
        return made[-1]

    yield make
    for run in made:
        run.end_processes()


def records(run: Run) -> list[dict]:
    """Everything in the offline files, printed by wandb's own reader."""
    found = []
    for path in sorted(run.place.glob("wandb/offline-run-*/run-*.wandb")):
        command = [get_core_path(), "leet", "inspect", "--json", "--no-observability", "-run-file", str(path)]
        printed = subprocess.run([*command, str(run.place)], capture_output=True, text=True, check=True).stdout
        found += [json.loads(line) for line in printed.splitlines()]
    return found


def of(kind: str, found: list[dict]) -> list[dict]:
    return [record[kind] for record in found if record["type"] == kind]


def test_wandb_reads_back_every_step_once_though_the_process_was_killed(begin):
    run = begin("wandb", tags=["support"], checkpoints=True)
    for number in range(1, 21):
        run.step(number)
    run.checkpoint(20)
    first = run.follow()
    run.until(lambda: run.state().step >= 19, "19 steps")
    first.kill()
    first.wait()
    for number in range(21, 31):
        run.step(number)
    run.out.write(End, status="succeeded")
    run.follow()
    run.until(lambda: run.state().state == "done", "its end")
    assert run.state().step == 30

    found = records(run)
    history = [record["item"] for record in of("history", found)]
    assert [line["_step"] for line in history] == list(range(1, 31)), "no step twice, none left out"
    assert history[0]["train_loss"] == 2.0 and history[0]["rewards/margins"] == 0.25
    assert history[19]["full_valid_loss"] == 1.5 and history[19]["full_valid_mean_token_accuracy"] == 0.4
    started = of("run", found)[0]
    assert (started["run_id"], started["project"], started["display_name"]) == ("ftjob-abc", "tickets", "ftjob-abc")
    assert {"support", "openai/fine-tuning", "openai/ftjob-abc"} <= set(started["tags"])
    artifact = of("artifact", found)[0]
    assert artifact["type"] == "model" and "epoch-1" in artifact["aliases"]
    assert of("exit", found)[-1].get("exit_code", 0) == 0


def test_tensorboard_that_cannot_write_is_shown_and_catches_up_later(begin):
    run = begin("tensorboard")
    (run.folder / "tensorboard").write_text("a file where the folder should be")
    for number in range(1, 6):
        run.step(number)
    assert run.follow().wait(LONG) == 1
    state = run.state()
    assert state.state == "waiting" and state.retry_at > time.time() - LONG and "figures follow" in state.text
    (run.folder / "tensorboard").unlink()
    for number in range(6, 9):
        run.step(number)
    ended_mark(run.folder).write_text("succeeded")
    assert run.follow().wait(LONG) == 0
    assert (run.state().state, run.state().step, run.state().failures) == ("done", 8, 0)
    read = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [(each.step, round(each.value, 4)) for each in read.Scalars("train_loss")] == [
        (number, round(2 / number, 4)) for number in range(1, 9)
    ]


def test_a_paused_run_is_left_and_followed_again_without_a_step_twice(begin):
    run = begin("tensorboard")
    run.step(1)
    run.out.write(End, status="paused")
    assert run.follow().wait(LONG) == 0
    assert (run.state().state, run.state().step) == ("paused", 1)
    run.step(2)
    run.out.write(End, status="succeeded")
    assert run.follow().wait(LONG) == 0
    assert run.state().state == "done"
    read = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert [each.step for each in read.Scalars("train_loss")] == [1, 2]


def test_two_processes_never_follow_for_the_same_tracker(begin):
    run = begin("tensorboard")
    run.step(1)
    run.follow()
    run.until(lambda: run.state().state == "following", "the first to follow")
    assert run.follow().wait(LONG) == 0, "the second sees the lock and goes"
    assert run.state().pid == run.processes[0].pid


# ---- beside a real job: a tracker that hangs, one that refuses ----


@pytest.fixture
def silent_server() -> Iterator[tuple[str, threading.Event]]:
    """Takes connections and never answers."""
    called = threading.Event()
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(listening.accept()[0])
                    called.set()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", called
        listening.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


@pytest.fixture
def refusing_server() -> Iterator[str]:
    """Says to everybody that their key is not right."""

    class Refusal(Quiet):
        def do_POST(self) -> None:
            self.send_response(401)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"errors":[{"message":"invalid API key"}]}')

        do_GET = do_POST

    with serving(Refusal) as address:
        yield address


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path, FAKE_STEP_SECONDS="0.1")
    yield made
    made.end()
    print(made.log()[-6000:])


def tracked_job(project: Project, *wishes: object) -> TrainingJob:
    job = make_job(project, rows=100, resolved=make_resolved(n_epochs=50))  # longer than any wait here
    TrackerKey.store(project, "k" * 40)
    tending.add(job, wishes)  # type: ignore[arg-type]
    return job


ONLINE = WandbIntegration(type="wandb", wandb=WandbWish(project="tickets"))


def state_of(job: TrainingJob, kind: str) -> TrackerState:
    return read_state(place_of(job.folder, kind)) or TrackerState(state="starting")


@pytest.mark.django_db(transaction=True)
def test_steps_go_on_while_a_tracker_hangs_and_another_is_served(project, workers, silent_server):
    url, called = silent_server
    job = tracked_job(project, ONLINE, TensorboardIntegration(type="tensorboard"))
    workers.environment["HONE_WANDB_URL"] = url
    workers.start("train", "worker")
    wait_for(called.is_set, LONG, "wandb to call its server")
    job.refresh_from_db()
    at = job.step

    def has_gone_on() -> bool:
        job.refresh_from_db()
        return job.step >= at + 20

    wait_for(has_gone_on, LONG, "20 more steps")
    assert state_of(job, "wandb").step == 0, "the silent server was handed nothing"
    wait_for(lambda: state_of(job, "tensorboard").step > 0, LONG, "TensorBoard to be handed steps")
    assert not job.events.exclude(level="info").exists()


@pytest.mark.django_db(transaction=True)
def test_a_refused_key_is_told_and_the_job_goes_on(project, workers, refusing_server):
    job = tracked_job(project, ONLINE)
    workers.environment["HONE_WANDB_URL"] = refusing_server
    workers.start("train", "worker")
    wait_for(lambda: state_of(job, "wandb").state == "waiting", LONG, "the refusal")
    text = state_of(job, "wandb").text
    assert "Weights & Biases does not take figures now" in text and "k" * 40 not in text
    assert state_of(job, "wandb").failures == 1
    assert Tracker.objects.get(job=job).finished_at is None, "it is tried again"
    job.refresh_from_db()
    assert job.status == "running" and job.step > 0
