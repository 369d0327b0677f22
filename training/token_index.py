"""For each row of a file, how many tokens it has under a base model's tokenizer: beside the file, one record a row.

32 bytes a row, read by mapping the file, so that figures and filters over all rows of a large file are exact and quick.
"""

import secrets
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training import home
from training.engine.chat import ChatFormat, Encoded
from training.insight import Insight
from training.row_search import texts_of
from training.rules import Row

ROLES: Final = {"system": 0, "developer": 0, "user": 1, "assistant": 2, "tool": 3, "function": 3}
ROLE_NAMES: Final = ("system", "user", "assistant", "tool")
RECORD: Final = np.dtype(
    [(name, "<u4") for name in ("line", "tokens", "trained", "needed", *ROLE_NAMES)]
    # tokens: of a preference row, of the longer of its two sequences: this is what max_length cuts
    # needed: how many tokens must be left so that there is something to train on; 0: there never is
    # by role: of the texts alone, without what the template adds
)
Records = NDArray[Any]
HELD_ROWS: Final = 256
KNOWN_SYSTEM_PROMPTS: Final = 1000


def path_of(file_id: str, base_model: str) -> Path:
    return home.file_folder(file_id) / f"tokens-{base_model}.bin"


def read(path: Path) -> Records | None:
    """All records, mapped; None where rows were not counted so."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    return np.memmap(path, RECORD, "r") if size else np.empty(0, RECORD)


class Writer:
    """Written beside and moved into place when it is complete. `insight` collects what rows have in common."""

    def __init__(self, path: Path, chat: ChatFormat) -> None:
        self._path, self._part, self._chat = path, path.with_name(f"{path.name}.{secrets.token_hex(4)}.part"), chat
        self._held: list[tuple[tuple[int, int, int, int], list[tuple[int, str]]]] = []
        self._system: dict[str, int] = {}
        self.insight = Insight()

    def __enter__(self) -> "Writer":
        self._file = self._part.open("wb")
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            self._flush()
        self._file.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    def add(self, line: int, row: Row, sequences: list[Encoded]) -> None:
        trained = [each.trained_tokens for each in sequences]
        needed = max(until_trained(each) for each in sequences) if all(trained) else 0
        longest = max(len(each.token_ids) for each in sequences)
        said = texts_of(row)
        self.insight.add(row, line, said)
        texts = [(ROLES[role], text) for role, text in said if role in ROLES and text]
        self._held.append(((line, longest, sum(trained), needed), texts))
        if len(self._held) == HELD_ROWS:
            self._flush()

    def _flush(self) -> None:
        records = np.zeros(len(self._held), RECORD)
        asked = [text for _, texts in self._held for role, text in texts if role or text not in self._system]
        counts = iter(self._chat.encode_texts(asked))
        for at, (numbers, texts) in enumerate(self._held):
            by_role = [0] * len(ROLE_NAMES)
            for role, text in texts:
                if not role and text in self._system:
                    by_role[role] += self._system[text]
                else:
                    by_role[role] += len(next(counts))
            records[at] = (*numbers, *by_role)
        self._file.write(records.tobytes())
        self._remember()
        self._held = []

    def _remember(self) -> None:
        """The same system prompt stands in many rows and is counted once."""
        new = {text for _, texts in self._held for role, text in texts if not role} - self._system.keys()
        if new and len(self._system) + len(new) <= KNOWN_SYSTEM_PROMPTS:
            counted = self._chat.encode_texts(sorted(new))
            self._system |= {text: len(ids) for text, ids in zip(sorted(new), counted, strict=True)}


def until_trained(encoded: Encoded) -> int:
    """Tokens up to the first that bears loss, with it; the very first never does."""
    return 1 + next(at for at, weight in enumerate(encoded.weights) if at and weight)


# ---- which rows ----


def untrained(records: Records) -> Records:
    """Lines with nothing to train on, whatever max_length is."""
    return records["line"][records["needed"] == 0]


def cut(records: Records, max_length: int) -> Records:
    """Lines that do not fit."""
    return records["line"][records["tokens"] > max_length]


def lost(records: Records, max_length: int) -> Records:
    """Lines whose answers are wholly cut away; the trainer leaves these rows out."""
    return records["line"][records["needed"] > max_length]


# ---- figures ----


def distribution(values: Records) -> dict[str, float]:
    """Exact, over all values; a percentile is a value that occurs (the nearest rank)."""
    if not len(values):
        return {}
    p5, median, p95 = np.percentile(values, (5, 50, 95), method="inverted_cdf").tolist()
    return {
        "min": int(values.min()), "p5": p5, "median": median, "mean": float(values.mean()), "p95": p95,
        "max": int(values.max()),
    }  # fmt: skip


def histogram(values: Records, bins: int) -> list[tuple[int, int, int]]:
    """(from, to, rows) of bars of equal width that hold whole numbers."""
    if not len(values):
        return []
    low, high = int(values.min()), int(values.max())
    width = max(1, -(-(high - low + 1) // bins))
    tally = np.bincount((np.asarray(values) - low) // width)
    return [(low + at * width, low + (at + 1) * width - 1, int(count)) for at, count in enumerate(tally)]


def extremes(records: Records, count: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(tokens, line) of the longest and of the shortest rows."""
    tokens, count = np.asarray(records["tokens"]).astype(np.int64), min(count, len(records))
    if not count:
        return [], []
    longest, shortest = np.argpartition(-tokens, count - 1)[:count], np.argpartition(tokens, count - 1)[:count]

    def told(rows: Any) -> list[tuple[int, int]]:
        return sorted((int(tokens[at]), int(records["line"][at])) for at in rows)

    return told(longest)[::-1], told(shortest)
