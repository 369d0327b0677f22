"""Does a tracker that hangs for 60 s cost a run any time?

    python -m proofs.trackers [--model FOLDER] [--steps N]

The same job (same seed) three times with real workers and the real trainer: alone, then with Weights & Biases at a
server that takes the connection and says nothing for 60 s (and TensorBoard beside it), then alone again, which shows
how much two equal runs differ here. The run beside the hanging tracker may take at most as long as the slower of the
others and that difference more. Without --model it trains a tiny random Llama. Works in a folder of its own. Exits 1
otherwise.
"""

import argparse
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from proofs.followed import ended_well, followed
from proofs.recovery import WorkerProcesses
from proofs.screen import Screen, duration, table

HANG_SECONDS = 60
LEAST_SLACK = 0.10  # of the run: two equal runs may by chance take exactly as long


class SilentServer:
    """Takes connections, holds each for 60 s without a word, then closes it."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self.called_at = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.called_at = self.called_at or time.monotonic()
                threading.Timer(HANG_SECONDS, connection.close).start()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a folder with a real model")
    parser.add_argument(
        "--steps", type=int, default=3000, help="so many that a run lasts longer than the tracker hangs"
    )
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hone-trackers-"))
    server = SilentServer()
    os.environ |= {
        "HONE_HOME": str(folder),
        "DJANGO_SETTINGS_MODULE": "dashboard.settings",
        "HONE_WANDB_URL": server.url,
    }
    os.environ.setdefault("HONE_LOG_LEVEL", "WARNING")
    workers = WorkerProcesses(folder / "workers.log")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return prove(Screen(), workers, server, arguments.model, arguments.steps)
    finally:
        workers.kill_everything()
        shutil.rmtree(folder, ignore_errors=True)


def prove(screen: Screen, workers: WorkerProcesses, server: SilentServer, model: Path | None, steps: int) -> int:
    import django

    django.setup()
    from django.core.management import call_command

    from accounts.models import Project
    from proofs.estimates import dataset, make_models
    from training.models import TrackerKey
    from training.trackers.spec import TensorboardIntegration, WandbIntegration, WandbWish

    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="Trackers proof")
    TrackerKey.store(project, "k" * 40)
    base = make_models(model)["large" if model else "tiny"]
    rows = 100
    files = {
        "training_file": dataset(project, rows, 8),
        "validation_file": dataset(project, 10, 8, first=10_000),
    }
    online = WandbIntegration(type="wandb", wandb=WandbWish(project="proof"))
    both = [online, TensorboardIntegration(type="tensorboard")]
    epochs, batch_size = plan(steps, rows)
    screen.heading(f"Trackers: {steps} steps of {base.name} beside one that hangs for {HANG_SECONDS} s")
    workers.start()
    try:
        jobs = [
            run(
                screen,
                name,
                project=project,
                base_model=base,
                trackers=trackers,
                epochs=epochs,
                batch=batch_size,
                **files,
            )
            for name, trackers in (("alone", []), ("beside the tracker", both), ("alone again", []))
        ]
        return report(screen, server, jobs)
    finally:
        workers.end()


def plan(steps: int, rows: int) -> tuple[int, int]:
    """Epochs (at most 50) and batch size for about so many steps."""
    epochs = min(50, max(1, steps // rows))
    return epochs, max(1, rows * epochs // steps)


def run(screen: Screen, name: str, *, trackers: list[Any], epochs: int, batch: int, **asked: Any) -> Any:
    from training import actions
    from training.engine.spec import Recipe

    recipe = Recipe(n_epochs=epochs, batch_size=batch, packing="off")
    job = actions.create_job(user=None, recipe=recipe, label=name, seed=1, trackers=trackers, **asked)
    job = ended_well(followed(screen, job, name), name)
    screen.line(f"{name}: {job.step} steps in {duration(seconds_of(job))}; {said(job)}")
    return job


def seconds_of(job: Any) -> float:
    """From its turn to its end."""
    return float((job.finished_at - job.started_at).total_seconds())


def said(job: Any) -> str:
    from training.trackers import tending

    return "; ".join(f"{each.title}: {each.words}" for each in tending.states(job)) or "no tracker"


def report(screen: Screen, server: SilentServer, jobs: list[Any]) -> int:
    from training.trackers import tending

    first, beside, again = (seconds_of(job) for job in jobs)
    spread = max(abs(first - again), LEAST_SLACK * max(first, again))
    lines = [[job.label, str(job.step), f"{seconds_of(job):.1f} s"] for job in jobs]
    screen.table(table(["run", "steps", "wall time"], lines))
    screen.line(f"two equal runs differ by {abs(first - again):.1f} s; the tracker hung for {HANG_SECONDS} s")
    hung = bool(server.called_at) and beside > HANG_SECONDS
    if not hung:
        screen.line("the tracker did not hang for the whole 60 s beside the run: make it longer with --steps")
    silent = all(each.state.step == 0 for each in tending.states(jobs[1]) if each.tracker.kind == "wandb")
    screen.line(f"beside the hanging tracker: {beside - max(first, again):+.1f} s against the slower run alone")
    return 0 if hung and silent and beside <= max(first, again) + spread else 1


if __name__ == "__main__":
    sys.exit(main())
