"""Folders that are written beside the training."""

import logging
from collections.abc import Callable
from threading import Thread

logger = logging.getLogger(__name__)


class Beside:
    """Does one thing at a time in a thread of its own. What it raised is raised again by the next look at it."""

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Waits for what is still being done, then returns at once."""
        self.wait()
        self._thread = Thread(target=self._do, args=(work,), name="beside the training")
        self._thread.start()

    def check(self) -> None:
        """Raises what went wrong since the last look."""
        if self._error and not self.busy:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Until nothing is being done; raises like `check`."""
        if self._thread:
            self._thread.join()
            self._thread = None
        self.check()

    def settle(self) -> None:
        """Until nothing is being done; raises nothing."""
        if self._thread:
            self._thread.join()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # for the training to see
            logger.error("%s", error)
            self._error = error
