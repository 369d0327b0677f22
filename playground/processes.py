"""Ending processes for good: those of a server, and those that a killed predecessor left."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

import psutil

STOP_GRACE_SECONDS = 10.0


def end_processes(processes: list[psutil.Process], grace_seconds: float) -> None:
    """SIGTERM to all, SIGKILL to what is left after the grace. The list was made before the first signal."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def remember(processes: Iterable[psutil.Process], path: Path) -> None:
    """Notes these processes with their start times, for `end_left_over` after a kill -9."""
    entries = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            entries.append([process.pid, process.create_time()])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(entries))
    part.replace(path)


def end_left_over(path: Path, grace_seconds: float = STOP_GRACE_SECONDS) -> int:
    """Ends what `remember` noted and still runs; returns how many processes that were. A re-used pid is left alone."""
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError):
        return 0
    found: dict[int, psutil.Process] = {}
    for pid, created in entries:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if abs(process.create_time() - created) < 1:
                found |= {one.pid: one for one in [process, *process.children(recursive=True)]}
    end_processes(list(found.values()), grace_seconds)
    path.unlink(missing_ok=True)
    return len(found)
