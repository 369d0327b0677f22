"""Supervised fine-tuning on chat rows and prompt/completion rows.

    python -m training.engine.sft RUN_FOLDER

reads RUN_FOLDER/spec.json (training.engine.spec.JobSpec) and writes events.jsonl and checkpoints beside it; started
again after a crash it goes on from the newest state it finds. Under torchrun it trains on all its processes.
"""

import sys
from pathlib import Path
from typing import Any

from torch import Tensor

from training.engine import loop
from training.engine.batches import Batch
from training.engine.chat import ChatFormat, Encoded
from training.engine.loss import token_losses, weighted_sums
from training.engine.model import LanguageModel


def encode_row(chat: ChatFormat, row: dict[str, Any], max_length: int) -> Encoded:
    return chat.encode_row(row, max_length)


def batch_loss(model: LanguageModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sums over trained tokens of cross-entropy and of right guesses. Only trained positions meet the output layer."""
    hidden_ND = model.hidden(batch.input_ids_BT).flatten(0, 1)[batch.picked_N]
    losses_N, correct_N = token_losses(hidden_ND, batch.targets_N, model.logits, model.rows_at_once)
    return weighted_sums(losses_N, correct_N, batch.weights_N)


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "spec.json").exists():
        print("usage: python -m training.engine.sft RUN_FOLDER (with a spec.json in it)", file=sys.stderr)
        return 2
    return loop.run(Path(sys.argv[1]), encode_row, batch_loss)


if __name__ == "__main__":
    sys.exit(main())
