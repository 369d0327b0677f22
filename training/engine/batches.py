"""Rows as numbers, and which rows go together. B batch, T tokens, N trained positions."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from training.engine.chat import Encoded
from training.engine.errors import EngineError, InvalidTrainingFile
from training.engine.packing import Borders, borders_of

Encode = Callable[[dict[str, Any]], Encoded]
Progress = Callable[[int, int], None]


class EncodedRow(Protocol):
    """A row of any method: one sequence or several."""

    @property
    def truncated(self) -> bool: ...
    @property
    def trained_tokens(self) -> int: ...


Row = TypeVar("Row", bound=EncodedRow)

# Rows of similar length are put together within this many batches; more means less padding, fewer means more mixing.
GROUPED_BATCHES = 16
NO_CUTS = np.empty(0, np.int64)


class Rows:
    """Tokenised rows, kept as flat arrays: 5 bytes a token, so that millions of rows fit. `packed`: several of them go
    into one sequence."""

    def __init__(self, encoded: Sequence[Encoded], packed: bool = False, lines: Sequence[int] | None = None) -> None:
        self.packed = packed
        self.lines = None if lines is None else np.array(lines, dtype=np.int64)  # where each row stands in its file
        self.lengths = np.array([len(row.token_ids) for row in encoded], dtype=np.int64)
        self.trained = np.array([row.trained_tokens for row in encoded], dtype=np.int64)
        self.truncated = sum(row.truncated for row in encoded)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])
        self._ids = _flat([row.token_ids for row in encoded], np.int32, int(self._starts[-1]))
        self._weights = _flat([row.weights for row in encoded], np.float16, int(self._starts[-1]))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def tokens(self) -> int:
        return len(self._ids)

    def ids(self, row: int) -> np.ndarray:
        return self._ids[self._starts[row] : self._starts[row + 1]]

    def weights(self, row: int) -> np.ndarray:
        return self._weights[self._starts[row] : self._starts[row + 1]]

    def cuts(self, row: int) -> np.ndarray:
        """Where within the row another text begins that must not see what stands before; nowhere."""
        return NO_CUTS


def _flat(parts: list[list], dtype: Any, total: int) -> np.ndarray:
    flat, start = np.empty(total, dtype), 0
    for part in parts:
        flat[start : start + len(part)] = part
        start += len(part)
    return flat


def read_rows(path: Path, encode: Encode, progress: Progress, packed: bool = False) -> tuple[Rows, int]:
    """As `read_encoded`, of rows that are one sequence each."""
    encoded, lines, left_out = read_encoded(path, encode, progress)
    return Rows(encoded, packed, lines), left_out


def read_encoded(
    path: Path, encode: Callable[[dict[str, Any]], Row], progress: Progress
) -> tuple[list[Row], list[int], int]:
    """Tokenises a JSONL file. Returns the rows, the line of each, and how many were left out because the cut left
    nothing to train on.

    Raises InvalidTrainingFile with the line for a row that cannot be used.
    """
    if not path.exists():
        raise InvalidTrainingFile(f"The file is gone from {path.parent}. Upload it again.")
    total = _count_lines(path)
    encoded: list[Row] = []
    numbers: list[int] = []
    left_out, told = 0, 0.0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _encode_line(line, number, encode)
            if row.trained_tokens:
                encoded.append(row)
                numbers.append(number)
            else:
                left_out += 1
            if time.monotonic() - told > 0.5:
                progress(number, total)
                told = time.monotonic()
    if not encoded:
        raise InvalidTrainingFile(
            "There is no row to train on: cut at max_length, each one ends before its answer begins, from the first "
            "line on. Raise max_length."
            if left_out
            else "There is no row to train on: the file is empty."
        )
    progress(total, total)
    return encoded, numbers, left_out


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _encode_line(line: bytes, number: int, encode: Callable[[dict[str, Any]], Row]) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        if not isinstance(row, dict):
            raise InvalidTrainingFile("not a JSON object.")
        encoded = encode(row)
    except EngineError as error:
        raise InvalidTrainingFile(f"Line {number}: {error.message}", param=error.param) from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidTrainingFile(f"Line {number} is not a usable row: {error}") from error
    if not encoded.trained_tokens and not encoded.truncated:
        raise InvalidTrainingFile(f"Line {number} has nothing to train on: no assistant text with weight 1.")
    return encoded


# ---- which rows go together ----


def epoch_batches(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The global batches of a pass: every row once, in an order that depends on seed and epoch only.

    Rows are shuffled, then sorted by length within groups of batches, then the batches are shuffled: little padding,
    and no pass sees short rows first.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    group = batch_size * GROUPED_BATCHES
    batches: list[np.ndarray] = []
    for start in range(0, len(order), group):
        rows = order[start : start + group]
        rows = rows[np.argsort(-lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def micro_batches(
    rows: Sequence[int] | np.ndarray, lengths: np.ndarray, token_budget: int, packed: bool = False
) -> Iterator[list[int]]:
    """Cuts rows into passes of at most `token_budget` tokens, longest rows first; a longer row is alone. Unless rows
    are packed, padding counts: each costs as much as the longest of its pass."""
    chosen: list[int] = []
    cost = 0
    for row in sorted((int(row) for row in rows), key=lambda row: (-int(lengths[row]), row)):
        more = int(lengths[row]) if packed or not chosen else int(lengths[chosen[0]])
        if chosen and cost + more > token_budget:
            yield chosen
            chosen, cost, more = [], 0, int(lengths[row])
        chosen.append(row)
        cost += more
    if chosen:
        yield chosen


@dataclass
class Batch:
    """One forward pass. `picked_N` indexes the flattened (B*T) positions whose next token is trained."""

    input_ids_BT: Tensor
    picked_N: Tensor
    targets_N: Tensor
    weights_N: Tensor
    tokens: int  # without padding
    borders: Borders | None = None  # of a packed pass
    trained_rows: tuple[int, ...] = ()  # trained tokens of each row: how the N positions are shared out

    @property
    def trained(self) -> int:
        return len(self.targets_N)


class Sequences(Protocol):
    """What `collate` needs of rows."""

    packed: bool
    lengths: np.ndarray

    def ids(self, row: int) -> np.ndarray: ...
    def weights(self, row: int) -> np.ndarray: ...
    def cuts(self, row: int) -> np.ndarray: ...


def collate(rows: Sequences, chosen: list[int], device: torch.device) -> Batch:
    """Packed rows stand one after another in one sequence, with their borders. Others are padded to the longest, on the
    right: a causal model's real tokens never see what comes after them, so no attention mask is needed."""
    lengths = rows.lengths[chosen]
    width = int(lengths.sum() if rows.packed else lengths.max())
    input_ids = np.zeros((1 if rows.packed else len(chosen), width), dtype=np.int64)
    starts = np.cumsum(lengths) - lengths if rows.packed else np.arange(len(chosen)) * width
    flat = input_ids.reshape(-1)
    picked, targets, weights, sequences = [], [], [], []
    for start, row in zip(starts.tolist(), chosen, strict=True):
        ids, weight = rows.ids(row), rows.weights(row)
        flat[start : start + len(ids)] = ids
        sequences += np.diff([0, *rows.cuts(row), len(ids)]).tolist()
        trained = np.flatnonzero(weight[1:]) + 1
        picked.append(trained - 1 + start)
        targets.append(ids[trained].astype(np.int64))
        weights.append(weight[trained].astype(np.float32))

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    return Batch(
        input_ids_BT=tensor(input_ids),
        picked_N=tensor(np.concatenate(picked)),
        targets_N=tensor(np.concatenate(targets)),
        weights_N=tensor(np.concatenate(weights)),
        tokens=int(lengths.sum()),
        borders=borders_of(sequences, device) if rows.packed else None,
        trained_rows=tuple(len(part) for part in targets),
    )
