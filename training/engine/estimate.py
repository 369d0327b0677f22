"""What a job will take: steps, tokens, time, memory, disk. No torch.

The numbers behind every "auto" are in resolve.py, the formulas of memory in memory.py.
"""

import math
import os

from training.engine.blocks import block_facts
from training.engine.calibrate import FORMULAS, Calibration
from training.engine.experts import shards
from training.engine.facts import StartFacts
from training.engine.memory import MemoryPlan, bytes_of, memory_parts, plan_memory, trainable_parameters
from training.engine.resolve import joins
from training.engine.spec import (
    DataFacts,
    DeviceFacts,
    Estimate,
    MemoryParts,
    ModelFacts,
    Price,
    Resolved,
    SecondsParts,
)

# Sustained training speed in FLOP/s, well under the peaks that data sheets name.
GPU_FLOPS = {"H200": 4.0e14, "H100": 3.5e14, "A100": 1.4e14, "L40": 0.8e14, "4090": 0.7e14, "L4": 0.4e14, "T4": 0.15e14}
OTHER_GPU_FLOPS = 0.5e14
CPU_CORE_FLOPS = {"bfloat16": 7.0e10, "float32": 2.5e10}
START_SECONDS = 12.0  # interpreter, imports, weights
DISK_BYTES_A_SECOND = 1e9
STEP_SECONDS = {"cpu": 0.02, "cuda": 0.03}  # of a step however small
SAVE_SECONDS = 1.0  # of a checkpoint however small: its folder, the figures for the parity gate


def estimate(
    resolved: Resolved,
    data: DataFacts,
    model: ModelFacts,
    device: DeviceFacts,
    valid: DataFacts | None = None,
    start: StartFacts | None = None,
    *,
    calibration: Calibration = FORMULAS,
    price: Price | None = None,
) -> Estimate:
    """Steps, tokens, time, memory and disk of a job, with warnings for people; `start` as in `resolve`.

    `calibration`: what finished runs of this machine say of the formulas.
    """
    data, valid = as_trained(data, resolved), as_trained(valid, resolved) if valid else None
    steps_per_epoch = math.ceil(data.rows / resolved.batch_size)
    kept, cut_rows = _after_truncation(data, resolved.max_length)
    trainable = trainable_parameters(resolved, model)
    tokens = kept * resolved.n_epochs
    plan = _plan(resolved, model, trainable, device)
    memory = calibration.memory(_memory(resolved, model, trainable, plan, device))
    valid_tokens = valid.tokens * _validations(resolved, steps_per_epoch) if valid else 0
    seconds = calibration.seconds(formula_seconds(resolved, model, device, tokens, valid_tokens, data.rows, plan))
    fits = memory.total <= device.free_bytes
    warnings = _warnings(resolved, data, model, device, valid, cut_rows, plan, memory.total, fits)
    if resolved.saves_merged or (
        start and resolved.adaptation == "lora" and (start.kind == "full" or joins(resolved, start))
    ):
        warnings.append(resolved.reasons["adaptation"])
    return Estimate(
        steps=steps_per_epoch * resolved.n_epochs,
        steps_per_epoch=steps_per_epoch,
        tokens=tokens,
        trained_tokens=round(data.trained_tokens * resolved.n_epochs * kept / max(1, data.tokens)),
        truncated_rows=cut_rows,
        seconds=seconds.total,
        memory_bytes=memory.total,
        disk_bytes=resolved.most_checkpoints * checkpoint_bytes(resolved, model, trainable, start),
        fits=fits,
        warnings=warnings,
        device=device.label,
        seconds_parts=seconds,
        memory_parts=memory,
        calibrated_by=calibration.runs,
        price=price,
    )


def as_trained(data: DataFacts, resolved: Resolved) -> DataFacts:
    """Of the rows as they are drawn: documents of raw text become blocks."""
    return block_facts(data, resolved.max_length, resolved.packing == "on") if resolved.method == "pretrain" else data


def formula_memory(resolved: Resolved, model: ModelFacts, device: DeviceFacts) -> MemoryParts:
    """Before any calibration."""
    trainable = trainable_parameters(resolved, model)
    plan = _plan(resolved, model, trainable, device)
    return _memory(resolved, model, trainable, plan, device)


def _plan(resolved: Resolved, model: ModelFacts, trainable: int, device: DeviceFacts) -> MemoryPlan:
    sizes = (resolved.dtype, resolved.row_tokens, math.ceil(resolved.batch_size / device.count))
    ways = (resolved.gradient_checkpointing, resolved.quantization, resolved.optimizer)
    return plan_memory(model, trainable, *sizes, device, *ways, shards=shards(resolved, device))


def _memory(
    resolved: Resolved, model: ModelFacts, trainable: int, plan: MemoryPlan, device: DeviceFacts
) -> MemoryParts:
    used = min(plan.micro_batch_tokens, resolved.row_tokens * math.ceil(resolved.batch_size / device.count))
    return memory_parts(
        model,
        trainable,
        resolved.dtype,
        used,
        recompute=plan.checkpoint_activations,
        quantization=resolved.quantization,
        optimizer=resolved.optimizer,
        shards=shards(resolved, device),
    )


def _after_truncation(data: DataFacts, max_length: int) -> tuple[int, int]:
    """Tokens of a pass that are left, and rows that are cut; scaled up when `lengths` is only a sample."""
    if data.longest_tokens <= max_length or not data.lengths:
        return data.tokens, 0
    share = sum(min(length, max_length) for length in data.lengths) / sum(data.lengths)
    cut = sum(length > max_length for length in data.lengths) / len(data.lengths)
    return round(data.tokens * share), max(1, round(data.rows * cut))


def _validations(resolved: Resolved, steps_per_epoch: int) -> int:
    """Of the whole set: at each epoch's end, and every so many steps if asked."""
    each = resolved.validate_every_steps
    steps = steps_per_epoch * resolved.n_epochs
    between = sum(step % steps_per_epoch != 0 for step in range(each, steps + 1, each)) if each else 0
    return resolved.n_epochs + between


def checkpoint_bytes(resolved: Resolved, model: ModelFacts, trainable: int, start: StartFacts | None = None) -> int:
    """Weights, tokenizer, and the optimizer's state for going on."""
    size = bytes_of(resolved.dtype)
    weights = trainable * size
    if resolved.adaptation == "full" or resolved.saves_merged or (start and start.kind == "full"):
        weights = model.parameters * size
    elif start and resolved.lora_r and joins(resolved, start):
        weights = weights * (resolved.lora_r + (start.lora_r or 0)) // resolved.lora_r
    return weights + trainable * 12 + 80 * model.vocabulary


def formula_seconds(
    resolved: Resolved,
    model: ModelFacts,
    device: DeviceFacts,
    tokens: int,
    valid_tokens: int,
    rows: int,
    plan: MemoryPlan | None = None,
) -> SecondsParts:
    """Before any calibration. Tokens are those of all epochs, rows those of one.

    FLOP per token: 2 a weight forward, 2 for the activations' gradient, 2 more where weights are trained, 2 more where
    activations are computed twice. Several GPUs count as so many times the speed of one; what they tell each other is
    left to the calibration, and processes on one CPU share its speed. Validation is forward only, and so is DPO's one
    pass with its reference.
    """
    trainable = trainable_parameters(resolved, model)
    plan = plan or _plan(resolved, model, trainable, device)
    speed = _flops(resolved.dtype, device) * (device.count if device.kind == "cuda" else 1)
    per_token = (4 if resolved.adaptation == "lora" else 6) + (2 if plan.checkpoint_activations else 0)
    steps = math.ceil(rows / resolved.batch_size) * resolved.n_epochs
    written = resolved.n_epochs * checkpoint_bytes(resolved, model, trainable)
    judged = (tokens + valid_tokens) / resolved.n_epochs if resolved.method == "dpo" else 0  # by the reference, once
    return SecondsParts(
        start=START_SECONDS
        + model.parameters * bytes_of(resolved.dtype) / DISK_BYTES_A_SECOND
        + judged * 2 * model.parameters / speed,
        training=tokens * per_token * model.parameters / speed + steps * STEP_SECONDS[device.kind],
        rest=valid_tokens * 2 * model.parameters / speed
        + resolved.n_epochs * SAVE_SECONDS
        + written / DISK_BYTES_A_SECOND,
    )


def _flops(dtype: str, device: DeviceFacts) -> float:
    if device.kind == "cpu":
        return CPU_CORE_FLOPS[dtype] * (os.cpu_count() or 1)
    speed = next((rate for name, rate in GPU_FLOPS.items() if name in device.name), OTHER_GPU_FLOPS)
    return speed * (1 if dtype == "bfloat16" else 0.2)


def _warnings(
    resolved: Resolved,
    data: DataFacts,
    model: ModelFacts,
    device: DeviceFacts,
    valid: DataFacts | None,
    cut_rows: int,
    plan: MemoryPlan,
    peak_bytes: int,
    fits: bool,
) -> list[str]:
    found = []
    if not fits:
        found.append(
            f"About {peak_bytes / 2**30:.1f} GiB are needed and {device.free_bytes / 2**30:.1f} GiB are free on "
            f"{device.name}{' each' if device.count > 1 else ''}. Use LoRA, a smaller model or a smaller max_length."
        )
    if cut_rows:
        found.append(f"{cut_rows:,} rows are longer than {resolved.max_length:,} tokens and will be cut from the end.")
    if valid and valid.longest_tokens > resolved.max_length:
        found.append(f"Some validation rows are longer than {resolved.max_length:,} tokens and will be cut too.")
    if valid is None:
        found.append("No validation file: checkpoints cannot be compared by validation loss.")
    if data.rows < resolved.batch_size:
        found.append(f"The batch holds {resolved.batch_size} rows but the file only {data.rows}: one step an epoch.")
    if data.rows < 10 and resolved.method != "pretrain":
        found.append(f"Only {data.rows} rows; 50 to 100 good examples usually show a clear effect.")
    if plan.checkpoint_activations and fits:
        found.append("Long rows: activations are computed twice to save memory, which is slower.")
    if device.kind == "cpu" and model.parameters > 1e9:
        found.append("A model of this size trains very slowly without a GPU.")
    return found
