"""Runs a command that does not outlive its parent: `python tether.py PARENT_PID COMMAND...`.

The kernel sends SIGTERM to the command when the parent ends in any way, kill -9 included. The request is made here, in
the child, because a `preexec_fn` may dead-lock in a process with threads. It survives the exec below. The kernel
watches the *thread* that started us, so start it from a thread that lives as long as the process does.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the request was made
            raise SystemExit(99)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
