"""One step of the optimizer: forward and backward over a global batch in as many passes as memory asks for."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from training.engine.batches import micro_batches
from training.engine.errors import LossSpike, NonFiniteLoss
from training.engine.estimate import MemoryPlan
from training.engine.method import TrainingRows
from training.engine.model import LanguageModel
from training.engine.optimizer import MasterAdamW
from training.engine.room import free_memory, smaller_plan, told_to_all
from training.engine.run import Figures, Run, figures_of, no_sums, stacked, sum_over_processes
from training.engine.sharding import sum_gradients
from training.engine.spikes import named_lines


def step_that_fits(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    rows: TrainingRows,
    batch_rows: np.ndarray,
    plan: MemoryPlan,
    rate: float,
) -> tuple[Figures, float, MemoryPlan]:
    """A step, tried again in smaller passes where memory runs out; returns the plan that worked."""
    random = torch.get_rng_state(), torch.cuda.get_rng_state() if run.device.type == "cuda" else None
    while True:
        try:
            return *_step(run, model, optimizer, rows, batch_rows, plan.micro_batch_tokens, rate), plan
        except torch.OutOfMemoryError:
            pass  # handled outside, when the error holds no tensors any more
        optimizer.forget()
        free_memory()
        torch.set_rng_state(random[0])  # dropout draws the same once more
        if random[1] is not None:
            torch.cuda.set_rng_state(random[1])
        plan = smaller_plan(run, model, rows, batch_rows.tolist(), plan)


def _step(
    run: Run,
    model: LanguageModel,
    optimizer: MasterAdamW,
    rows: TrainingRows,
    batch_rows: np.ndarray,
    token_budget: int,
    rate: float,
) -> tuple[Figures, float]:
    """Forward and backward over the batch in as many passes as needed, then one update. Returns its gradient norm."""
    model.network.train()
    mine = batch_rows[run.process.process_index :: run.process.num_processes]
    sums = no_sums(run)
    passes: list[tuple[list[int], Tensor]] = []
    with told_to_all(run):
        cut = list(micro_batches(mine, rows.lengths, token_budget, run.spec.packing))
        for chosen, counts in model.in_step(cut, int(batch_rows[0])):
            batch = run.method.collate(rows, chosen, run.device)
            judged = model.in_one_pass(partial(run.method.loss, model, batch))
            (judged.loss if counts else judged.loss * 0).backward()
            optimizer.collect()
            if counts:
                sums += stacked(run, judged, batch.tokens, batch.trained)
                passes.append((chosen, judged.loss.detach()))
            if not run.has_stepped:
                run.phase("training", min(len(mine), sum(len(rows_of) for rows_of, _ in passes)), len(mine))
    run.has_stepped = True
    sums = sum_over_processes(run, sums)
    if run.process.num_processes > 1 and not optimizer.shared_out:
        sum_gradients(list(optimizer.masters.values()))
    figures = figures_of(run, sums)
    norm = optimizer.clip(run.spec.max_grad_norm, scale=1 / figures.weight)
    if not (np.isfinite(figures.loss) and np.isfinite(norm)):
        raise NonFiniteLoss(
            f"The loss became {figures.loss} (gradient norm {norm}) and the weights were left as they were before this "
            f"step. Lower the learning rate multiplier, or look for broken rows{_where(rows, batch_rows, passes)}."
        )
    _watch_for_a_spike(run, rows, batch_rows, figures.loss)
    optimizer.step(rate)
    return figures, norm


def _where(rows: TrainingRows, batch_rows: np.ndarray, passes: list[tuple[list[int], Tensor]]) -> str:
    """The lines of the passes whose own loss is no number; of the whole batch when only their gradient is none."""
    broken = [row for chosen, loss in passes if not torch.isfinite(loss) for row in chosen]
    lines = named_lines(rows, broken or batch_rows.tolist())
    return f": this batch had {lines}" if lines else " in the training file"


def _watch_for_a_spike(run: Run, rows: TrainingRows, batch_rows: np.ndarray, loss: float) -> None:
    usual = run.spikes.usual(loss) if run.spec.on_spike != "off" else None
    if usual is None:
        return
    lines = named_lines(rows, batch_rows.tolist())
    text = f"The training loss rose to {loss:.3g} from about {usual:.3g}{f'; this batch had {lines}' if lines else ''}"
    if run.spec.on_spike == "stop":
        raise LossSpike(
            f"{text}. The job asked to stop at a spike; the weights were left as they were before this step. "
            "Look at these rows, or lower the learning rate multiplier."
        )
    run.note(text, "warn")
