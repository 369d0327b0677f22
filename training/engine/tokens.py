"""Documents as one long, memory-mapped row of tokens, and the blocks that training takes out of it.

A token folder:
    tokens.bin    all documents' tokens, one after another, 2 or 4 bytes each
    ends.bin      for each document the place after its last token, 8 bytes each
    about.json    what it was made from, and the totals
It appears under its final name when it is complete.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.engine.chat import ChatFormat
from training.engine.checkpoint import complete_folder
from training.engine.errors import InvalidTrainingFile
from training.engine.text import Progress, pieces, shards, tokenised

LAYOUT = 1  # of the folder; another number makes old ones be written anew


@dataclass(frozen=True)
class TokenFile:
    """A complete token folder; the operating system reads what is looked at."""

    ids: np.ndarray
    ends: np.ndarray

    @classmethod
    def open(cls, folder: Path) -> "TokenFile":
        about = json.loads((folder / "about.json").read_text())
        ids = np.memmap(folder / "tokens.bin", dtype=about["dtype"], mode="r")
        return cls(ids, np.memmap(folder / "ends.bin", dtype=np.int64, mode="r"))

    @property
    def documents(self) -> int:
        return len(self.ends)


def token_key(path: Path, base_path: Path) -> str:
    """Names a token folder after everything that its content depends on."""
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in shards(path)]
    tokenizer = [
        hashlib.sha256((base_path / name).read_bytes()).hexdigest()
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json")
        if (base_path / name).exists()
    ]
    return hashlib.sha256(json.dumps([LAYOUT, str(path), files, tokenizer]).encode()).hexdigest()[:16]


def write_tokens(folder: Path, path: Path, chat: ChatFormat, vocabulary: int, progress: Progress) -> None:
    """Tokenises the documents of a file or folder into `folder`. Memory stays flat. Raises InvalidTrainingFile."""
    total = sum(file.stat().st_size for file in shards(path))
    dtype: Any = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    done = tokens = documents = 0
    told = 0.0
    with complete_folder(folder) as part:
        with (part / "tokens.bin").open("wb") as ids_file, (part / "ends.bin").open("wb") as ends_file:
            for found in tokenised(chat, pieces(path)):
                ids_file.write(np.asarray(found.ids, dtype=dtype).tobytes())
                tokens, done = tokens + len(found.ids), done + found.size_bytes
                if found.ends:
                    ends_file.write(np.int64(tokens).tobytes())
                    documents += 1
                if time.monotonic() - told > 0.5:
                    progress(min(done, total), total)
                    told = time.monotonic()
        if tokens < 2:
            raise InvalidTrainingFile("There is no text to train on in this file.")
        about = {"dtype": np.dtype(dtype).name, "tokens": tokens, "documents": documents, "source": str(path)}
        (part / "about.json").write_text(json.dumps(about))
    progress(total, total)


class Blocks:
    """Rows of at most `length` tokens out of a token file.

    Packed, the documents lie one after another and each block takes the next `length` tokens, with the border between
    two documents kept apart by attention and loss. Otherwise a block is one document or a part of a long one. Blocks of
    one document overlap by a token, so that every token but a document's first is predicted exactly once.
    """

    truncated = 0

    def __init__(self, file: TokenFile, length: int, packed: bool) -> None:
        self._file, self.packed = file, packed
        stride = length - 1
        if packed:
            self._starts = np.arange(0, len(file.ids) - 1, stride)
            self.lengths = np.minimum(length, len(file.ids) - self._starts)
        else:
            ends = np.asarray(file.ends)
            starts = np.concatenate([[0], ends[:-1]])
            parts = np.maximum(1, -(-(ends - starts - 1) // stride))
            within = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
            self._starts = np.repeat(starts, parts) + within * stride
            self.lengths = np.minimum(length, np.repeat(ends, parts) - self._starts)
        last = self._starts + self.lengths - 1
        borders = np.searchsorted(file.ends, last, "right") - np.searchsorted(file.ends, self._starts, "right")
        self.trained = self.lengths - 1 - borders

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def tokens(self) -> int:
        return len(self._file.ids)

    def ids(self, row: int) -> np.ndarray:
        start = self._starts[row]
        return self._file.ids[start : start + self.lengths[row]]

    def cuts(self, row: int) -> np.ndarray:
        """Where within the row another document begins."""
        start = self._starts[row]
        last = start + self.lengths[row] - 1
        first, end = np.searchsorted(self._file.ends, [start, last], "right")
        return np.asarray(self._file.ends[first:end]) - start

    def weights(self, row: int) -> np.ndarray:
        weights = np.ones(self.lengths[row], np.float16)
        weights[self.cuts(row)] = 0
        return weights
