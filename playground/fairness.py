"""Projects take turns where more is asked of one vLLM than it answers at once.

A vLLM answers `HONE_REQUESTS_AT_ONCE` requests together; one project may have all of these places. While all are taken
whoever comes waits here, in a queue of its project, and each place that becomes free goes to the next project in turn.
So a project's single request waits for the end of one answer, however many another project has sent before it. Whoever
waited for `WAIT_SECONDS` is told to come again. The places are those of one web process: with several, each has as
many.
"""

import asyncio
import contextlib
import math
import time
import weakref
from collections import deque

from django.conf import settings

from accounts.errors import ApiError
from playground.vllm import SEQUENCES

WAIT_SECONDS = 60.0
MOST_SECONDS = 600  # that anybody is told to stay away
REMEMBERED = 32  # places that became free, from which the wait of others is told


class Door:
    """The places of one vLLM server, in one event loop. All but `Place.close` is done in the thread of that loop."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.inside = 0
        self.waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by project, the one whose turn is next first
        self.left_at: deque[float] = deque(maxlen=REMEMBERED)  # monotonic seconds

    async def enter(self, project: str) -> "Place":
        """A place, once there is one. Raises ApiError 429."""
        if self.inside < self.places:
            self.left_at.clear()  # it was not full: the time between those who left says nothing of a wait
            self.inside += 1
        else:
            await self._wait(project)
        return Place(self)

    async def _wait(self, project: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(project, deque()).append(turn)
        try:
            await asyncio.wait([turn], timeout=WAIT_SECONDS)
        except BaseException:  # the caller left
            if turn.done():  # the place had just become its own
                self._pass_on()
            else:
                self._forget(project, turn)
            raise
        if not turn.done():
            self._forget(project, turn)
            raise busy(self.seconds_for(project))

    def free(self) -> None:
        """One who was inside has left."""
        self.left_at.append(time.monotonic())
        self._pass_on()

    def _pass_on(self) -> None:
        """A place that nobody has goes to the next in turn."""
        if not self.waiting:
            self.inside -= 1
            return
        project = next(iter(self.waiting))
        queue = self.waiting.pop(project)
        queue.popleft().set_result(None)
        if queue:
            self.waiting[project] = queue  # behind the others

    def _forget(self, project: str, turn: asyncio.Future[None]) -> None:
        self.waiting[project].remove(turn)
        if not self.waiting[project]:
            del self.waiting[project]

    def count_waiting(self) -> int:
        return sum(map(len, self.waiting.values()))

    def seconds_for(self, project: str) -> int:
        """Until one more request of this project would have its turn, as places became free lately."""
        if len(self.left_at) < 2:
            return math.ceil(WAIT_SECONDS)
        before = len(self.waiting.get(project, ()))
        others = sum(min(len(queue), before + 1) for name, queue in self.waiting.items() if name != project)
        each = (time.monotonic() - self.left_at[0]) / len(self.left_at)
        return min(MOST_SECONDS, max(1, math.ceil(each * (before + others + 1))))


class Place:
    """At a server, until it is closed; one that nobody holds any more closes itself."""

    def __init__(self, door: Door) -> None:
        self.door, self.loop, self.is_closed = door, asyncio.get_running_loop(), False

    def close(self) -> None:
        """In any thread, as Django closes an answer in one of its own. A second time does nothing."""
        if self.is_closed:
            return
        self.is_closed = True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its doors with it
            self.loop.call_soon_threadsafe(self.door.free)

    __del__ = close


def busy(seconds: int) -> ApiError:
    return ApiError(
        f"Please try again in {seconds} seconds: the model's server answers as many requests as it can, and this one "
        f"waited for {WAIT_SECONDS:g} s.",
        status=429,
        type="requests",
        code="server_busy",
        headers={"Retry-After": str(seconds)},
    )


_doors: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Door]] = weakref.WeakKeyDictionary()


async def enter(server: str, project: str) -> Place:
    """A place at this server (its address), to be closed when the answer has ended. Raises ApiError 429."""
    return await door_of(server).enter(project)


def door_of(server: str) -> Door:
    """One for each event loop: what waits in a loop can only be woken there."""
    doors = _doors.setdefault(asyncio.get_running_loop(), {})
    if server not in doors:
        for gone in [address for address, door in doors.items() if not door.inside]:  # each start has another address
            del doors[gone]
        doors[server] = Door(max(settings.HONE_REQUESTS_AT_ONCE, 0) or SEQUENCES)
    return doors[server]
