"""Rows that may be near-duplicates: those whose signatures share a band (LSH by sorting, one band after the other).

Two rows whose word pairs have the Jaccard similarity J share one of the 40 bands of 4 with probability
1 - (1 - J^4)^40: 0.98 at J = 0.56 (15 % of the words exchanged one by one), 0.0001 at J = 0.04 (rows of one topic).
In memory: N x 4 bytes for each band that is read at once (one, or as many as 16 MB hold), and 15 while it is sorted.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from training.repeats.sketch import BANDS, Progress, Sketch

COLUMN_BYTES: Final = 16 << 20


def buckets(
    sketches: list[Sketch], chosen: list[np.ndarray], progress: Progress | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """(band, places) of every bucket with two rows or more. Places count through the chosen rows of all the sketches,
    one sketch after the other, and come in that order."""
    many = sum(map(len, chosen))
    at_once = min(BANDS, max(1, COLUMN_BYTES // max(1, 4 * many)))
    for first in range(0, BANDS, at_once):
        count = min(at_once, BANDS - first)
        bands_nk = np.empty((many, count), dtype=np.uint32)
        begin = 0
        for each, rows in zip(sketches, chosen, strict=True):
            each.bands(rows, first, bands_nk[begin : begin + len(rows)])
            begin += len(rows)
        for at in range(count):
            for places in same(bands_nk[:, at]):
                if progress:
                    progress((first + at) / BANDS)
                yield first + at, places
            if progress:
                progress((first + at + 1) / BANDS)


def same(values_n: np.ndarray) -> Iterator[np.ndarray]:
    """The places of each value that occurs more than once, in rising order; by value."""
    order_n = np.argsort(values_n, kind="stable")
    sorted_n = values_n[order_n]
    goes_on = np.concatenate([[False], sorted_n[1:] == sorted_n[:-1], [False]])
    begins = np.flatnonzero(goes_on[1:] & ~goes_on[:-1])
    ends = np.flatnonzero(goes_on[:-1] & ~goes_on[1:]) + 1
    for begin, end in zip(begins, ends, strict=True):
        yield order_n[begin:end]
