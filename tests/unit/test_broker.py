"""The embedded queue with real dramatiq worker processes."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from tests.workers import wait_for

ROOT = Path(__file__).parents[2]


class Queue:
    def __init__(self, folder: Path, actors: ModuleType) -> None:
        self.folder, self.actors, self.processes = folder, actors, list[subprocess.Popen[bytes]]()

    def start_worker(self, threads: int = 2) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dramatiq", "tests.fakes.queue_actors", "-p", "1", "-t", str(threads)]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=os.environ.copy(), stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def lines(self) -> list[str]:
        path = self.folder / "results"
        return path.read_text().splitlines() if path.exists() else []

    def count(self, state: str) -> int:
        query = "SELECT count(*) FROM message WHERE state=?"
        return self.actors.broker.connection().execute(query, (state,)).fetchone()[0]

    def kill_9(self, process: subprocess.Popen[bytes]) -> None:
        tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in tree:
            member.kill()
        process.wait()


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    import dramatiq

    monkeypatch.setenv("QUEUE_PATH", str(tmp_path / "queue.sqlite3"))
    monkeypatch.setenv("RESULT_PATH", str(tmp_path / "results"))
    own = dramatiq.get_broker()
    sys.modules.pop("tests.fakes.queue_actors", None)
    queue = Queue(tmp_path, importlib.import_module("tests.fakes.queue_actors"))
    yield queue
    dramatiq.set_broker(own)
    for process in queue.processes:
        if process.poll() is None:
            queue.kill_9(process)


def test_messages_of_one_queue_are_taken_in_order(queue: Queue):
    for number in range(20):
        queue.actors.work.send(number)
    queue.start_worker(threads=1)
    wait_for(lambda: queue.lines()[-1:] == ["end 19"], what="the last message")
    assert queue.lines() == [line for number in range(20) for line in (f"begin {number}", f"end {number}")]
    wait_for(lambda: queue.count("running") == 0, what="the last ack")


def test_two_workers_share_the_messages_and_each_runs_once(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QUEUE_DEAD_AFTER_SECONDS", "60")  # on a loaded machine a living one may be silent for seconds
    queue.start_worker()
    queue.start_worker()
    for number in range(200):
        queue.actors.work.send(number)
    wait_for(lambda: len(queue.lines()) >= 400, what="200 messages")
    time.sleep(0.5)
    assert sorted(queue.lines()) == sorted(f"{word} {n}" for n in range(200) for word in ("begin", "end"))


def test_a_message_of_a_worker_killed_with_kill_9_is_delivered_again(queue: Queue):
    queue.actors.work.send(1, 3.0)
    first = queue.start_worker()
    wait_for(lambda: queue.lines() == ["begin 1"], what="the first delivery")
    queue.kill_9(first)
    killed = time.monotonic()
    queue.start_worker()
    wait_for(lambda: queue.lines() == ["begin 1", "begin 1", "end 1"], what="the second delivery")
    assert time.monotonic() - killed < 15
    assert queue.count("queued") == 0


def test_a_long_message_of_a_living_worker_is_not_delivered_twice(queue: Queue):
    queue.actors.work.send(1, 4.0)  # longer than it takes to declare a worker dead
    queue.start_worker()
    queue.start_worker()
    wait_for(lambda: "end 1" in queue.lines(), what="the end")
    assert queue.lines() == ["begin 1", "end 1"]


def test_what_a_worker_holds_but_has_not_begun_is_queued_again_at_its_shutdown(queue: Queue):
    for number in range(3):
        queue.actors.work.send(number, 1.5 if number == 0 else 0)
    worker = queue.start_worker(threads=1)
    wait_for(lambda: queue.lines() == ["begin 0"], what="the first message")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    assert queue.lines() == ["begin 0", "end 0"]
    assert (queue.count("queued"), queue.count("running")) == (2, 0)
    queue.start_worker(threads=1)
    wait_for(lambda: queue.lines()[-1] == "end 2", what="the others")


def test_a_delayed_message_waits_for_its_time(queue: Queue):
    queue.start_worker()
    sent = time.time()
    queue.actors.work.send_with_options(args=(1,), delay=1500)
    wait_for(lambda: "end 1" in queue.lines(), what="the message")
    assert (queue.folder / "results").stat().st_mtime - sent > 1.4
    wait_for(lambda: queue.count("queued") + queue.count("running") == 0, what="the ack")


def test_a_message_that_fails_is_tried_again_and_one_that_always_fails_is_kept_as_dead(queue: Queue):
    queue.actors.fail_twice.send(1)
    queue.actors.broker.enqueue(queue.actors.work.message(None, "not a number"))  # raises in sleep()
    queue.start_worker()
    wait_for(lambda: queue.lines().count("try 1") == 3 and queue.count("dead") == 1, what="three tries")
    wait_for(lambda: queue.count("queued") + queue.count("running") == 0, what="the ack")


def test_an_idle_worker_uses_next_to_no_cpu(queue: Queue):
    worker = queue.start_worker()
    wait_for(lambda: "is ready" in (queue.folder / "log").read_text(), what="the worker")
    tree = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]

    def cpu() -> float:
        return sum(process.cpu_times().user + process.cpu_times().system for process in tree)

    def is_idle() -> bool:
        before = cpu()
        time.sleep(3)
        return (cpu() - before) / 3 < 0.05

    wait_for(is_idle, what="the worker to rest")  # on a busy machine its start takes longer than its word
