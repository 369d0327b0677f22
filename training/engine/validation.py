"""Loss, accuracy and the method's own figures of validation rows, forward only."""

import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from training.engine.batches import micro_batches
from training.engine.estimate import MemoryPlan
from training.engine.method import TrainingRows
from training.engine.model import LanguageModel
from training.engine.run import Run, figures_of, no_sums, stacked, sum_over_processes
from training.engine.spec import JobSpec, Validation

VALIDATION_TOKENS = 4  # times the training pass: nothing is kept for a backward pass


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
    sums = no_sums(run)
    mine = chosen_rows[run.process.process_index :: run.process.num_processes]
    done, told = 0, time.monotonic()
    with model.as_saved() if whole else nullcontext(), torch.inference_mode():
        budget = plan.micro_batch_tokens * VALIDATION_TOKENS
        for chosen in micro_batches(mine, rows.lengths, budget, run.spec.packing):
            batch = run.method.collate(rows, chosen, run.device)
            sums += stacked(run, run.method.loss(model, batch), batch.tokens, batch.trained)
            done += len(chosen)
            if whole and time.monotonic() - told > 0.5:
                run.phase("validating", done, len(mine))
                told = time.monotonic()
    figures = figures_of(run, sum_over_processes(run, sums))
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
