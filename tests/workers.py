"""Real worker processes for tests, ended by the fixture that started them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from django.conf import settings
from django.db import connection

from training import launcher
from training.models import TrainingJob

ROOT = Path(settings.BASE_DIR)


class Workers:
    """The worker processes as `manage.py up` starts them, on the database of the test."""

    def __init__(self, log_folder: Path, **environment: str) -> None:
        self.log_path = log_folder / "workers.log"
        self.environment = environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        """`train`, `worker` or (by default) only `train`."""
        for name in names or ("train",):
            worker = launcher.worker_processes()[name]
            with self.log_path.open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    worker.command,
                    cwd=ROOT,
                    env={
                        **os.environ,
                        "DJANGO_SETTINGS_MODULE": "tests.worker_settings",
                        "HONE_TEST_DATABASE": str(connection.settings_dict["NAME"]),
                        "HONE_HOME": str(settings.HONE_HOME),
                        "HONE_TRAINER_MODULE": "tests.fakes.trainer",
                        "HONE_GRACE_SECONDS": "10",
                        "HONE_LEASE_SECONDS": "6",
                        **worker.environment,
                        **self.environment,
                    },
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def tree(self) -> list[psutil.Process]:
        """Every process of the workers, trainers apart (these have sessions of their own but are children too)."""
        found = []
        for process in self.processes.values():
            try:
                master = psutil.Process(process.pid)
                found += [master, *master.children(recursive=True)]
            except psutil.NoSuchProcess:
                pass
        return found

    def workers(self) -> list[psutil.Process]:
        """Masters and workers without trainers and their leashes."""
        return [process for process in self.tree() if not is_trainer(process)]

    def kill(self) -> None:
        """kill -9 of every worker process at once; the trainers are left to their leash."""
        for process in self.workers():
            process.kill()
        for process in self.processes.values():
            process.wait(10)

    def kill_everything(self) -> None:
        """kill -9 of workers, leashes and trainers, as a power cut would."""
        killed = self.tree()
        for process in killed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.processes.values():
            process.wait(10)
        # A trainer is no child of ours: the system may take a moment to take it down, on a busy machine many.
        _, alive = psutil.wait_procs(killed, timeout=10)
        assert not alive, f"still there after kill -9: {alive}"

    def stop(self) -> None:
        """SIGTERM, as `manage.py up` does on Ctrl-C; returns when they are gone."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)

    def end(self) -> None:
        """At the end of a test, whatever happened."""
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for process in self.processes.values():
            process.wait(10)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


def is_trainer(process: psutil.Process) -> bool:
    try:
        return launcher.JOB_MARK in process.environ()
    except (psutil.Error, OSError):
        return False


def trainers_of(job: TrainingJob) -> list[psutil.Process]:
    """The trainer itself, without its leash."""
    found = launcher.processes_of(job.pk)
    return [process for process in found if "training.leash" not in process.cmdline()]


def wait_for(condition: Callable[[], object], seconds: float = 60, what: str = "it") -> None:
    """Polls; a process border has no other sign."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)
