"""`manage.py serve` as a process of its own, with the fake vLLM: it serves, stops cleanly, and survives kill -9."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.factories import tiny_model
from tests.fakes.vllm import fake_python

ROOT = Path(__file__).parent.parent.parent
WANT_TINY = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from playground import deployments
from training.models import BaseModel
base = BaseModel.objects.create(name="tiny", source="folder", source_id="{folder}", folder="{folder}", status="ready")
deployments.want(base_model=base)
"""


class Site:
    """A data folder of its own with one base model that is wanted."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("HONE_")}
        self.environment = ours | {
            "HONE_HOME": str(self.home),
            "HONE_VLLM_PYTHON": fake_python(folder),
            "DJANGO_SETTINGS_MODULE": "dashboard.settings",
        }
        model = tiny_model(folder / "tiny")
        script = WANT_TINY.format(folder=model)
        subprocess.run([sys.executable, "-c", script], env=self.environment, cwd=ROOT, check=True)
        self.processes: list[subprocess.Popen[bytes]] = []

    def serve(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "manage.py", "serve"], env=self.environment, cwd=ROOT)
        self.processes.append(process)
        return process

    def row(self) -> tuple[str, int | None]:
        with sqlite3.connect(self.home / "db.sqlite3") as connection:
            return connection.execute("SELECT state, server_pid FROM playground_deployment").fetchone()

    def wait(self, condition: Callable[[], bool], seconds: float = 40) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.row()
            time.sleep(0.1)

    def wait_until_ready(self) -> psutil.Process:
        self.wait(lambda: self.row()[0] == "ready")
        return psutil.Process(self.row()[1])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    for process in site.processes:
        if process.poll() is None:
            process.terminate()
            process.wait(20)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_it_serves_beats_and_stops_cleanly(site: Site) -> None:
    process = site.serve()
    server = site.wait_until_ready()
    beat = site.home / "processes" / "serve.json"
    site.wait(lambda: bool(json.loads(beat.read_text())["servers"]))
    assert json.loads(beat.read_text())["servers"][0]["model"] == "tiny"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert gone(server)
    assert site.row()[0] == "queued"
    assert not beat.exists()


def test_after_kill_9_no_server_is_left_and_the_next_start_serves_again(site: Site) -> None:
    process = site.serve()
    first = site.wait_until_ready()
    process.kill()
    process.wait()
    site.wait(lambda: gone(first), 10)
    site.serve()
    site.wait(lambda: site.row()[0] == "ready" and site.row()[1] != first.pid)
    assert not gone(site.wait_until_ready())
