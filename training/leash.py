"""Run the trainer so that it cannot outlive the worker: python -m training.leash WORKER_PID COMMAND...

The kernel sends this process SIGTERM when the worker dies in any way, and the trainer SIGTERM when this process dies.
The trainer then writes its resume point and ends; if it does not within the grace time, it is killed.
Without a leash an orphan would keep the GPU's memory. Linux only; no Django, no torch.
"""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = int(os.environ.get("HONE_GRACE_SECONDS", "60"))
FIRST_TO_GO = "500"  # when memory runs out the kernel ends the trainer, not the site; it continues by itself


def die_with_parent() -> None:
    """Have the kernel send us SIGTERM when our parent is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    worker, command = int(sys.argv[1]), sys.argv[2:]
    die_with_parent()
    if os.getppid() != worker:  # it died before the line above
        return 1
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    trainer = subprocess.Popen(command, preexec_fn=_prepare_child)  # one thread here, so preexec_fn is safe

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        trainer.terminate()
        signal.signal(signal.SIGALRM, lambda *_: trainer.kill())
        signal.alarm(GRACE_SECONDS)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor; we hear from the worker
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    code = trainer.wait()
    return code if code >= 0 else 128 - code


def _prepare_child() -> None:
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
