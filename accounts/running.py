"""The one server of a HONE_HOME: it holds a lock for as long as it runs, and in the file that is locked stands where it
answers. A lock ends with its process, so what is left of a server that was killed is never taken for one that runs."""

import fcntl
import time
from pathlib import Path
from typing import TextIO

from django.conf import settings


class AlreadyRuns(Exception):
    """Another server runs on this HONE_HOME."""


def hold(address: str) -> TextIO:
    """Keep what is returned open until the server ends. Raises AlreadyRuns."""
    lock = _path().open("a")
    if not (_locked(lock) or _locked(lock, after_seconds=0.1)):  # somebody may only have looked, see _running
        lock.close()
        raise AlreadyRuns
    lock.truncate(0)
    lock.write(address)
    lock.flush()
    return lock


def site() -> str:
    """Where people reach the site: as it is set, else where the server runs, else where it would by its settings."""
    return (settings.HONE_URL or _running() or address_of(settings.HONE_HOST, settings.HONE_PORT)).rstrip("/")


def address_of(host: str, port: int) -> str:
    """As a browser on this machine reaches it; 0.0.0.0 stands for every network interface and is no address."""
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"


def _running() -> str:
    try:
        with _path().open() as lock:
            return "" if _locked(lock, fcntl.LOCK_SH) else lock.read().strip()
    except FileNotFoundError:
        return ""


def _locked(lock: TextIO, kind: int = fcntl.LOCK_EX, after_seconds: float = 0) -> bool:
    time.sleep(after_seconds)
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _path() -> Path:
    return Path(settings.HONE_HOME) / "up.lock"
