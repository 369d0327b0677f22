"""When memory runs out in a pass: smaller passes for the same batch, then activations that are computed twice. The
batch of the optimizer stays what it is, so that only rounding changes."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from training.engine.batches import micro_batches
from training.engine.errors import OutOfMemory
from training.engine.estimate import MemoryPlan
from training.engine.method import TrainingRows
from training.engine.model import LanguageModel
from training.engine.run import Run, sum_over_processes
from training.engine.start import write_plan


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@contextmanager
def told_to_all(run: Run) -> Iterator[None]:
    """Running out of memory in one process is raised in all of them: the others would wait for it for ever. Where the
    model is shared out they are within the same pass, which cannot be left and tried again: the run ends."""
    trouble: BaseException | None = None
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if run.shares_out:
            raise OutOfMemory(no_room(run)) from error
        trouble = error
    if run.shares_out:
        return
    if run.process.num_processes > 1:
        count = sum_over_processes(run, torch.tensor([float(trouble is not None)], device=run.device))
        if count.item() and trouble is None:
            trouble = torch.OutOfMemoryError("another process of this run is out of memory")
    if trouble is not None:
        raise torch.OutOfMemoryError(str(trouble)) from None  # without the frames that hold the pass's tensors


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def smaller_plan(
    run: Run, model: LanguageModel, rows: TrainingRows, batch_rows: list[int], plan: MemoryPlan
) -> MemoryPlan:
    """The plan for another try at this batch, kept for later starts and told. Raises OutOfMemory when there is none."""
    half = _half_of_the_largest_pass(run, rows, batch_rows, plan.micro_batch_tokens)
    if half:
        plan = replace(plan, micro_batch_tokens=half)
        how = f"passes of at most {plan.micro_batch_tokens:,} tokens"
    elif not plan.checkpoint_activations and run.spec.may_checkpoint:
        model.checkpoint_activations()
        plan = replace(plan, checkpoint_activations=True)
        how = "activations that are computed twice instead of kept"
    else:
        raise OutOfMemory(no_room(run, int(rows.lengths[batch_rows].max())))
    write_plan(run, plan)
    run.note(f"Out of memory: this step is tried again with {how}; the batch stays {run.spec.batch_size} rows", "warn")
    return plan


def smaller_forward_plan(run: Run, rows: TrainingRows, plan: MemoryPlan) -> MemoryPlan:
    """The plan for another try at judging these rows before the first step: first fewer tokens than a forward pass may
    have more than one of training, then smaller passes of both. Raises OutOfMemory when there is none."""
    budget = plan.micro_batch_tokens * run.validation_passes
    half = _half_of_the_largest_pass(run, rows, list(range(len(rows))), budget)
    if not half:
        raise OutOfMemory(no_room(run, int(rows.lengths.max())))
    while run.validation_passes > 1 and plan.micro_batch_tokens * run.validation_passes > half:
        run.validation_passes //= 2
    if plan.micro_batch_tokens > half:
        plan = replace(plan, micro_batch_tokens=half)  # a pass of training takes more memory than one forward
        write_plan(run, plan)
    tokens = plan.micro_batch_tokens * run.validation_passes
    run.note(f"Out of memory: the rows are judged again in passes of at most {tokens:,} tokens", "warn")
    return plan


def _half_of_the_largest_pass(run: Run, rows: TrainingRows, chosen: list[int], budget: int) -> int:
    """In tokens; 0 where no pass has more than one row."""
    largest = max(micro_batches(chosen, rows.lengths, budget, run.spec.packing), key=len)
    if len(largest) == 1:
        return 0
    return int(rows.lengths[largest].sum() if run.spec.packing else len(largest) * rows.lengths[largest].max()) // 2


def no_room(run: Run, longest: int | None = None) -> str:
    """What ran out, and what to change."""
    row = f" even with a single row of {longest:,} tokens at a time" if longest else ""
    changes = ["max_length" if run.spec.max_length > 64 else "a smaller base model"]
    changes.append("LoRA instead of full weights" if run.spec.adaptation == "full" else "a smaller lora_r")
    if not run.spec.may_checkpoint:
        changes.append("gradient_checkpointing auto or on")
    if run.device.type == "cuda" and run.spec.adaptation == "lora" and run.spec.quantization == "none":
        changes.append("quantization 4bit")
    words = ", ".join(change if change != "max_length" else "a smaller max_length" for change in changes)
    return f"The device ran out of memory{row}. Choose {words}; or free memory that other programs hold."
