"""The one training loop. A method is two functions: how a row becomes numbers, and the loss of a batch of rows.

B batch, T tokens, N trained positions. The loss of a step is the sum over the trained tokens of the global batch
divided by their number, so that cutting the batch into forward passes, or over processes, changes only the rounding.
"""

import json
import logging
import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import accelerate.utils
import numpy as np
import psutil
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from torch import Tensor

from training.engine.batches import Batch, Rows, collate, epoch_batches, micro_batches, read_rows
from training.engine.chat import ChatFormat, Encoded
from training.engine.checkpoint import (
    Progress,
    read_state,
    remove_leftovers,
    save_checkpoint,
    save_resume_point,
    states,
)
from training.engine.control import Control
from training.engine.emit import EventWriter
from training.engine.errors import DiskFull, EngineError, NonFiniteLoss, OutOfMemory
from training.engine.estimate import MemoryPlan, plan_memory
from training.engine.facts import read_model_facts
from training.engine.model import LanguageModel, load_model
from training.engine.optimizer import MasterAdamW, learning_rate
from training.engine.probes import ProbeSet, choose_probes, measure_probes
from training.engine.spec import (
    CheckpointSaved,
    DeviceFacts,
    End,
    JobSpec,
    Note,
    Phase,
    Started,
    Step,
    Validation,
)

logger = logging.getLogger(__name__)

Shared = TypeVar("Shared")
EncodeRow = Callable[[ChatFormat, dict[str, Any], int], Encoded]
BatchLoss = Callable[[LanguageModel, Batch], tuple[Tensor, Tensor]]

END_OF_WISH = {"stop": "cancelled", "pause": "paused", "interrupt": "interrupted"}
VALIDATION_TOKENS = 4  # times the training pass: nothing is kept for a backward pass


class Figures(NamedTuple):
    """Means over trained tokens."""

    loss: float
    accuracy: float
    weight: float  # trained tokens
    tokens: int  # all tokens through the model, without padding


class Stopped(Exception):
    """The run was asked to end before it began to train."""


@dataclass
class Run:
    """What lives as long as the process."""

    folder: Path
    spec: JobSpec
    events: EventWriter
    control: Control
    process: PartialState
    loss: BatchLoss

    @property
    def device(self) -> torch.device:
        return self.process.device

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        self.events.write(Phase, phase=name, done=done, total=total)

    def note(self, message: str, level: str = "info") -> None:
        self.events.write(Note, message=message, level=level)


def run(run_folder: Path, encode_row: EncodeRow, loss: BatchLoss) -> int:
    """Trains as spec.json says and returns the exit code. Whatever happens, the last event is an End."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    process = PartialState(cpu=not torch.cuda.is_available())
    events = EventWriter(run_folder / "events.jsonl", enabled=process.is_main_process)
    try:
        spec = JobSpec.model_validate_json((run_folder / "spec.json").read_text())
        status = _train(Run(run_folder, spec, events, Control(run_folder), process, loss), encode_row)
        events.write(End, status=status)
        return 0
    except EngineError as error:
        logger.error("%s", error)
        events.write(End, status="failed", code=error.code, message=error.message)
    except Exception as error:  # the border of the process: a bug must leave its reason too
        logger.exception("the trainer failed")
        known = _out_of_memory(error)
        text = f"The trainer stopped on an error of its own: {type(error).__name__}: {error}. See trainer.log."
        events.write(End, status="failed", code=known.code if known else "server_error", message=str(known or text))
    finally:
        events.close()
    return 1


def _out_of_memory(error: BaseException) -> OutOfMemory | None:
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return OutOfMemory(
            "The device ran out of memory. Choose a smaller max_length or LoRA instead of full weights, "
            "or free memory that other programs hold."
        )
    return None


def _train(run: Run, encode_row: EncodeRow) -> str:
    """Everything from rows to the last checkpoint; returns the End status."""
    spec, events, control = run.spec, run.events, run.control
    _prepare_machine(spec)
    remove_leftovers(run.folder)
    try:
        chat, rows, valid_rows = _read_data(run, encode_row)
    except Stopped as stopped:
        control.granted(stopped.args[0])
        return END_OF_WISH[stopped.args[0]]
    run.phase("loading")
    device = _device_facts(run)
    plan = _memory_plan(run, rows, device)
    model = load_model(spec, run.device, plan.checkpoint_activations)
    probes = choose_probes(model, chat, valid_rows or rows)
    optimizer = MasterAdamW(model.trainable, spec.weight_decay)
    steps_per_epoch = -(-len(rows) // spec.batch_size)
    total_steps = steps_per_epoch * spec.n_epochs
    progress = _resume(run, optimizer)
    _tell_started(run, model, rows, valid_rows, device, steps_per_epoch, progress)
    run.phase("training")

    pace, saved_at = _Pace(), time.monotonic()
    batches: list[np.ndarray] = []
    found: dict[str, float | None] = {}
    while progress.step < total_steps:
        epoch, place = divmod(progress.step, steps_per_epoch)
        if not batches or place == 0:
            batches = epoch_batches(rows.lengths, spec.batch_size, spec.seed, epoch)
        wish = run_wide(run, control.wish())
        if wish in END_OF_WISH:
            break

        began = time.monotonic()
        rate = learning_rate(spec, progress.step + 1, total_steps)
        figures, norm = _step(run, model, optimizer, rows, batches[place], plan.micro_batch_tokens, rate)
        progress.step += 1
        progress.trained_tokens += round(figures.weight)
        events.write(
            Step,
            step=progress.step,
            epoch=progress.step / steps_per_epoch,
            train_loss=figures.loss,
            train_accuracy=figures.accuracy,
            learning_rate=rate,
            grad_norm=norm,
            trained_tokens=progress.trained_tokens,
            tokens_per_second=pace.add(figures.tokens, time.monotonic() - began),
            memory_bytes=_memory_bytes(run.device),
        )

        epoch_ends = progress.step % steps_per_epoch == 0
        found = {"train_loss": figures.loss, "train_accuracy": figures.accuracy}
        if valid_rows and (epoch_ends or (spec.valid_every_steps and progress.step % spec.valid_every_steps == 0)):
            sampled = _sampled_rows(valid_rows, spec, progress.step)
            found |= _validate(run, model, valid_rows, sampled, plan, progress.step, whole=False)
        if valid_rows and epoch_ends:
            found |= _validate(run, model, valid_rows, np.arange(len(valid_rows)), plan, progress.step, whole=True)
        wish = run_wide(run, control.wish())
        if epoch_ends or wish == "save":
            _save(run, model, optimizer, progress, probes, found, steps_per_epoch)
            saved_at = time.monotonic()
            control.granted("save")
            if progress.step < total_steps:
                run.phase("training")
        elif time.monotonic() - saved_at >= spec.resume_every_seconds and not wish:
            _save_resume_point(run, optimizer, progress)
            saved_at = time.monotonic()
    else:
        wish = ""

    if wish in ("stop", "pause") and progress.step:
        _save(run, model, optimizer, progress, probes, found, steps_per_epoch)
    if wish == "interrupt" and progress.step:
        _save_resume_point(run, optimizer, progress)
    elif run.process.is_main_process:
        shutil.rmtree(run.folder / "resume", ignore_errors=True)  # a checkpoint holds the same state
    if wish:
        control.granted(wish)
    return END_OF_WISH.get(wish, "succeeded")


# ---- a step ----


def _step(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    rows: Rows,
    batch_rows: np.ndarray,
    token_budget: int,
    rate: float,
) -> tuple[Figures, float]:
    """Forward and backward over the batch in as many passes as needed, then one update. Returns its gradient norm."""
    model.network.train()
    mine = batch_rows[run.process.process_index :: run.process.num_processes]
    sums = torch.zeros(4, dtype=torch.float64, device=run.device)
    for chosen in micro_batches(mine, rows.lengths, token_budget):
        batch = collate(rows, chosen, run.device)
        loss, correct = run.loss(model, batch)
        loss.backward()
        optimizer.collect()
        sums += torch.stack([loss.detach().double(), correct.double(), *_sizes(batch, run.device)])
    sums = _sum_over_processes(run, sums)
    if run.process.num_processes > 1:
        for master in optimizer.masters.values():
            master.grad = _sum_over_processes(run, torch.zeros_like(master) if master.grad is None else master.grad)
    figures = _figures(sums)
    norm = optimizer.clip(run.spec.max_grad_norm, scale=1 / figures.weight)
    if not (np.isfinite(figures.loss) and np.isfinite(norm)):
        raise NonFiniteLoss(
            f"The loss became {figures.loss} (gradient norm {norm}) and the weights were left as they were before this "
            "step. Lower the learning rate multiplier, or look for broken rows in the training file."
        )
    optimizer.step(rate)
    return figures, norm


def _sizes(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    return batch.weights_N.double().sum(), torch.tensor(batch.tokens, dtype=torch.float64, device=device)


def _figures(sums: Tensor) -> Figures:
    loss, correct, weight, tokens = sums.tolist()
    return Figures(loss / max(weight, 1e-9), correct / max(weight, 1e-9), weight, int(tokens))


def _sum_over_processes(run: Run, tensor: Tensor) -> Tensor:
    return accelerate.utils.reduce(tensor, "sum") if run.process.num_processes > 1 else tensor


def run_wide(run: Run, value: Shared) -> Shared:
    """What the first process has, for all of them."""
    if run.process.num_processes == 1:
        return value
    return accelerate.utils.broadcast_object_list([value])[0]


# ---- validation ----


def _sampled_rows(valid_rows: Rows, spec: JobSpec, step: int) -> np.ndarray:
    """A validation batch that depends on seed and step only, so that a replayed step meets the same one."""
    count = min(spec.valid_batch_rows, len(valid_rows))
    return np.random.default_rng([spec.seed, step, 1]).choice(len(valid_rows), count, replace=False)


def _validate(
    run: Run, model: LanguageModel, rows: Rows, chosen_rows: np.ndarray, plan: MemoryPlan, step: int, whole: bool
) -> dict[str, float | None]:
    """Loss and accuracy of these rows at the weights as they are; told as an event, returned as checkpoint figures."""
    model.network.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=run.device)
    mine = chosen_rows[run.process.process_index :: run.process.num_processes]
    done, told = 0, time.monotonic()
    with model.as_saved() if whole else nullcontext(), torch.inference_mode():
        for chosen in micro_batches(mine, rows.lengths, plan.micro_batch_tokens * VALIDATION_TOKENS):
            batch = collate(rows, chosen, run.device)
            loss, correct = run.loss(model, batch)
            sums += torch.stack([loss.double(), correct.double(), *_sizes(batch, run.device)])
            done += len(chosen)
            if whole and time.monotonic() - told > 0.5:
                run.phase("validating", done, len(mine))
                told = time.monotonic()
    figures = _figures(_sum_over_processes(run, sums))
    run.events.write(
        Validation,
        step=step,
        whole=whole,
        loss=figures.loss,
        accuracy=figures.accuracy,
        tokens=round(figures.weight),
        rows=len(chosen_rows),
    )
    name = "full_valid" if whole else "valid"
    return {f"{name}_loss": figures.loss, f"{name}_accuracy": figures.accuracy}


# ---- saving ----


def _save(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    progress: Progress,
    probes: ProbeSet,
    found: dict[str, float | None],
    steps_per_epoch: int,
) -> None:
    if run.process.is_main_process:
        run.phase("saving")
        model.network.eval()
        epoch = -(-progress.step // steps_per_epoch)
        with model.as_saved():
            measured = measure_probes(model, probes)
            meta = save_checkpoint(run.folder, epoch, run.spec, model, optimizer, progress, measured, found)
        run.events.write(CheckpointSaved, **{key: meta.get(key) for key in CheckpointSaved.model_fields if key in meta})
    run.process.wait_for_everyone()


def _save_resume_point(run: Run, optimizer: MasterAdamW, progress: Progress) -> None:
    if run.process.is_main_process:
        try:
            save_resume_point(run.folder, optimizer, progress)
        except DiskFull as error:  # training can go on; only a crash would cost more
            run.note(f"No resume point: {error.message}", "warn")
    run.process.wait_for_everyone()


def _resume(run: Run, optimizer: MasterAdamW) -> Progress:
    """Goes on from the newest state that can be read, else from the beginning."""
    for folder in states(run.folder):
        try:
            progress = read_state(folder, optimizer)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            run.note(f"{folder.relative_to(run.folder)} cannot be read and is passed over: {error}", "warn")
            continue
        run.note(f"Continuing after step {progress.step}")
        return progress
    return Progress()


# ---- before the first step ----


def _prepare_machine(spec: JobSpec) -> None:
    if threads := int(os.environ.get("HONE_TRAIN_THREADS", "0")):
        torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = spec.dtype == "bfloat16"
    random.seed(spec.seed)
    np.random.seed(spec.seed)
    torch.manual_seed(spec.seed)


def _read_data(run: Run, encode_row: EncodeRow) -> tuple[ChatFormat, Rows, Rows | None]:
    """Tokenised training and validation rows; before the model is loaded, so that a bad row is told at once."""
    spec = run.spec
    run.phase("tokenizing")
    chat = ChatFormat.load(spec.base_path)

    def encode(row: dict[str, Any]) -> Encoded:
        return encode_row(chat, row, spec.max_length)

    def progress(done: int, total: int) -> None:
        run.phase("tokenizing", done, total)
        wish = run.control.wish()
        if wish in END_OF_WISH:
            raise Stopped(wish)

    rows, left_out = read_rows(spec.training_file, encode, progress)
    if left_out:
        run.note(f"{left_out} training rows have nothing to train on within {spec.max_length} tokens; left out", "warn")
    if not spec.validation_file:
        return chat, rows, None
    try:
        valid_rows, _ = read_rows(spec.validation_file, encode, progress)
    except EngineError as error:
        error.param = "validation_file"
        error.code = "invalid_validation_file"
        raise
    if valid_rows.truncated:
        run.note(f"{valid_rows.truncated} validation rows are cut at {spec.max_length} tokens", "warn")
    return chat, rows, valid_rows


def _device_facts(run: Run) -> DeviceFacts:
    """The device as this process has it."""
    if run.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(run.device)
        name = torch.cuda.get_device_name(run.device)
        return DeviceFacts(kind="cuda", name=name, memory_bytes=total, free_bytes=free)
    memory = psutil.virtual_memory()
    return DeviceFacts(kind="cpu", name="CPU", memory_bytes=memory.total, free_bytes=memory.available)


def _memory_plan(run: Run, rows: Rows, device: DeviceFacts) -> MemoryPlan:
    spec = run.spec
    facts = read_model_facts(spec.base_path, spec.base_model)
    trainable = facts.parameters if spec.adaptation == "full" else (spec.lora_r or 0) * 14 * facts.hidden_size
    plan = plan_memory(facts, trainable, spec.dtype, int(rows.lengths.max()), spec.batch_size, device)
    if spec.micro_batch_tokens:
        plan = MemoryPlan(spec.micro_batch_tokens, plan.checkpoint_activations, plan.peak_bytes)
    return run_wide(run, _keep_plan(run, plan, device))


def _keep_plan(run: Run, plan: MemoryPlan, device: DeviceFacts) -> MemoryPlan:
    """The plan of the run's first start. Free memory is another at each start, and batches that are cut in another way
    are summed in another order: a resumed run would not be the unbroken one bit for bit."""
    path = run.folder / "plan.json"
    try:
        kept = json.loads(path.read_text())
        first = MemoryPlan(**kept["plan"])
        if kept["device"] == device.kind and (first.peak_bytes <= device.free_bytes or first == plan):
            return first
        run.note(
            "The device or its free memory is another now: batches are cut in a new way, which changes only rounding."
        )
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        run.note(f"plan.json cannot be read, batches may be cut in a new way: {error}", "warn")
    if run.process.is_main_process:
        part = path.with_suffix(".json.part")
        part.write_text(json.dumps({"device": device.kind, "plan": asdict(plan)}))
        part.replace(path)
    return plan


def _tell_started(
    run: Run,
    model: LanguageModel,
    rows: Rows,
    valid_rows: Rows | None,
    device: DeviceFacts,
    steps_per_epoch: int,
    progress: Progress,
) -> None:
    run.events.write(
        Started,
        total_steps=steps_per_epoch * run.spec.n_epochs,
        steps_per_epoch=steps_per_epoch,
        train_rows=len(rows),
        valid_rows=len(valid_rows) if valid_rows else 0,
        train_tokens=int(rows.lengths.sum()),
        trained_tokens_per_epoch=int(rows.trained.sum()),
        valid_tokens=int(valid_rows.lengths.sum()) if valid_rows else 0,
        truncated_rows=rows.truncated,
        parameters=sum(p.numel() for p in model.network.parameters()),
        trainable_parameters=sum(p.numel() for p in model.trainable.values()),
        device=device.name,
        dtype=run.spec.dtype,
        world_size=run.process.num_processes,
        resumed_step=progress.step,
    )


class _Pace:
    """Tokens a second, smoothed over about ten steps."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def add(self, tokens: int, seconds: float) -> float:
        self._tokens = 0.9 * self._tokens + tokens
        self._seconds = 0.9 * self._seconds + seconds
        return self._tokens / max(self._seconds, 1e-9)


def _memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
