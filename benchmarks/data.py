"""The rows that every subject trains on: one file of chat rows for Hone, and the same rows as tokens for the peers."""

import json
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine.chat import ChatFormat, Encoded

SAMPLES = Path(__file__).resolve().parent.parent / "training" / "samples"
CHATS = ("steer", "ticket", "tone")  # the samples of plain conversations; others hold function calls or pairs
Row = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """Files of one benchmark, and what is in them. `lengths` are of the training rows, in the file's order."""

    train: Path
    valid: Path
    tokens: Path  # {"train": [{"input_ids", "completion_mask"}], "valid": [...]}
    lengths: list[int]
    trained: list[int]

    def words(self) -> str:
        mean = sum(self.lengths) / len(self.lengths)
        return (
            f"{len(self.lengths)} rows, {sum(self.lengths):,} tokens ({mean:.0f} a row, longest {max(self.lengths)}), "
            f"{sum(self.trained):,} of them trained"
        )


def chat_row(row: Row) -> Row:
    """A row as Hone takes it; GSM8K's question and answer become a conversation."""
    if "messages" in row:
        return {"messages": row["messages"]}
    if "question" in row and "answer" in row:
        asked, answered = row["question"], row["answer"]
        return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}
    if "prompt" in row and "completion" in row:
        return {"prompt": row["prompt"], "completion": row["completion"]}
    sys.exit(f"A row has neither messages, nor prompt and completion, nor question and answer: {list(row)}")


def read_rows(path: Path | None) -> list[Row]:
    """Of a JSONL file, or of the three sample tasks."""
    files = [path] if path else [SAMPLES / task / f"{part}.jsonl" for part in ("train", "valid") for task in CHATS]
    return [chat_row(json.loads(line)) for file in files for line in file.read_text().splitlines() if line.strip()]


def prepare(source: Path | None, model: Path, folder: Path, rows: int, valid: int, max_length: int, seed: int) -> Data:
    """Draws rows by seed and writes the files. Every row fits max_length, so that nobody cuts anything."""
    chat = ChatFormat.load(model)
    encoded = [(row, chat.encode_row(row, max_length)) for row in read_rows(source)]
    fitting = [(row, found) for row, found in encoded if not found.truncated and found.trained_tokens]
    if len(fitting) < rows + valid:
        sys.exit(f"{rows} + {valid} rows are wanted, {len(fitting)} of {len(encoded)} fit {max_length} tokens.")
    chosen = random.Random(seed).sample(fitting, rows + valid)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": chosen[:rows], "valid": chosen[rows:]}
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row, _ in part))
    tokens = {name: [_tokens(found) for _, found in part] for name, part in parts.items()}
    (folder / "tokens.json").write_text(json.dumps(tokens))
    return Data(
        folder / "train.jsonl",
        folder / "valid.jsonl",
        folder / "tokens.json",
        [len(found.token_ids) for _, found in parts["train"]],
        [found.trained_tokens for _, found in parts["train"]],
    )


def _tokens(found: Encoded) -> Row:
    return {"input_ids": found.token_ids, "completion_mask": [int(weight > 0) for weight in found.weights]}
