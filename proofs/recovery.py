"""Does a job survive everything that can be killed?

    python -m proofs.recovery [--model FOLDER] [--rows N]

Trains the same job (same seed, float32) four times with real workers, a real queue and the real trainer: unbroken, and
with kill -9 of the worker, of the trainer and of everything, each at a random step (printed; --seed N draws those of N
again). Each must end by itself, the database must hold every step exactly once, and the loss of every step and of every
validation must be the unbroken run's: on a CPU bit for bit, on a GPU within 1e-3. Without --model it trains a tiny
random Llama. It works in a folder of its own, on the database and queue of the environment (so also with
HONE_DATABASE_URL and HONE_REDIS_URL). Exits 1 when anything differs.
"""

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from proofs.followed import followed
from proofs.screen import Screen, duration, table

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-3  # on a GPU, whose kernels may add in any order
EPOCHS = 3
SEED = 20_260
LAST_SHARE = 0.8  # of the steps: what is killed later may have ended before the kill arrives


@dataclass
class Outcome:
    """What one run left in the database."""

    name: str
    status: str
    steps: int
    distinct: int
    total: int
    events: int
    checkpoints: int
    starts: int
    resumed_step: int
    losses: dict[str, float]  # of every step, and of the whole validation set after an epoch
    killed_at: int
    device: str
    seconds: float
    reason: str

    def apart(self, unbroken: "Outcome") -> float:
        """The largest difference of a loss; NaN when they are not as many."""
        if self.losses.keys() != unbroken.losses.keys():
            return float("nan")
        return max(abs(loss - unbroken.losses[at]) for at, loss in self.losses.items())

    def problems(self, unbroken: "Outcome") -> list[str]:
        found = []
        if self.status != "succeeded":
            found.append(f"{self.status}: {self.reason}")
        if not self.steps == self.distinct == self.events == self.total:
            found.append(f"{self.steps} rows, {self.distinct} steps, {self.events} events of {self.total}")
        if self.checkpoints != EPOCHS:
            found.append(f"{self.checkpoints} checkpoints of {EPOCHS}")
        if not self.apart(unbroken) <= (0.0 if self.device == "CPU" else TOLERANCE):
            found.append(f"a loss differs by {self.apart(unbroken):.2e}")
        if self is not unbroken and not self.killed_at:
            found.append("it ended before it was killed")
        return found


class WorkerProcesses:
    """Both worker commands, as `manage.py up` starts them, and kill -9 of any part."""

    def __init__(self, log: Path) -> None:
        self.log, self.processes = log, list[subprocess.Popen[bytes]]()

    def start(self) -> None:
        from training.launcher import worker_processes

        with self.log.open("ab") as log:
            self.processes = [
                subprocess.Popen(
                    worker.command,
                    cwd=ROOT,
                    env=os.environ | worker.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                for worker in worker_processes().values()
            ]

    def kill_workers(self) -> None:
        self._kill(lambda process: not is_trainer(process))

    def kill_trainer(self) -> None:
        self._kill(lambda process: is_trainer(process) and "training.leash" not in process.cmdline())

    def kill_everything(self) -> None:
        self._kill(lambda _process: True)

    def _kill(self, chosen: Callable[[psutil.Process], bool]) -> None:
        for process in [process for process in self._tree() if chosen(process)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def restart_what_died(self) -> None:
        """What the supervisor of `manage.py up` does."""
        if any(process.poll() is not None for process in self.processes):
            self.end()
            self.start()

    def _tree(self) -> list[psutil.Process]:
        found = []
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                master = psutil.Process(process.pid)
                found += [master, *master.children(recursive=True)]
        return found

    def end(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(90)


def is_trainer(process: psutil.Process) -> bool:
    from training.launcher import JOB_MARK

    try:
        return JOB_MARK in process.environ()
    except (psutil.Error, OSError):
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a folder with a real model instead of the tiny one")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of the steps where it is killed")
    parser.add_argument("--rows", type=int, default=0, help="training rows (default 40, with --model 24)")
    arguments = parser.parse_args()
    rows = arguments.rows or (24 if arguments.model else 40)
    folder = Path(tempfile.mkdtemp(prefix="hone-recovery-"))
    os.environ["HONE_HOME"] = str(folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
    os.environ.setdefault("HONE_LOG_LEVEL", "WARNING")
    workers = WorkerProcesses(folder / "workers.log")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ended from outside: leave no process either
    try:
        return prove(Screen(), workers, arguments.model, rows, arguments.seed)
    finally:
        workers.kill_everything()
        shutil.rmtree(folder, ignore_errors=True)


def prove(screen: Screen, workers: WorkerProcesses, model: Path | None, rows: int, seed: int) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    from accounts.models import Project

    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="Recovery proof")
    material = make_material(project, model, rows)
    screen.heading(f"Recovery: {material['base_model'].name}, {rows} rows, {EPOCHS} epochs, --seed {seed}")
    places = sorted(random.Random(seed).sample(range(1, int(LAST_SHARE * rows * EPOCHS)), 3))
    kills: dict[str, Callable[[], None]] = {
        "kill -9 worker": workers.kill_workers,
        "kill -9 trainer": workers.kill_trainer,
        "kill -9 everything": workers.kill_everything,
    }
    workers.start()
    try:
        outcomes = [run_one(screen, workers, project, material, "unbroken")]
        for (name, kill), at in zip(kills.items(), places, strict=True):
            outcomes.append(run_one(screen, workers, project, material, name, kill, at))
    finally:
        workers.end()
        project.delete()
        material["base_model"].delete()
    return report(screen, outcomes)


def make_material(project, model: Path | None, rows: int) -> dict:
    """A base model in the catalogue and two files."""
    import json

    from tests.factories import chat_rows
    from tests.jobs import make_base_model
    from training import files

    def dataset(filename: str, first: int, count: int):
        content = "".join(json.dumps(row) + "\n" for row in chat_rows(count, first))
        return files.create_file(project, None, filename, "fine-tune", content.encode())

    return {
        "base_model": make_base_model(f"recovery-{os.getpid()}", folder=model and model.resolve()),
        "training_file": dataset("train.jsonl", 0, rows),
        "validation_file": dataset("valid.jsonl", 10_000, 12),
    }


def run_one(
    screen: Screen,
    workers: WorkerProcesses,
    project,
    material: dict,
    name: str,
    kill: Callable[[], None] | None = None,
    at: int = 0,
) -> Outcome:
    """`kill` as soon as the database knows of step `at`."""
    from training import actions
    from training.engine.spec import Recipe

    recipe = Recipe(n_epochs=EPOCHS, batch_size=1, dtype="float32")
    began = time.monotonic()
    job = actions.create_job(project=project, user=None, recipe=recipe, seed=SEED, label=name, **material)
    killed_at = 0

    def look(job) -> None:
        nonlocal killed_at
        if kill and not killed_at and not job.is_final and job.total_steps and job.step >= at:
            killed_at = job.step
            kill()
            screen.line(f"{name} at step {killed_at} of {job.total_steps} (drawn: {at})")
        workers.restart_what_died()

    job = followed(screen, job, name, look, 0.02)
    seconds = time.monotonic() - began
    screen.line(f"{name}: {job.status} in {duration(seconds)}")
    return outcome(job, name, killed_at, seconds)


def outcome(job, name: str, killed_at: int, seconds: float) -> Outcome:
    figures = list(job.metrics.values_list("step", "train_loss", "full_valid_loss"))
    losses = {f"step {step}": loss for step, loss, _ in figures}
    losses |= {f"validation {step}": loss for step, _, loss in figures if loss is not None}
    started = job.started_json or {}
    return Outcome(
        name=name,
        status=job.status,
        steps=len(figures),
        distinct=len({step for step, *_ in figures}),
        total=job.total_steps,
        events=job.events.filter(type="metrics").count(),
        checkpoints=job.checkpoints.count(),
        starts=job.attempt,
        resumed_step=started.get("resumed_step", 0),
        losses=losses,
        killed_at=killed_at,
        device=started.get("device", ""),
        seconds=seconds,
        reason=job.error_message,
    )


def report(screen: Screen, outcomes: list[Outcome]) -> int:
    unbroken = outcomes[0]
    rows = [
        [
            outcome.name,
            f"{outcome.steps} of {outcome.total}",
            str(outcome.killed_at or ""),
            str(outcome.starts),
            str(outcome.resumed_step),
            f"{outcome.losses.get(f'validation {outcome.total}', float('nan')):.6f}",
            f"{outcome.apart(unbroken):.1e}",
            f"{outcome.seconds:.1f} s",
            "; ".join(outcome.problems(unbroken)) or "proven",
        ]
        for outcome in outcomes
    ]
    head = ["run", "steps", "killed at", "starts", "resumed after", "last validation loss", "largest difference"]
    head += ["time", "verdict"]
    screen.table(table(head, rows))
    return 1 if any(outcome.problems(unbroken) for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
