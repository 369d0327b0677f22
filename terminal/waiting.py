"""What is said while a model keeps silent, on standard error and only where that is a terminal."""

import shutil
import sys
import threading

QUIET_SECONDS = 2.0


def words(model: str) -> str:
    return f"Waiting for {model}; it may have to be loaded first"


class Waiting:
    """Says so once after a while, unless over() came first; over() wipes it and may come again."""

    def __init__(self, model: str) -> None:
        self.model, self.told = model, False
        self.timer = threading.Timer(QUIET_SECONDS, self._tell)
        self.timer.daemon = True
        if sys.stderr.isatty():
            self.timer.start()

    def _tell(self) -> None:
        self.told = True
        fits = words(self.model)[: shutil.get_terminal_size().columns - 1]  # only a single line can be wiped
        print(fits, end="", file=sys.stderr, flush=True)

    def over(self) -> None:
        self.timer.cancel()
        if self.timer.is_alive():
            self.timer.join()
        if self.told:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self.told = False
