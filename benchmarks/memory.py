"""What this process took of memory at most."""

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def peak_bytes() -> int:
    """Of this process alone. `ru_maxrss`, the usual counter, starts at what its parent had when it was forked, so it
    says the parent's memory of a small child of a big process; it is read only where there is no /proc (macOS, whose
    unit is bytes)."""
    if STATUS.exists():
        return int(STATUS.read_text().split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
