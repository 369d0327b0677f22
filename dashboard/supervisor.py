"""Keep a set of processes running: start, restart with back-off, stop without leaving a child."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PR_SET_PDEATHSIG = 1
QUICK_DEATH_SECONDS = 10  # a process that dies sooner is restarted more and more slowly
LONGEST_BACK_OFF_SECONDS = 15


def die_with_parent() -> None:
    """In the child: the kernel ends us when the supervisor dies, however it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Child:
    """One supervised process."""

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restarts: int = 0
    quick_deaths: int = 0
    start_after: float = 0.0

    def start(self, log_folder: Path) -> None:
        try:
            log = (log_folder / f"{self.name}.log").open("ab")
        except OSError:  # no room even for an empty file: better without a log than not at all
            log = Path(os.devnull).open("ab")  # noqa: SIM115 - closed below
        self.process = subprocess.Popen(
            self.command,
            env={**os.environ, **self.env},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the supervisor only, which then stops them in order
            preexec_fn=die_with_parent,
        )
        log.close()
        self.started_at = time.time()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Runs until `stopping`; writes the state of each process to `state_path` for /healthz."""

    def __init__(
        self,
        children: list[Child],
        *,
        log_folder: Path,
        state_path: Path,
        say: Callable[[str], None],
        grace_seconds: float = 40,
    ) -> None:
        self.children, self.log_folder, self.state_path, self.say = children, log_folder, state_path, say
        self.grace_seconds = grace_seconds
        self.stopping = False

    def start(self) -> None:
        for child in self.children:
            child.start(self.log_folder)
        self._write_state()

    def watch(self) -> None:
        """Blocks until `stopping` is set, by a signal handler."""
        while not self.stopping:
            time.sleep(0.2)
            for child in self.children:
                self._revive(child)

    def _revive(self, child: Child) -> None:
        if child.alive:
            return
        if child.process is not None:
            code, lived = child.process.returncode, time.time() - child.started_at
            child.quick_deaths = child.quick_deaths + 1 if lived < QUICK_DEATH_SECONDS else 0
            wait = min(0.5 * 2**child.quick_deaths, LONGEST_BACK_OFF_SECONDS)
            self._say(f"{child.name} ended (code {code}); starting it again in {wait:.0f} s. See {child.name}.log")
            child.process, child.start_after, child.restarts = None, time.time() + wait, child.restarts + 1
            self._write_state()
        elif time.time() >= child.start_after:
            child.start(self.log_folder)
            self._write_state()

    def stop(self) -> None:
        """Ask each process to end, wait, then end whatever is left of every tree."""
        trees = [tree for child in self.children if child.alive for tree in _tree(child.process.pid)]  # type: ignore[union-attr]
        for child in self.children:
            if child.alive:
                child.process.terminate()  # type: ignore[union-attr]
        deadline = time.time() + self.grace_seconds
        while time.time() < deadline and any(child.alive for child in self.children):
            time.sleep(0.1)
        left = psutil.wait_procs(trees, timeout=1)[1]
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=5)
        self.state_path.unlink(missing_ok=True)

    def _write_state(self) -> None:
        state = {
            child.name: {
                "pid": child.process.pid if child.process else None,
                "started_at": child.started_at,
                "restarts": child.restarts,
            }
            for child in self.children
        }
        draft = self.state_path.with_suffix(".new")
        try:
            draft.write_text(json.dumps(state))
            draft.rename(self.state_path)
        except OSError as error:  # a full disk must not end what runs; /healthz shows the state before
            self._say(f"{self.state_path} cannot be written: {error.strerror}")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the output may lie on the same full disk
            self.say(text)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
