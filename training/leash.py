"""Run the trainer so that it cannot outlive the worker: python -m training.leash WORKER_PID [--processes N] COMMAND...

The kernel sends this process SIGTERM when the worker dies in any way, and the trainer SIGTERM when this process dies.
The trainer then writes its resume point and ends; if it does not within the grace time, it is killed.
Without a leash an orphan would keep the GPU's memory. Linux only; no Django, no torch.

N processes of one run are started with the environment that torchrun gives them. They hear every signal together, and
when one of them breaks the others are ended: they would wait for it for ever.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
GRACE_SECONDS = int(os.environ.get("HONE_GRACE_SECONDS", "60"))
LAST_WORDS_SECONDS = 10  # for processes whose companion broke: they may know why
BEHIND_THE_SITE = 3  # niceness: where cores are short, pages, sockets and answers come before the next step
HEARD = {signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD}
FIRST_TO_GO = "500"  # when memory runs out the kernel ends the trainer, not the site; it continues by itself


def die_with_parent() -> None:
    """Have the kernel send us SIGTERM when our parent is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    worker, count, command = _arguments(sys.argv[1:])
    die_with_parent()
    if os.getppid() != worker:  # it died before the line above
        return 1
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    os.nice(BEHIND_THE_SITE)
    # they wait until _wait asks for them: a handler might run just before it sleeps, and nothing would wake it
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor; we hear from the worker
    places = _places(count)
    # one thread here, so preexec_fn is safe
    ranks = [subprocess.Popen(command, env={**os.environ, **place}, preexec_fn=_prepare_child) for place in places]
    return _wait(ranks)


def _arguments(words: list[str]) -> tuple[int, int, list[str]]:
    """Worker, number of processes, command."""
    if words[1] == "--processes":
        return int(words[0]), int(words[2]), words[3:]
    return int(words[0]), 1, words[1:]


def _places(count: int) -> list[dict[str, str]]:
    """What each process has to know of the others, in torchrun's words; nothing where there are none."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    cores = len(os.sched_getaffinity(0))
    usual = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": str(max(1, cores // count))}
    shared |= {"MASTER_PORT": str(port)} | {name: os.environ.get(name, value) for name, value in usual.items()}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _wait(ranks: "list[subprocess.Popen[bytes]]") -> int:
    """Until all are gone: 0, or the exit code of the one that broke first."""
    left, broken = dict(enumerate(ranks, start=1)), 0
    while left:
        match signal.sigwait(HEARD):
            case signal.SIGTERM:
                for process in ranks:
                    process.terminate()
                signal.alarm(GRACE_SECONDS)
            case signal.SIGALRM:
                for process in ranks:
                    process.kill()
        for number in [number for number, process in left.items() if process.poll() is not None]:
            code = left.pop(number).returncode
            if code and not broken:
                broken = code if code > 0 else 128 - code
                if left:
                    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                    print(f"Process {number} of {len(ranks)} {how}; the others are ended.", file=sys.stderr, flush=True)
                    signal.alarm(LAST_WORDS_SECONDS)
    return broken


def _prepare_child() -> None:
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


if __name__ == "__main__":
    sys.exit(main())
