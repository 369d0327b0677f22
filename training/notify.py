"""Tell open pages that there is news: the only file here that knows about websockets.

A ping carries nothing: pages read what changed from the database, so that a lost ping costs two seconds at most.
"""

import asyncio
import logging
import os
import threading

from channels.layers import get_channel_layer
from django.db import transaction

log = logging.getLogger(__name__)
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_loop_pid = 0
_waiting: set[str] = set()  # groups whose ping is handed over but not sent yet


def job_changed(job_id: str) -> None:
    """Ping the pages of this job, once the surrounding transaction (if any) is committed. Never raises."""
    _after_commit(f"job.{job_id}")


def project_changed(project_id: str) -> None:
    """Ping the pages that list something of this project, once the surrounding transaction is committed."""
    _after_commit(f"project.{project_id}")


def _after_commit(group: str) -> None:
    try:
        transaction.on_commit(lambda: _ping(group))
    except Exception:  # called from async code, or the database is away: there is no transaction to wait for
        _ping(group)


def _ping(group: str) -> None:
    try:
        loop = _running_loop()
        with _lock:
            if group in _waiting:
                return
            _waiting.add(group)
        loop.call_soon_threadsafe(lambda: loop.create_task(_send(group)))
    except Exception:
        log.exception("could not ping %s", group)


async def _send(group: str) -> None:
    with _lock:
        _waiting.discard(group)  # before the send: what changes from here on deserves a ping of its own
    try:
        layer = get_channel_layer()
        if layer:
            await layer.group_send(group, {"type": "news"})
    except Exception:
        log.warning("could not ping %s", group, exc_info=True)


def _running_loop() -> asyncio.AbstractEventLoop:
    """One loop in a thread of its own for this process: a new loop for every ping would cost 5 ms each."""
    global _loop, _loop_pid
    with _lock:
        if _loop is None or _loop_pid != os.getpid():  # the thread does not survive a fork
            _loop, _loop_pid = asyncio.new_event_loop(), os.getpid()
            _waiting.clear()
            threading.Thread(target=_loop.run_forever, name="notify", daemon=True).start()
        return _loop
