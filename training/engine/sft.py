"""Supervised fine-tuning on chat rows and prompt/completion rows.

    python -m training.engine.sft RUN_FOLDER

reads RUN_FOLDER/spec.json (training.engine.spec.JobSpec) and writes events.jsonl and checkpoints beside it; started
again after a crash it goes on from the newest state it finds. Under torchrun it trains on all its processes.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from training.engine import loop
from training.engine.batches import Batch, Rows, collate, read_rows
from training.engine.chat import ChatFormat
from training.engine.loss import token_losses, weighted_sums
from training.engine.method import Method, Progress, Sums
from training.engine.model import LanguageModel
from training.engine.run import Run


def read(run: Run, chat: ChatFormat, path: Path, progress: Progress) -> tuple[Rows, int]:
    return read_rows(path, lambda row: chat.encode_row(row, run.spec.max_length), progress, run.spec.packing)


def batch_loss(model: LanguageModel, batch: Batch) -> Sums:
    """Sums over trained tokens of cross-entropy and of right guesses. Only trained positions meet the output layer."""
    hidden_ND = model.hidden(batch.input_ids_BT, batch.borders).flatten(0, 1)[batch.picked_N]
    losses_N, correct_N = token_losses(hidden_ND, batch.targets_N, model.logits, model.rows_at_once, model.head_learns)
    sums = Sums(*weighted_sums(losses_N, correct_N, batch.weights_N), batch.weights_N.sum())
    return sums if torch.is_grad_enabled() else sums._replace(rows=row_means(losses_N, batch))


def row_means(losses_N: Tensor, batch: Batch) -> Tensor:
    """Each row's loss: the mean over its trained tokens, by weight."""
    parts = (losses_N * batch.weights_N).split(batch.trained_rows), batch.weights_N.split(batch.trained_rows)
    return torch.stack([losses.sum() / weights.sum() for losses, weights in zip(*parts, strict=True)])


METHOD = Method(read=read, collate=collate, loss=batch_loss)

if __name__ == "__main__":
    sys.exit(loop.main(METHOD))
