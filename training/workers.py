"""What every worker process does beside its messages: notice lost ones, notice a shutdown, not outlive its master.

The database is the truth and the queue only a wake-up: a message can be lost with a Redis, or with a power cut.
"""

import hashlib
import logging
import multiprocessing
import os
import secrets
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from django import db
from dramatiq import Broker, Worker
from dramatiq.middleware import Middleware

from training.leash import die_with_parent

log = logging.getLogger(__name__)
LOOK_SECONDS = 2.0
stopping = threading.Event()  # set as soon as this worker is asked to end; long actors look at it


class Wakeful(Middleware):
    """Sends the wake-ups that are missing, while this process has nothing to do."""

    def __init__(self) -> None:
        self._busy = 0
        self._lock = threading.Lock()

    def after_process_boot(self, broker: Broker) -> None:
        """A worker whose master was killed would go on beside the next one."""
        die_with_parent()
        master = multiprocessing.parent_process()
        if master and os.getppid() != master.pid:  # killed before the line above; nothing has begun here
            os._exit(1)

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        stopping.clear()

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        queues = set(worker.consumer_whitelist or broker.get_declared_queues())
        threading.Thread(target=self._look, args=(queues,), name="wakeful", daemon=True).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        stopping.set()

    def before_process_message(self, broker: Broker, message: Any) -> None:
        with self._lock:
            self._busy += 1

    def after_process_message(self, broker: Broker, message: Any, **outcome: Any) -> None:
        with self._lock:
            self._busy -= 1

    def after_skip_message(self, broker: Broker, message: Any) -> None:
        with self._lock:
            self._busy -= 1

    def _look(self, queues: set[str]) -> None:
        from training import tasks

        while not stopping.wait(LOOK_SECONDS):
            if self._busy:
                continue
            try:
                tasks.send_missing_wake_ups(queues)
            except Exception:  # the database or the queue server is away: the next look tries again
                log.warning("could not look for waiting jobs", exc_info=True)
            finally:
                db.connections.close_all()


def new_claim() -> str:
    """A token for one claim of a row; it says which process holds it."""
    pid = os.getpid()
    return f"{_node()}.{pid}.{int(psutil.Process(pid).create_time())}.{secrets.token_hex(4)}"


def holder_is_gone(claim: str) -> bool:
    """The process that made this claim ran on this machine and is dead: no need to wait for its lease to expire."""
    with suppress(ValueError):
        node, pid, started, _random = claim.split(".")
        if node == _node():
            try:
                return abs(int(psutil.Process(int(pid)).create_time()) - int(started)) > 1
            except psutil.NoSuchProcess:
                return True
    return False


def _node() -> str:
    """This machine since its last boot, and which of its containers: pids mean something only within it."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
