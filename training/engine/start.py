"""Before the first step: the machine, the data, how batches are cut into passes, and what the run says of itself."""

import json
import math
import os
import random
from dataclasses import asdict

import numpy as np
import psutil
import torch

from training.engine.chat import ChatFormat
from training.engine.checkpoint import Progress
from training.engine.errors import EngineError
from training.engine.estimate import MemoryPlan, plan_memory
from training.engine.facts import read_model_facts
from training.engine.method import TrainingRows
from training.engine.model import LanguageModel
from training.engine.run import Run, run_wide
from training.engine.spec import DeviceFacts, JobSpec, Started


def prepare_machine(spec: JobSpec) -> None:
    if threads := int(os.environ.get("HONE_TRAIN_THREADS", "0")):
        torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = spec.dtype == "bfloat16"
    random.seed(spec.seed)
    np.random.seed(spec.seed)
    torch.manual_seed(spec.seed)


def read_data(run: Run) -> tuple[ChatFormat, TrainingRows, TrainingRows | None]:
    """Tokenised training and validation rows; before the model is loaded, so that a bad row is told at once."""
    spec = run.spec
    run.phase("tokenizing")
    chat = ChatFormat.load(spec.base_path)

    def progress(done: int, total: int) -> None:
        run.phase("tokenizing", done, total)
        run.leave_if_asked()

    rows, left_out = run.method.read(run, chat, spec.training_file, progress)
    if left_out:
        run.note(f"{left_out} training rows have nothing to train on within {spec.max_length} tokens; left out", "warn")
    if not spec.validation_file:
        return chat, rows, None
    try:
        valid_rows, _ = run.method.read(run, chat, spec.validation_file, progress)
    except EngineError as error:
        error.param = "validation_file"
        error.code = "invalid_validation_file"
        raise
    if valid_rows.truncated:
        run.note(f"{valid_rows.truncated} validation rows are cut at {spec.max_length} tokens", "warn")
    return chat, rows, valid_rows


def device_facts(run: Run) -> DeviceFacts:
    """The device as this process has it."""
    if run.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(run.device)
        name = torch.cuda.get_device_name(run.device)
        return DeviceFacts(kind="cuda", name=name, memory_bytes=total, free_bytes=free)
    memory, sharers = psutil.virtual_memory(), run.process.num_processes
    return DeviceFacts(
        kind="cpu", name="CPU", memory_bytes=memory.total // sharers, free_bytes=memory.available // sharers
    )


def memory_plan(run: Run, rows: TrainingRows, device: DeviceFacts) -> MemoryPlan:
    spec = run.spec
    facts = read_model_facts(spec.base_path, spec.base_model)
    trainable = facts.parameters if spec.adaptation == "full" else (spec.lora_r or 0) * 14 * facts.hidden_size
    processes = run.process.num_processes
    sizes = (spec.dtype, int(rows.lengths.max()), math.ceil(spec.batch_size / processes))
    ways = (spec.gradient_checkpointing, spec.quantization, spec.optimizer)
    plan = plan_memory(facts, trainable, *sizes, device, *ways, shards=processes if run.shares_out else 1)
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
        if (kept["device"], kept.get("processes", 1)) == (device.kind, run.process.num_processes) and (
            first.peak_bytes <= device.free_bytes or first == plan
        ):
            return first
        run.note(
            "Devices or their free memory are others now: batches are cut in a new way, which changes only rounding."
        )
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        run.note(f"plan.json cannot be read, batches may be cut in a new way: {error}", "warn")
    write_plan(run, plan)
    return plan


def write_plan(run: Run, plan: MemoryPlan) -> None:
    """For later starts of this run."""
    if run.process.is_main_process:
        path = run.folder / "plan.json"
        part = path.with_suffix(".json.part")
        part.write_text(
            json.dumps({"device": run.device.type, "processes": run.process.num_processes, "plan": asdict(plan)})
        )
        part.replace(path)


def tell_started(
    run: Run,
    model: LanguageModel,
    rows: TrainingRows,
    valid_rows: TrainingRows | None,
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
        train_tokens=rows.tokens,
        trained_tokens_per_epoch=int(rows.trained.sum()),
        valid_tokens=valid_rows.tokens if valid_rows else 0,
        truncated_rows=rows.truncated,
        parameters=sum(p.numel() for p in model.network.parameters()),
        trainable_parameters=sum(p.numel() for p in model.trainable.values()),
        device=device.name,
        dtype=run.spec.dtype,
        world_size=run.process.num_processes,
        resumed_step=progress.step,
    )
