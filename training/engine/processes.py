"""Several processes of one run: how they find each other, and what becomes of the run when one of them breaks.

Started by training.leash or by torchrun, each has WORLD_SIZE, RANK, LOCAL_RANK and MASTER_ADDR in its environment. The
first one writes events.jsonl. Nobody waits for a lost process by a timeout: whoever started them ends the others.
"""

import os
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from accelerate import PartialState

from training.engine.emit import EventWriter
from training.engine.run import Run
from training.engine.spec import FAILED_PROCESS, End

PATIENCE = timedelta(days=2)  # one process may tokenise a large text, or write a large checkpoint, while others wait


def join_processes() -> PartialState:
    """This process among those of its run; the only one where it was started alone."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if torch.cuda.is_available() and here > torch.cuda.device_count():
        raise SystemExit(
            f"This job was given {here} devices and the trainer sees {torch.cuda.device_count()} GPUs. Lower "
            "HONE_DEVICES_PER_JOB, or name the GPUs in HONE_TRAIN_GPUS."
        )
    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def leave_processes() -> None:
    """At a good end, when nobody waits for anybody any more."""
    if dist.is_initialized():
        dist.destroy_process_group()


def draw_apart(run: Run, step: int) -> None:
    """Of several processes each draws numbers of its own (dropout, noise), which follow from seed, step and place: a
    run that goes on draws what the unbroken one would have drawn."""
    if run.process.num_processes > 1:
        drawn = np.random.default_rng([run.spec.seed, step, run.process.process_index])
        torch.manual_seed(int(drawn.integers(2**62)))


def is_lost_process(error: BaseException) -> bool:
    """What breaks here because another process is gone; that one, or the log, says why."""
    words = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    return dist.is_initialized() and (
        isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and any(w in str(error) for w in words))
    )


def tell_failure(run_folder: Path, events: EventWriter, process: PartialState, code: str, message: str) -> None:
    """As the run's end; a process that may not write events leaves it in a file of its own."""
    if process.is_main_process:
        events.write(End, status="failed", code=code, message=message)
        return
    number = process.process_index + 1
    end = End(
        time=time.time(), status="failed", code=code, message=f"Process {number} of {process.num_processes}: {message}"
    )
    path = run_folder / FAILED_PROCESS.replace("*", str(number))
    part = path.with_suffix(".part")
    part.write_text(end.model_dump_json())
    part.replace(path)
