"""Loss, accuracy and the method's own figures of validation rows, forward only."""

import time
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.engine import row_losses
from training.engine.batches import micro_batches
from training.engine.estimate import MemoryPlan
from training.engine.method import TrainingRows
from training.engine.model import LanguageModel
from training.engine.room import free_memory, told_to_all
from training.engine.run import VALIDATION_TOKENS as VALIDATION_TOKENS
from training.engine.run import Run, figures_of, no_sums, stacked, sum_over_processes
from training.engine.spec import JobSpec, Validation


def sampled_rows(valid_rows: TrainingRows, spec: JobSpec, step: int) -> np.ndarray:
    """A validation batch that depends on seed and step only, so that a replayed step meets the same one."""
    count = min(spec.valid_batch_rows, len(valid_rows))
    return np.random.default_rng([spec.seed, step, 1]).choice(len(valid_rows), count, replace=False)


def validate(
    run: Run,
    model: LanguageModel,
    rows: TrainingRows,
    chosen_rows: np.ndarray,
    plan: MemoryPlan,
    step: int,
    whole: bool,
) -> dict[str, Any]:
    """Loss and accuracy of these rows at the weights as they are; told as an event, returned as checkpoint figures."""
    model.network.eval()
    with model.as_saved() if whole else nullcontext(), model.forward_only():
        sums, losses_R = _judge_what_fits(run, model, rows, chosen_rows, plan, whole)
    figures = figures_of(run, sum_over_processes(run, sums))
    if whole:
        _keep_row_losses(run, rows, sum_over_processes(run, losses_R), step)
    run.events.write(
        Validation,
        step=step,
        whole=whole,
        loss=figures.loss,
        accuracy=figures.accuracy,
        tokens=figures.trained,
        rows=len(chosen_rows),
        metrics=figures.metrics,
    )
    name = "full_valid" if whole else "valid"
    found: dict[str, Any] = {f"{name}_loss": figures.loss, f"{name}_accuracy": figures.accuracy}
    return found | {"metrics": figures.metrics} if whole else found


def _judge_what_fits(
    run: Run, model: LanguageModel, rows: TrainingRows, chosen_rows: np.ndarray, plan: MemoryPlan, whole: bool
) -> tuple[Tensor, Tensor]:
    """Tried again in smaller passes where memory runs out, down to those of the training."""
    while True:
        try:
            with told_to_all(run):
                return _judge(run, model, rows, chosen_rows, plan.micro_batch_tokens * run.validation_passes, whole)
        except torch.OutOfMemoryError:
            if run.validation_passes == 1:
                raise
        run.validation_passes //= 2
        free_memory()


def _judge(
    run: Run, model: LanguageModel, rows: TrainingRows, chosen_rows: np.ndarray, budget: int, whole: bool
) -> tuple[Tensor, Tensor]:
    """This process's share: sums, and the loss of each row (NaN where the method tells none; 0 where not judged)."""
    sums = no_sums(run)
    losses_R = torch.zeros(len(rows), dtype=torch.float64, device=run.device)
    mine = chosen_rows[run.process.process_index :: run.process.num_processes]
    done, told = 0, time.monotonic()
    passes = list(micro_batches(mine, rows.lengths, budget, run.spec.packing))
    for chosen, counts in model.in_step(passes, int(chosen_rows[0])):
        batch = run.method.collate(rows, chosen, run.device)
        judged = model.in_one_pass(partial(run.method.loss, model, batch))
        if not counts:
            continue
        sums += stacked(run, judged, batch.tokens, batch.trained)
        losses_R[chosen] = torch.nan if judged.rows is None else judged.rows.double()
        done += len(chosen)
        if whole and time.monotonic() - told > 0.5:
            run.phase("validating", done, len(mine))
            told = time.monotonic()
    return sums, losses_R


def _keep_row_losses(run: Run, rows: TrainingRows, losses_R: Tensor, step: int) -> None:
    lines = getattr(rows, "lines", None)
    if lines is None or not run.process.is_main_process or not bool(torch.isfinite(losses_R).all()):
        return
    try:
        row_losses.keep(run.folder, step, lines.tolist(), losses_R.tolist())
    except OSError as error:  # a full disk costs only this page
        run.note(f"The losses of single rows could not be kept: {error}", "warn")
