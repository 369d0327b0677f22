"""One pass over a JSONL file that keeps of each row what repeats are found by, on disk: 192 bytes a row.

    signature   160 bytes: MinHash of the row's pairs of neighbouring words, the lowest 8 bits of each of 160 minima
                (b-bit minwise hashing). Four bytes that follow one another are a band of the LSH.
    offset 8, line 4, meaning 8, prompt 8, words 4: where the row stands and what words.py says of it

N = rows of the file, P = 160 minima, B = 40 bands.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from rensa import RMinHash

from training.jsonl import BadRow, lines, parse
from training.repeats.words import meaning_hash, prompt_hash, row_words
from training.rules import Row

MINIMA: Final = 160
BAND: Final = 4  # bytes of a signature that must agree
BANDS: Final = MINIMA // BAND
SEED: Final = 20_260  # of the MinHash; any will do, but two sketches that are compared need the same
COLUMNS: Final = {"offset": "<u8", "line": "<u4", "meaning": "<u8", "prompt": "<u8", "words": "<u4"}
SIGNATURES: Final = "signatures"
BYTES_A_ROW: Final = MINIMA + sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
ROWS_AT_ONCE: Final = 1_000
WORDS_AT_ONCE: Final = 200_000
CHUNK_ROWS: Final = 50_000  # read at once from a file of signatures: 8 MB
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Sketch:
    """What make() wrote to `folder` about the rows of `path`. Rows count from 0 here."""

    path: Path
    folder: Path
    rows: int

    def column(self, name: str) -> np.ndarray:
        return np.fromfile(self.folder / name, dtype=COLUMNS[name])

    def bands(self, rows_n: np.ndarray, first: int, out_nk: np.ndarray) -> None:
        """Fills `out_nk` (uint32) with bands of these rows, which rise, from the band `first` on."""
        many = out_nk.shape[1]
        with (self.folder / SIGNATURES).open("rb") as file:
            for at in range(0, self.rows, CHUNK_ROWS):
                chunk_nB = np.fromfile(file, dtype="<u4", count=min(CHUNK_ROWS, self.rows - at) * BANDS)
                begin, end = np.searchsorted(rows_n, (at, at + CHUNK_ROWS))
                out_nk[begin:end] = chunk_nB.reshape(-1, BANDS)[rows_n[begin:end] - at, first : first + many]


def signatures_of(texts: list[list[str]]) -> np.ndarray:
    """(texts, P) of uint8."""
    if not texts:
        return np.empty((0, MINIMA), dtype=np.uint8)
    digests = RMinHash.digests_from_token_sets([_shingles(words) for words in texts], MINIMA, SEED)
    return (np.array(digests, dtype=np.uint64) & 0xFF).astype(np.uint8)


def _shingles(words: list[str]) -> list[str]:
    """Pairs of neighbouring words; the borders count as words, so that one word alone has two."""
    return [f"{one} {next_}" for one, next_ in zip(["", *words], [*words, ""], strict=True)]


def read_rows(path: Path) -> Iterator[tuple[int, int, Row]]:
    """(line number, byte offset of the line, row) of the good rows; what the check reported is passed over."""
    with path.open("rb") as file:
        offset = 0
        for number, line in lines(file):
            begins, offset = offset, offset + len(line) if line is not None else file.tell()
            if line is None or line.isspace():
                continue
            try:
                yield number, begins, parse(line, number == 1)
            except BadRow:
                continue


def make(path: Path, folder: Path, progress: Progress | None = None) -> Sketch:
    """Reads the file once. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    size, rows = max(1, path.stat().st_size), 0
    writer = _Writer(folder)
    try:
        for number, offset, row in read_rows(path):
            writer.add(number, offset, row)
            rows += 1
            if progress and rows % ROWS_AT_ONCE == 0:
                progress(offset / size)
        writer.flush()
    finally:
        writer.close()
    return Sketch(path, folder, rows)


@dataclass
class _Writer:
    """Collects some rows before it hashes and writes them."""

    folder: Path
    held: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    texts: list[list[str]] = field(default_factory=list)
    words: int = 0
    files: dict[str, BinaryIO] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = {name: (self.folder / name).open("wb") for name in (*COLUMNS, SIGNATURES)}

    def add(self, number: int, offset: int, row: Row) -> None:
        words = row_words(row)
        values = (offset, number, meaning_hash(row), prompt_hash(row), len(words))
        for name, value in zip(COLUMNS, values, strict=True):
            self.held[name].append(value)
        self.texts.append(words)
        self.words += len(words)
        if len(self.texts) >= ROWS_AT_ONCE or self.words >= WORDS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        for name, kind in COLUMNS.items():
            self.files[name].write(np.array(self.held[name], dtype=kind).tobytes())
            self.held[name].clear()
        self.files[SIGNATURES].write(signatures_of(self.texts).tobytes())
        self.texts.clear()
        self.words = 0

    def close(self) -> None:
        for file in self.files.values():
            file.close()
