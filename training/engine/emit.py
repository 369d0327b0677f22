"""The trainer's voice: one JSON object a line in events.jsonl, out at once, from the first process only."""

import time
from pathlib import Path
from threading import Lock
from typing import Any

from training.engine.spec import Event


class EventWriter:
    """Appends events; a half line left by a process that was killed is cut off first."""

    def __init__(self, path: Path, enabled: bool = True) -> None:
        self._file = None
        self._lock = Lock()  # checkpoints are told by the thread that wrote them
        if enabled:
            _cut_half_line(path)
            self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, kind: type[Event], /, **fields: Any) -> None:
        """Stamps the time and appends the event; the reader sees it at once."""
        if self._file:
            event = kind(time=time.time(), **fields)
            with self._lock:
                self._file.write(event.model_dump_json() + "\n")
                self._file.flush()

    def close(self) -> None:
        if self._file:
            self._file.close()


def _cut_half_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        position = size
        while position > 0:
            step = min(4096, position)
            file.seek(position - step)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                position = position - step + found + 1
                break
            position -= step
        if position != size:
            file.truncate(position)
