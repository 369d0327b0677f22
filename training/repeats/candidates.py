"""Rows that may be near-duplicates: those whose signatures share a band (LSH by sorting, one band after the other).

Two rows whose word pairs have the Jaccard similarity J share one of the 40 bands of 4 with probability
1 - (1 - J^4)^40: 0.98 at J = 0.56 (15 % of the words exchanged one by one), 0.0001 at J = 0.04 (rows of one topic).
In memory: N x 4 bytes for each band that is read at once (one, or as many as 16 MB hold), and 15 while it is sorted.

Rows of one template share bands all over. There nearest() compares signatures with neighbours alone, after sorting the
rows of a band by the bands that follow it: the more alike two rows are, the closer they come in some of the 40 orders.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from training.repeats.sketch import BAND, BANDS, MINIMA, SIGNATURES, Progress, Sketch

COLUMN_BYTES: Final = 16 << 20
NEIGHBOURS: Final = 8  # of a row in the order of a band, on either side, whose signatures are looked at
MOST_NEAREST: Final = 8  # earlier rows that a row keeps as candidates
HOPEFUL: Final = 0.25  # Jaccard estimate below which the words are not looked at: rows alike by 0.8 have about 0.45
SCORED_AT_ONCE: Final = 50_000  # pairs: 16 MB of signatures


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


def hope(same: np.ndarray | int) -> np.ndarray | float:
    """The Jaccard similarity that so many equal bytes of two signatures tell: 8 bits of different minima agree by
    chance once in 256."""
    return (same / MINIMA - 1 / 256) / (1 - 1 / 256)


def nearest(sketched: Sketch, chosen_n: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """(pairs, 2) of uint32: a row and an earlier one, by row and then by how much of their signatures agrees, the most
    first; of each row at most MOST_NEAREST. In memory about 100 bytes for each row that has such pairs."""
    if not len(chosen_n):
        return np.empty((0, 2), dtype=np.uint32)
    signatures_NP = np.memmap(sketched.folder / SIGNATURES, dtype=np.uint8, mode="r").reshape(-1, MINIMA)
    best = (np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint8))
    waiting: list[np.ndarray] = []
    last = 0
    for band, places in buckets([sketched], [chosen_n], progress):
        if band != last:
            best, last = _best(signatures_NP, best, waiting), band
            waiting = []
        waiting.append(_neighbours(signatures_NP, chosen_n[places], band))
    keys, _ = _best(signatures_NP, best, waiting)
    return np.stack([keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)


def _neighbours(signatures_NP: np.ndarray, rows: np.ndarray, band: int) -> np.ndarray:
    """Pairs of a bucket as later << 32 | earlier: all of a small one."""
    if len(rows) > NEIGHBOURS + 1:
        following = (np.arange(16) + BAND * (band + 1)) % MINIMA
        two = signatures_NP[rows[:, None], following[None, :]].view(">u8")
        rows = rows[np.lexsort((two[:, 1], two[:, 0]))]
    rows = rows.astype(np.uint64)
    pairs = []
    for apart in range(1, min(NEIGHBOURS, len(rows) - 1) + 1):
        one, other = rows[:-apart], rows[apart:]
        pairs.append(np.maximum(one, other) << np.uint64(32) | np.minimum(one, other))
    return np.concatenate(pairs)


def _best(
    signatures_NP: np.ndarray, best: tuple[np.ndarray, np.ndarray], waiting: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs so far and their equal bytes, with those of the waiting ones that are among a row's nearest."""
    if not waiting:
        return best
    new = np.setdiff1d(np.concatenate(waiting), best[0])
    same = np.empty(len(new), dtype=np.uint8)
    for at in range(0, len(new), SCORED_AT_ONCE):
        part = new[at : at + SCORED_AT_ONCE]
        ours, theirs = signatures_NP[part >> np.uint64(32)], signatures_NP[part & np.uint64(0xFFFFFFFF)]
        same[at : at + SCORED_AT_ONCE] = np.count_nonzero(ours == theirs, axis=1)
    hopeful = hope(same.astype(np.float64)) >= HOPEFUL
    keys, scores = np.concatenate([best[0], new[hopeful]]), np.concatenate([best[1], same[hopeful]])
    rows = keys >> np.uint64(32)
    order = np.lexsort((keys, -scores.astype(np.int16), rows))
    rows = rows[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows, "left")
    order = order[rank < MOST_NEAREST]
    return keys[order], scores[order]
