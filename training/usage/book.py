"""What answers took: gathered in memory and written by a thread of its own, so that no answer waits for the database.

A second after the first it is all written, as one row for each key, model and hour; what cannot be written is tried
again every few seconds. A process that ends writes before it goes; one that is killed loses the last second or two.
"""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import Error, close_old_connections, transaction
from django.db.models import F
from django.utils import timezone

from accounts.models import ApiKey, Project, User
from training.usage.models import Usage

log = logging.getLogger(__name__)
WRITE_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 5.0  # after the database could not be written


@dataclass(frozen=True)
class Account:
    """Who used which model, and for what."""

    project: str
    kind: str
    model: str
    base: str = ""
    api_key: int | None = None
    user: int | None = None


Sums = dict[tuple[Account, datetime], dict[str, int]]
_sums: Sums = {}
_lock = threading.Lock()
_writer = ThreadPoolExecutor(1, "usage")  # a process that ends waits for what this has to do
_is_coming = False


def note(account: Account, **figures: int) -> None:
    """Adds to the present hour. Returns at once."""
    _add({(account, timezone.now().replace(minute=0, second=0, microsecond=0)): figures})
    later()


def later(seconds: float = WRITE_SECONDS) -> None:
    """Has it written soon, if that is not on its way."""
    global _is_coming
    with _lock:
        if _is_coming:
            return
        _is_coming = True
    try:
        _writer.submit(_soon, seconds)
    except RuntimeError:  # the process is ending
        with _lock:
            _is_coming = False
        write()


def _soon(seconds: float) -> None:
    global _is_coming
    time.sleep(seconds)
    with _lock:
        _is_coming = False
    if not write():
        later(AGAIN_SECONDS)


@atexit.register  # the last try, after the writer's own
def write() -> bool:
    """All of it; False: it could not be, and stays to be written."""
    global _sums
    with _lock:
        taken, _sums = _sums, {}
    if not taken:
        return True
    close_old_connections()
    try:
        _store(taken)
    except Error:
        log.exception("the usage of %d keys and models is written later", len(taken))
        _add(taken)
        return False
    finally:
        close_old_connections()
    return True


def _add(more: Sums) -> None:
    with _lock:
        for key, figures in more.items():
            sums = _sums.setdefault(key, {})
            for name, value in figures.items():
                sums[name] = sums.get(name, 0) + value


@transaction.atomic
def _store(sums: Sums) -> None:
    """What belongs to a project that is deleted meanwhile belongs to nobody."""
    accounts = [account for account, _ in sums]
    projects = _there(Project.objects.filter, {account.project for account in accounts})
    keys = _there(ApiKey.objects.filter, {account.api_key for account in accounts} - {None})
    users = _there(User.objects.filter, {account.user for account in accounts} - {None})
    for (account, hour), figures in sums.items():
        if account.project not in projects:
            continue
        whose = {
            "project_id": account.project,
            "api_key_id": account.api_key if account.api_key in keys else None,
            "user_id": account.user if account.user in users else None,
            **{"hour": hour, "kind": account.kind, "model": account.model[:250], "base": account.base},
        }
        row = Usage.objects.filter(**whose, job=None).values_list("pk", flat=True).first()
        if row is None:
            Usage.objects.create(**whose, **figures)
        else:
            Usage.objects.filter(pk=row).update(**{name: F(name) + value for name, value in figures.items()})


def _there(rows: Callable[..., object], wanted: set) -> set:
    return set(rows(pk__in=wanted).values_list("pk", flat=True)) if wanted else set()  # type: ignore[attr-defined]
