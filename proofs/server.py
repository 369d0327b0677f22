"""The Hone that a proof talks to: one that runs already, else one started for it and ended with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from proofs.screen import Screen

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 600  # the first start fetches and converts the starter model
STOP_SECONDS = 90


class NoServer(Exception):
    """Why there is no Hone to talk to."""


@dataclass
class Hone:
    """Where it is and with which key."""

    url: str
    key: str
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def api(self) -> str:
        return f"{self.url}/v1"

    def keep_results(self) -> None:
        """Everything measured, for whoever wants to look closer."""
        path = home() / "proofs" / "demo.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.results, indent=2, ensure_ascii=False))


def home() -> Path:
    return Path(os.environ.get("HONE_HOME") or ROOT / "var").resolve()


def key() -> str:
    """HONE_API_KEY, else the key for local use."""
    given = os.environ.get("HONE_API_KEY")
    if given:
        return given
    path = home() / "api-key"
    if not path.exists():
        raise NoServer(f"There is no key in {path}. Set HONE_API_KEY, or HONE_HOME to the folder of the running Hone.")
    return path.read_text().strip()


@contextmanager
def find_or_start(screen: Screen) -> Iterator[Hone]:
    """The Hone at HONE_URL, else at HONE_PORT of this machine, else a new one on a free port."""
    given = os.environ.get("HONE_URL", "").rstrip("/")
    url = given or f"http://127.0.0.1:{os.environ.get('HONE_PORT', '8000')}"
    if answers(url):
        screen.line(f"Hone runs at {url}")
        yield Hone(url, key())
        return
    if given:
        raise NoServer(f"Nothing answers at HONE_URL={given}.")
    with started(screen) as hone:
        yield hone


def answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/healthz", timeout=3).status_code == 200
    except httpx2.HTTPError:
        return False


@contextmanager
def started(screen: Screen) -> Iterator[Hone]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = home() / "logs" / "demo.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "manage.py", "up", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=sink, start_new_session=True)
    try:
        with screen.part(f"No Hone answers here; started one at {url} (log: {log})"):
            await_start(process, url, log, screen)
        yield Hone(url, key())
    finally:
        screen.line("Stopping the Hone that was started for this ...")
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _starter_is_settled(log: Path) -> bool:
    """The site is there before its starter model; a proof needs both."""
    said = log.read_text(errors="replace")
    return "Starter model: on disk" in said or "on the Models page" in said or os.environ.get("HONE_STARTER") == "0"


def await_start(process: "subprocess.Popen[bytes]", url: str, log: Path, screen: Screen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not (answers(url) and _starter_is_settled(log)):
        lines = log.read_text(errors="replace").strip().splitlines()
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer("Hone did not start:\n" + "\n".join(lines[-15:]))
        screen.status(lines[-1].removeprefix("hone: ") if lines else "starting ...")
        time.sleep(0.3)
    screen.status("")
