"""What the run was asked to do while it runs: control files in its folder, and SIGTERM."""

import signal
from pathlib import Path
from typing import Literal

Wish = Literal["", "stop", "pause", "interrupt", "save"]
END_OF_WISH = {"stop": "cancelled", "pause": "paused", "interrupt": "interrupted"}  # the status a run ends with


class Control:
    """Looked at every step. A file is taken away when its wish is granted, so that the next start does not find it."""

    def __init__(self, run_folder: Path) -> None:
        self._folder = run_folder
        self._terminated = False
        signal.signal(signal.SIGTERM, self._terminate)

    def _terminate(self, *_: object) -> None:
        self._terminated = True

    def wish(self) -> Wish:
        if (self._folder / "stop").exists():
            return "stop"
        if (self._folder / "pause").exists():
            return "pause"
        if self._terminated:
            return "interrupt"
        return "save" if (self._folder / "save").exists() else ""

    def granted(self, wish: str) -> None:
        (self._folder / wish).unlink(missing_ok=True)
