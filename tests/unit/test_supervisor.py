"""The supervisor restarts what dies and leaves nothing behind."""

import json
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from dashboard.supervisor import Child, Supervisor

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# a child that starts a grandchild in a session of its own, as a launcher of trainers does
WITH_GRANDCHILD = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; subprocess.Popen(['sleep', '60'], start_new_session=True); time.sleep(60)",
]


def until(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]):
    made = Supervisor(
        [Child("one", SLEEP), Child("two", WITH_GRANDCHILD)],
        log_folder=tmp_path,
        state_path=tmp_path / "processes.json",
        say=said.append,
    )
    made.start()
    watcher = threading.Thread(target=made.watch)
    watcher.start()
    yield made
    made.stopping = True
    watcher.join()
    made.stop()


def test_a_child_that_dies_is_started_again_and_the_death_is_told(supervisor, said, tmp_path):
    first = supervisor.children[0].process.pid
    psutil.Process(first).kill()
    until(lambda: supervisor.children[0].alive and supervisor.children[0].process.pid != first)
    assert "one ended (code -9)" in said[0]
    state = json.loads((tmp_path / "processes.json").read_text())
    assert state["one"]["restarts"] == 1 and state["two"]["restarts"] == 0


def test_a_full_disk_does_not_end_what_runs(tmp_path):
    def say(text: str) -> None:
        raise OSError(28, "No space left on device")  # the output lies on the same disk

    full = Supervisor(
        [Child("one", SLEEP)], log_folder=tmp_path / "gone", state_path=tmp_path / "gone" / "processes.json", say=say
    )
    full.start()
    first = full.children[0].process
    first.kill()
    first.wait()
    full._revive(full.children[0])
    until(lambda: full._revive(full.children[0]) or full.children[0].alive)
    full.stop()


def test_stopping_ends_grandchildren_that_left_the_process_group(supervisor):
    until(lambda: psutil.Process(supervisor.children[1].process.pid).children())
    grandchild = psutil.Process(supervisor.children[1].process.pid).children()[0]
    supervisor.stopping = True
    supervisor.stop()
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE
    assert not any(child.alive for child in supervisor.children)


def test_children_end_when_the_supervisor_is_killed(tmp_path):
    code = (
        "from pathlib import Path; from dashboard.supervisor import Child, Supervisor; import sys, time\n"
        f"s = Supervisor([Child('one', {SLEEP!r})], log_folder=Path({str(tmp_path)!r}),"
        f" state_path=Path({str(tmp_path)!r}) / 'p.json', say=print)\n"
        "s.start(); print(s.children[0].process.pid, flush=True); s.watch()"
    )
    import subprocess

    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
