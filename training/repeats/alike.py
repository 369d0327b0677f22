"""How alike two rows truly are: the share of their words that both have, in the same order."""

from collections import OrderedDict
from typing import Final

import numpy as np
from rapidfuzz.distance import Indel

from training.jsonl import MAX_LINE_BYTES, BadRow, parse
from training.repeats.candidates import HOPEFUL, hope
from training.repeats.sketch import MINIMA, SIGNATURES, Sketch
from training.repeats.words import row_words

NEAR: Final = 0.8  # from this share on, two rows are near-duplicates
KEPT_WORDS: Final = 400_000  # in memory, about 40 MB


def similarity(one: list[str], other: list[str], at_least: float = 0.0) -> float:
    """2 x the longest common run of words (gaps allowed) / words of both; 0 where that is below `at_least`."""
    if not one or not other:
        return 0.0
    return float(Indel.normalized_similarity(one, other, score_cutoff=at_least or None))


class Reader:
    """Signatures and words of single rows of a sketch, in any order. Close it, or use it in a with statement."""

    def __init__(self, sketch: Sketch) -> None:
        self.sketch = sketch
        self.rows = sketch.path.open("rb")
        self.offsets = (sketch.folder / "offset").open("rb")
        self.signatures = (sketch.folder / SIGNATURES).open("rb")
        self.kept: OrderedDict[int, list[str]] = OrderedDict()
        self.kept_words = 0

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.rows.close()
        self.offsets.close()
        self.signatures.close()

    def signature(self, row: int) -> np.ndarray:
        self.signatures.seek(row * MINIMA)
        return np.frombuffer(self.signatures.read(MINIMA), dtype=np.uint8)

    def words(self, row: int) -> list[str]:
        found = self.kept.get(row)
        if found is not None:
            self.kept.move_to_end(row)
            return found
        self.offsets.seek(8 * row)
        offset = int.from_bytes(self.offsets.read(8), "little")
        self.rows.seek(offset)
        try:
            found = row_words(parse(self.rows.readline(MAX_LINE_BYTES + 2), offset == 0))
        except BadRow:  # the file was changed under us: then it is like no other row
            found = []
        self.kept[row] = found
        self.kept_words += len(found)
        while self.kept_words > KEPT_WORDS and len(self.kept) > 1:
            self.kept_words -= len(self.kept.popitem(last=False)[1])
        return found


def per_mille(similarity: float) -> int:
    """Rounded down, but 0.85 stays 850 whatever its last bit is."""
    return int(1000 * similarity + 1e-6)


def between(one: Reader, row: int, other: Reader, its_row: int, at_least: float = NEAR) -> float:
    """The similarity of two rows of candidates, 0 where it is below `at_least`. Words are read only where the
    signatures leave hope."""
    if hope(np.count_nonzero(one.signature(row) == other.signature(its_row))) < HOPEFUL:
        return 0.0
    return similarity(one.words(row), other.words(its_row), at_least)
