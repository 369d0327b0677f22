"""When the run writes: checkpoints, the resume point, and going on from them.

What is written is copied first, then a thread writes it while the training goes on (beside.py). A folder that is there
is complete (checkpoint.complete_folder), and only then it is told.
"""

import json
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import SafetensorError

from training.engine.checkpoint import (
    Progress,
    Snapshot,
    State,
    checkpoint_folder,
    read_meta,
    read_state,
    states,
    take_snapshot,
    take_state,
    write_resume_point,
)
from training.engine.errors import DiskFull
from training.engine.model import LanguageModel
from training.engine.optimizer import MasterAdamW
from training.engine.probes import ProbeSet, measure_probes
from training.engine.run import Run, run_wide, sum_over_processes
from training.engine.sharding import mine
from training.engine.spec import CheckpointSaved
from training.engine.tensors import size_of

ROOM_SHARE = 0.6  # of the free main memory that a copy may take; a larger one is not made, the training waits instead


def save(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    progress: Progress,
    probes: ProbeSet,
    found: dict[str, Any],
    steps_per_epoch: int,
) -> None:
    """A checkpoint of the weights as they are. One that is there already stays as it is: after a crash the same steps
    come again, and what people may have judged must not change under them."""
    if not (run.process.is_main_process or optimizer.shared_out):
        return
    epoch = -(-progress.step // steps_per_epoch)
    run.beside.wait()
    there = checkpoint_folder(run.folder, epoch, progress.step)
    if told_by_first(run, optimizer, (there / "meta.json").exists()):
        _tell_saved(run, read_meta(there))
        return
    run.phase("saving")
    model.network.eval()
    copy = optimizer.shared_out or _has_room(model, optimizer)
    with model.as_saved():
        measured = measure_probes(model, probes)
        snapshot = take_snapshot(run.folder, epoch, run.spec, model, optimizer, progress, measured, found, copy)
    if not run.process.is_main_process:
        return
    if copy:
        run.beside.start(lambda: _write_checkpoint(run, snapshot))
    else:
        _write_checkpoint(run, snapshot)


def all_finite(run: Run, optimizer: MasterAdamW) -> bool:
    """Whether every trained weight is a number, over all processes."""
    broken = sum(int((~torch.isfinite(mine(master))).sum()) for master in optimizer.masters.values())
    return not sum_over_processes(run, torch.tensor([broken], device=run.device)).item()


def told_by_first(run: Run, optimizer: MasterAdamW, fact: bool) -> bool:
    """What the first process says, where all of them have to agree because each holds a part of what is saved."""
    return run_wide(run, fact) if optimizer.shared_out else fact


def _write_checkpoint(run: Run, snapshot: Snapshot) -> None:
    _tell_saved(run, snapshot.write())


def _tell_saved(run: Run, meta: dict[str, Any]) -> None:
    run.events.write(CheckpointSaved, **{key: meta[key] for key in CheckpointSaved.model_fields if key in meta})


def keep_resume_point(run: Run, optimizer: MasterAdamW, progress: Progress, wait: bool = False) -> None:
    """Skipped while something is still being written, unless `wait`."""
    if not (run.process.is_main_process or optimizer.shared_out):
        return
    if told_by_first(run, optimizer, run.beside.busy) and not wait:
        return
    state = take_state(optimizer, progress)
    if not run.process.is_main_process:
        return
    run.beside.start(lambda: _write_resume_point(run, state))
    if wait:
        run.beside.wait()


def _write_resume_point(run: Run, state: State) -> None:
    try:
        write_resume_point(run.folder, state)
    except DiskFull as error:  # training can go on; only a crash would cost more
        run.note(f"No resume point: {error.message}", "warn")


def _has_room(model: LanguageModel, optimizer: MasterAdamW) -> bool:
    weights = size_of(dict(model.network.named_parameters())) if model.saved_kind == "full" else 0
    return size_of(optimizer.state()) + weights < ROOM_SHARE * psutil.virtual_memory().available


def resume(run: Run, optimizer: MasterAdamW) -> Progress:
    """Goes on from the newest state that can be read, else from the beginning."""
    for folder in states(run.folder):
        try:
            progress = read_state(folder, optimizer)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            run.note(f"{folder.relative_to(run.folder)} cannot be read and is passed over: {error}", "warn")
            continue
        run.note(f"Continuing after step {progress.step}")
        _tell_what_was_not_told(run, folder.parent)
        return progress
    return Progress()


def _tell_what_was_not_told(run: Run, checkpoint: Path) -> None:
    """A process can be killed when a checkpoint is in its place and not yet told; its step does not come again."""
    if not (checkpoint / "meta.json").exists() or not run.process.is_main_process:
        return
    meta = read_meta(checkpoint)
    with (run.folder / "events.jsonl").open(encoding="utf-8") as lines:
        told = any('"type":"checkpoint"' in line and json.loads(line)["path"] == meta["path"] for line in lines)
    if not told:
        _tell_saved(run, meta)
