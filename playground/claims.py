"""Long work that one worker does: claimed by a row, kept alive by its heartbeat, given back, told of again when lost.

The rows (a matrix, a judge run, a frame of a film strip) have `claim` and `heartbeat_at`, most of them `woken_at`.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from datetime import timedelta
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from playground import gateway
from playground.external import calling
from training.workers import holder_is_gone, new_claim, stopping

LOOK_SECONDS: Final = 0.5
WOKEN_SECONDS: Final = 30.0  # a worker that was told and did not begin by then is told again


def is_claimed(row: Any) -> bool:
    """A living worker is at it."""
    expired = timezone.now() - timedelta(seconds=settings.HONE_LEASE_SECONDS)
    beats = bool(row.heartbeat_at and row.heartbeat_at > expired)
    return bool(row.claim) and beats and not holder_is_gone(row.claim)


@contextlib.contextmanager
def held(row: Any) -> Iterator[bool]:
    """Claims it, for as long as the block runs; False: another worker was first."""
    rows, claim = type(row).objects.filter(pk=row.pk), new_claim()
    free = rows.filter(claim=row.claim, heartbeat_at=row.heartbeat_at)
    if is_claimed(row) or not free.update(claim=claim, heartbeat_at=timezone.now()):
        yield False
        return
    row.claim = claim
    try:
        yield True
    finally:
        rows.filter(claim=claim).update(claim="", heartbeat_at=None)


async def done_while_held(row: Any, state: str, work: Coroutine[Any, Any, None]) -> bool:
    """Does it while the row is ours and in this state. False: it was stopped, taken over, or this worker ends.

    Raises what the work raises. Afterwards the connections of this event loop to the models are closed.
    """
    ours = type(row).objects.filter(pk=row.pk, claim=row.claim, state=state)

    def beat() -> int:
        return ours.update(heartbeat_at=timezone.now())

    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=LOOK_SECONDS)
            if stopping.is_set() or not await sync_to_async(beat)():
                return False
        await task
        return True
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
        await gateway.close()
        await calling.close()


def lost(rows: QuerySet[Any]) -> list[Any]:
    """Of the rows that wait for a worker those that nobody is at: the message was lost, or the worker."""
    told = timezone.now() - timedelta(seconds=WOKEN_SECONDS)
    return [row for row in rows.filter(Q(woken_at=None) | Q(woken_at__lt=told)) if not is_claimed(row)]
