"""One look-up for all requests that wait for it: what was read after a request came is new enough for it.

Nothing that a request is told is older than the request, so a key that is revoked is refused at once, in every process.
"""

import time
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

MOST: Final = 1_000  # remembered; most of it is too old for whoever comes next
T = TypeVar("T")


class ReadOnce(Generic[T]):
    """For requests that take turns in one thread. What is found is theirs together; failures are not kept."""

    def __init__(self) -> None:
        self._read: dict[Hashable, tuple[float, T]] = {}

    def since(self, came_at: float, what: Hashable, read: Callable[[], T]) -> T:
        """`came_at`: of the request, by time.monotonic()."""
        began, found = self._read.get(what, (0.0, None))
        if found is not None and began >= came_at:
            return found
        began = time.monotonic()
        found = read()
        if len(self._read) >= MOST:
            self._read.clear()
        self._read[what] = began, found
        return found
