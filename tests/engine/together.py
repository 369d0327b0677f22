"""Runs in several processes. They are forked from a clean one that has imported the trainer once, so that a run costs
little more than its steps; each finds the others as torchrun's processes do."""

import importlib
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.engine.runs import events

PRELOADED = ["pytest", "tests.engine.runs", "training.engine.dpo", "training.engine.pretrain", "training.engine.sft"]
SECONDS = 300  # for a machine that does much else
FORKS = multiprocessing.get_context("forkserver")


def places(processes: int) -> list[dict[str, str]]:
    """The environment of each process."""
    alone = {"CUDA_VISIBLE_DEVICES": "", "HONE_TRAIN_THREADS": "1"}
    if processes == 1:
        return [alone]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    return [alone | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]


def at_once(work: Callable[..., None], *given: Any, processes: int = 2) -> list[int | None]:
    """Does `work(*given)` in so many processes at once; returns their exit codes."""
    FORKS.set_forkserver_preload(PRELOADED)
    started = [FORKS.Process(target=_in_place, args=(place, work, given)) for place in places(processes)]
    deadline = time.monotonic() + SECONDS
    try:
        for process in started:
            process.start()
        for process in started:
            process.join(max(0.0, deadline - time.monotonic()))
        return [process.exitcode for process in started]
    finally:
        for process in started:
            if process.is_alive():
                process.kill()
                process.join()


def _in_place(place: dict[str, str], work: Callable[..., None], given: tuple[Any, ...]) -> None:
    os.environ.update(place)
    torch.set_num_threads(1)
    work(*given)


def train_together(folder: Path, method: str = "sft", processes: int = 2, pause_at: int = 0) -> list[Any]:
    """Runs the trainer in so many processes and returns all events of the folder. `pause_at`: the first process leaves
    the control file in its so many-th training pass."""
    codes = at_once(_train, folder, method, pause_at, processes=processes)
    assert codes == [0] * processes, (codes, events(folder)[-1:])
    return events(folder)


def _train(folder: Path, method_name: str, pause_at: int) -> None:
    from training.engine import loop

    method = importlib.import_module(f"training.engine.{method_name}").METHOD
    passes = 0

    def loss(model: Any, batch: Any) -> Any:
        nonlocal passes
        passes += torch.is_grad_enabled()
        if passes == pause_at and os.environ.get("RANK", "0") == "0":
            (folder / "pause").touch()
        return method.loss(model, batch)

    sys.argv = ["trainer", str(folder)]
    sys.exit(loop.main(replace(method, loss=loss)))
