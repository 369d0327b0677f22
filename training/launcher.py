"""Start the trainer of a job, ask it to stop, and leave no process of it behind. Also: how the workers are started."""

import fcntl
import importlib.util
import os
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

import psutil
from django.apps import apps
from django.conf import settings
from pydantic import ValidationError

from training import home
from training.engine import machine
from training.engine.spec import FAILED_PROCESS, End, JobSpec

STOP, PAUSE, SAVE = "stop", "pause", "save"  # control files, looked at by the trainer at every step
# In the environment of every process of a trainer: how an orphan is known, whatever its parent and its session.
JOB_MARK, START_MARK = "HONE_JOB_ID", "HONE_START_ID"
FOR_THE_ENGINE = ("HONE_TRAIN_THREADS",)
KILL_SECONDS = 5.0
LOG_TAIL_BYTES = 16_384


class WorkerProcess(NamedTuple):
    command: list[str]
    environment: dict[str, str]


def worker_processes() -> dict[str, WorkerProcess]:
    """How the workers are started, by name.

    Training has workers of its own, one process a slot, one job each. The other one has four threads: a matrix or a
    judge mostly waits for a model and the tokens of a large file take minutes, neither of which may hold up the checks
    of files and jobs. A process takes as many messages as it has threads, or a busy one would hoard the next.
    """
    ours = ("accounts", "training", "playground", "dashboard")
    modules = [f"{app.name}.tasks" for app in apps.get_app_configs() if app.name in ours]
    modules = [module for module in modules if importlib.util.find_spec(module)]

    def process(queue: str, processes: int, threads: int, stop_seconds: int) -> WorkerProcess:
        how = ["-p", str(processes), "-t", str(threads), "--queues", queue]
        stop = ["--worker-shutdown-timeout", str(stop_seconds * 1000)]
        command = [sys.executable, "-m", "dramatiq", "django_dramatiq.setup", *modules, *how, *stop]
        return WorkerProcess(command, {"dramatiq_queue_prefetch": str(threads)})

    return {
        "train": process("train", len(slots()), 1, settings.HONE_GRACE_SECONDS + 15),
        "worker": process("default", 1, 4, 10),
    }


def slots() -> list[str]:
    """What a job can hold: HONE_DEVICES_PER_JOB of HONE_TRAIN_GPUS each, or one slot for the devices that the machine
    has. GPUs that are too few for one more job stay idle."""
    gpus, each = settings.HONE_TRAIN_GPUS, settings.HONE_DEVICES_PER_JOB
    return [",".join(gpus[first : first + each]) for first in range(0, len(gpus) - each + 1, each)] or [""]


class Slot:
    """The right to train on one device or several, held by a file lock: it is free again the moment its holder dies."""

    def __init__(self, gpu: str, lock: TextIO) -> None:
        self.gpu, self._lock = gpu, lock

    @classmethod
    def take(cls) -> "Slot | None":
        """A free slot of this machine, or None when all are held."""
        folder = home.home() / "slots"
        folder.mkdir(parents=True, exist_ok=True)
        for gpu in slots():
            lock = (folder / f"{gpu or 'device'}.lock").open("a")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            return cls(gpu, lock)
        return None

    def free(self) -> None:
        self._lock.close()


@dataclass
class Trainer:
    """A trainer process on its leash; `pid` leads a session of its own."""

    job_id: str
    start_id: str  # of this start and no other
    folder: Path
    process: "subprocess.Popen[bytes]"
    processes: int = 1  # that train together

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def started(self) -> float:
        """Creation time of the process: with the pid it names this process and no later one."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).create_time()
        return 0.0

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, control: str) -> None:
        """Leave a control file: `stop`, `pause` or `save`."""
        (self.folder / control).touch()

    def terminate(self) -> None:
        """SIGTERM: write the resume point and end."""
        with suppress(ProcessLookupError):
            self.process.terminate()

    def kill(self) -> None:
        """End the whole tree now; a later trainer of the same job is left alone."""
        end_processes(self.job_id, start_id=self.start_id, grace_seconds=0)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(KILL_SECONDS)

    def exit_reason(self) -> str:
        """How it ended, for people; of several processes the one that broke first."""
        code = self.process.returncode
        code = 128 - code if code < 0 else code
        which = "it" if self.processes == 1 else f"one of its {self.processes} processes"
        if code == 137:
            return f"{which} was killed (signal 9); the machine may have run out of memory"
        if code > 128:
            return f"{which} was ended by signal {code - 128}"
        return f"{which} ended with exit code {code}"

    def last_words(self) -> End | None:
        """Why the run failed, from a process that is not the first: only that one writes events.jsonl."""
        for path in sorted(self.folder.glob(FAILED_PROCESS)):
            with suppress(OSError, ValidationError):
                return End.model_validate_json(path.read_text())
        return None


def start(spec: JobSpec, slot: Slot) -> Trainer:
    """Write the run folder's spec and start the trainer in a session of its own."""
    folder = home.run_folder(spec.job_id)
    folder.mkdir(parents=True, exist_ok=True)
    for old in [folder / control for control in (STOP, PAUSE, SAVE)] + list(folder.glob(FAILED_PROCESS)):
        old.unlink(missing_ok=True)
    part = folder / "spec.json.part"
    part.write_text(spec.model_dump_json(indent=2))
    part.replace(folder / "spec.json")
    start_id, processes = secrets.token_hex(8), settings.HONE_DEVICES_PER_JOB
    with (folder / "trainer.log").open("ab") as log:
        process = subprocess.Popen(
            trainer_command(folder, spec.method, processes),
            cwd=settings.BASE_DIR,
            env=trainer_environment(spec.job_id, start_id, slot.gpu),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Trainer(spec.job_id, start_id, folder, process, processes)


def trainer_command(folder: Path, method: str, processes: int = 1) -> list[str]:
    """The method's trainer on its leash, in as many processes as the job has devices."""
    python, module = sys.executable, settings.HONE_TRAINER_MODULE or f"training.engine.{method}"
    several = ["--processes", str(processes)] if processes > 1 else []
    return [python, "-m", "training.leash", str(os.getpid()), *several, python, "-m", module, str(folder)]


def trainer_environment(job_id: str, start_id: str, gpu: str) -> dict[str, str]:
    """Ours without the site's settings: the trainer knows no database, no queue and no secret."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HONE_", "DJANGO_"))}
    environment |= {key: os.environ[key] for key in FOR_THE_ENGINE if key in os.environ}
    environment |= {
        JOB_MARK: job_id,
        START_MARK: start_id,
        "HONE_GRACE_SECONDS": str(settings.HONE_GRACE_SECONDS),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    environment = machine.SETTINGS | environment
    if gpu:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    return environment


def processes_of(job_id: str, start_id: str = "") -> list[psutil.Process]:
    """Every living process of this job's trainer (of one start of it), also those with a session of their own."""
    marks = {JOB_MARK: job_id, START_MARK: start_id} if start_id else {JOB_MARK: job_id}
    return [process for process in psutil.process_iter() if _bears(process, marks)]


def _bears(process: psutil.Process, marks: dict[str, str]) -> bool:
    try:
        environment = process.environ()
        return marks.items() <= environment.items() and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):  # gone meanwhile, or somebody else's
        return False


def end_processes(job_id: str, *, start_id: str = "", grace_seconds: float) -> bool:
    """SIGTERM to every process of this trainer, SIGKILL after the grace time. True if there was any.

    The list is made before the first signal: a child whose parent is gone is not found through it any more.
    """
    found = processes_of(job_id, start_id)
    if not found:
        return False
    if grace_seconds:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        psutil.wait_procs(found, timeout=grace_seconds)
    for process in {*found, *processes_of(job_id, start_id)}:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=KILL_SECONDS)
    return True


def log_tail(folder: Path, lines: int = 12) -> str:
    """The last lines that the trainer printed."""
    try:
        with (folder / "trainer.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
