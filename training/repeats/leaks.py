"""Rows of one file that stand in another: of a training file in a validation file, say.

In memory about 45 bytes a row of both files together; everything else stays on disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.repeats import candidates, sketch
from training.repeats.alike import Reader, between, per_mille
from training.repeats.found import Writer, removable
from training.repeats.sketch import Progress, Sketch
from training.repeats.words import NO_PROMPT

MOST_COMPARED: Final = 8  # rows of the other file in a bucket that a row is compared with
MOST_REJECTED: Final = 500_000
NONE: Final = -1


def find(path: Path, other: Path, work: Path, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes what found.py says to `out` and returns the figures; `work` holds the sketches and can be removed after.
    A row is told once, by its strongest kind."""
    share = progress or (lambda done: None)
    one = sketch.make(path, work / "one", lambda done: share(0.4 * done))
    two = sketch.make(other, work / "two", lambda done: share(0.4 + 0.3 * done))
    exact_N, exact_M = twins(one.column("meaning"), two.column("meaning")), _stands(two, one, "meaning")
    near = _near(one, two, exact_N == NONE, lambda done: share(0.7 + 0.25 * done))
    told_N = (exact_N != NONE) | (near.like_N > 0)
    prompt_N = twins(one.column("prompt"), two.column("prompt"))
    prompt_N[told_N | (one.column("prompt") == NO_PROMPT)] = NONE
    told_M = exact_M | (near.like_M > 0)
    prompt_M = _stands(two, one, "prompt") & ~told_M & (two.column("prompt") != NO_PROMPT)
    lines_N, lines_M = one.column("line"), two.column("line")
    with Writer(out) as writer:
        for row in np.flatnonzero(exact_N != NONE):
            writer.pair("exact", int(lines_N[row]), int(lines_M[exact_N[row]]), 1.0)
        for row in np.flatnonzero(near.like_N):
            writer.pair("near", int(lines_N[row]), int(lines_M[near.match_N[row]]), float(near.like_N[row]) / 1000)
        for row in np.flatnonzero(prompt_N != NONE):
            writer.pair("prompt", int(lines_N[row]), int(lines_M[prompt_N[row]]), None)
        writer.removable("rows", removable(lines_N, exact_N != NONE, near.like_N, prompt_N != NONE))
        writer.removable("other", removable(lines_M, exact_M, np.where(exact_M, 0, near.like_M), prompt_M))
        others = {
            "exact": int(exact_M.sum()),
            "near": int(((near.like_M > 0) & ~exact_M).sum()),
            "prompt": int(prompt_M.sum()),
        }
        return {"rows": one.rows, "other_rows": two.rows, "others": others, **writer.figures()}


def twins(values_N: np.ndarray, others_M: np.ndarray) -> np.ndarray:
    """(N,) of int64: for each value the first place where the other array holds it too; NONE where it does not."""
    if not len(others_M):
        return np.full(len(values_N), NONE, dtype=np.int64)
    order_M = np.argsort(others_M, kind="stable")
    at_N = np.minimum(np.searchsorted(others_M, values_N, sorter=order_M), len(others_M) - 1)
    return np.where(others_M[order_M[at_N]] == values_N, order_M[at_N], NONE)


def _stands(one: Sketch, other: Sketch, column: str) -> np.ndarray:
    return twins(one.column(column), other.column(column)) != NONE


@dataclass
class _Near:
    """Per mille of the most alike row on the other side, 0 where there is none; and for N which row that is."""

    like_N: np.ndarray
    like_M: np.ndarray
    match_N: np.ndarray


def _near(one: Sketch, two: Sketch, asked_N: np.ndarray, progress: Progress) -> _Near:
    chosen_n = np.flatnonzero(asked_N & (one.column("words") > 0)).astype(np.uint32)
    chosen_m = np.flatnonzero(two.column("words") > 0).astype(np.uint32)
    found = _Near(np.zeros(one.rows, np.uint16), np.zeros(two.rows, np.uint16), np.zeros(one.rows, np.uint32))
    rejected: set[int] = set()
    with Reader(one) as reader, Reader(two) as its_reader:
        for _, places in candidates.buckets([one, two], [chosen_n, chosen_m], progress):
            border = np.searchsorted(places, len(chosen_n))
            if 0 < border < len(places):
                rows, its_rows = chosen_n[places[:border]], chosen_m[places[border:] - len(chosen_n)]
                _compare(rows.tolist(), its_rows, reader, its_reader, found, rejected)
            if len(rejected) > MOST_REJECTED:
                rejected.clear()
    return found


def _compare(
    rows: list[int], its_rows: np.ndarray, reader: Reader, its_reader: Reader, found: _Near, rejected: set[int]
) -> None:
    """Every row with the first of the others, those first of which nothing is known yet."""
    known = found.like_M[its_rows] > 0
    others = np.concatenate([its_rows[~known], its_rows[known]])[:MOST_COMPARED].tolist()
    for row in rows:
        for other in others:
            pair = row << 32 | other
            if pair in rejected or (found.like_N[row] and found.like_M[other]):
                continue
            like = per_mille(between(reader, row, its_reader, other))
            if not like:
                rejected.add(pair)
                continue
            if like > found.like_N[row]:
                found.like_N[row], found.match_N[row] = like, other
            found.like_M[other] = max(like, int(found.like_M[other]))
