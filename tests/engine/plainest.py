"""The reference for supervised batches: transformers alone, one row at a time, in float32."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from tests.factories import chat_row, write_jsonl
from training.engine.batches import Rows, read_rows
from training.engine.chat import ChatFormat

LENGTHS = [1, 9, 4, 30, 2, 17, 6, 11]
Gradient = dict[str, torch.Tensor]


def eight_rows(path: Path) -> Path:
    """Rows of very different lengths, one with a part of weight 0."""
    rows = [chat_row(f"Say {n}", "word " * n) for n in LENGTHS]
    rows[3]["messages"] += [{"role": "user", "content": "Again"}, {"role": "assistant", "content": "no", "weight": 0}]
    return write_jsonl(path, rows)


def rows_of(base: Path, file: Path, packed: bool) -> Rows:
    chat = ChatFormat.load(base)
    return read_rows(file, lambda row: chat.encode_row(row, 256), lambda done, total: None, packed)[0]


def plainest(base: Path, rows: Rows) -> tuple[float, Gradient]:
    """Mean loss over trained tokens, by weight, and its gradient."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    total, weight = torch.zeros(()), 0.0
    for row in range(len(rows)):
        ids = torch.from_numpy(rows.ids(row).astype("int64"))
        weights = torch.from_numpy(rows.weights(row).astype("float32"))[1:]
        logprobs = model(ids[None]).logits[0, :-1].log_softmax(-1)
        total = total - (logprobs.gather(1, ids[1:, None])[:, 0] * weights).sum()
        weight += float(weights.sum())
    (total / weight).backward()
    return float(total.detach() / weight), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
