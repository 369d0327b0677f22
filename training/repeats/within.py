"""What repeats within one file.

In memory about 35 bytes a row (keeper, parent, number, one band and its order); everything else stays on disk.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.repeats import candidates, sketch
from training.repeats.alike import Reader, between, per_mille, similarity
from training.repeats.found import Writer, removable
from training.repeats.sketch import Progress, Sketch
from training.repeats.words import NO_PROMPT

MOST_LEADERS: Final = 8  # rows of a bucket that the others are compared with, so that no bucket costs its square
MOST_REJECTED: Final = 500_000  # pairs that are remembered as not alike


def find(path: Path, work: Path, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes what found.py says to `out` and returns the figures; `work` holds the sketch and can be removed after."""
    share = progress or (lambda done: None)
    sketched = sketch.make(path, work, lambda done: share(0.6 * done))
    keeper_N = keepers(sketched)
    roots_N = near_roots(sketched, keeper_N, lambda done: share(0.6 + 0.3 * done))
    with Writer(out) as writer:
        _write(sketched, keeper_N, roots_N, writer, lambda done: share(0.9 + 0.1 * done))
        return {"rows": sketched.rows, **writer.figures()}


def roots(path: Path, work: Path, progress: Progress | None = None) -> np.ndarray:
    """(N,) of uint32: for each good row of the file the first one of its near cluster; of its own, where it has none.
    `work` holds the sketch and can be removed after."""
    share = progress or (lambda done: None)
    sketched = sketch.make(path, work, lambda done: share(0.7 * done))
    return near_roots(sketched, keepers(sketched), lambda done: share(0.7 + 0.3 * done))


def keepers(sketched: Sketch) -> np.ndarray:
    """(N,) of uint32: for each row the first one of the same meaning."""
    keeper_N = np.arange(sketched.rows, dtype=np.uint32)
    for rows in candidates.same(sketched.column("meaning")):
        keeper_N[rows] = rows[0]
    return keeper_N


def near_roots(sketched: Sketch, keeper_N: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """(N,) of uint32: for each row the first one of its cluster. Two rows are in one cluster when a chain of rows
    connects them, each alike to the next by NEAR or more."""
    own_N = np.arange(sketched.rows, dtype=np.uint32)
    chosen_n = np.flatnonzero((keeper_N == own_N) & (sketched.column("words") > 0)).astype(np.uint32)
    parent_N = own_N
    with Reader(sketched) as reader:
        rejected: set[int] = set()
        for _, places in candidates.buckets([sketched], [chosen_n], progress):
            _join(chosen_n[places].tolist(), parent_N, reader, rejected)
            if len(rejected) > MOST_REJECTED:
                rejected.clear()
    while not np.array_equal(parent_N, above_N := parent_N[parent_N]):
        parent_N = above_N
    return parent_N[keeper_N]


def _join(rows: list[int], parent_N: np.ndarray, reader: Reader, rejected: set[int]) -> None:
    """Compares the rows of a bucket, in rising order, with the first of them that are no duplicates."""
    leaders: list[int] = []
    for row in rows:
        for leader in leaders:
            pair = leader << 32 | row
            ours, theirs = _root(parent_N, row), _root(parent_N, leader)
            if ours == theirs:
                break
            if pair in rejected:
                continue
            if between(reader, leader, reader, row):
                parent_N[max(ours, theirs)] = min(ours, theirs)
                break
            rejected.add(pair)
        else:
            if len(leaders) < MOST_LEADERS:
                leaders.append(row)


def _root(parent_N: np.ndarray, row: int) -> int:
    while (above := int(parent_N[row])) != row:
        parent_N[row] = parent_N[above]
        row = above
    return row


# ---- writing ----


def _write(sketched: Sketch, keeper_N: np.ndarray, roots_N: np.ndarray, writer: Writer, progress: Progress) -> None:
    lines_N = sketched.column("line")
    near_N = np.zeros(sketched.rows, dtype=np.uint16)
    for rows in candidates.same(keeper_N):
        writer.group("exact", [(int(line), 1.0) for line in lines_N[rows]])
    for rows, alike in _clusters(sketched, keeper_N, roots_N):
        distinct = len(np.unique(keeper_N[rows]))
        writer.group("near", list(zip(lines_N[rows].tolist(), alike, strict=True)), counted=distinct - 1)
        other = keeper_N[rows] != keeper_N[rows[0]]
        progress(float(rows[0]) / sketched.rows)
        near_N[rows[other]] = np.array([per_mille(each) for each in alike])[other]
    for rows in _prompts(sketched, roots_N):
        writer.group("prompt", [(int(line), None) for line in lines_N[rows]])
    exact_N = keeper_N != np.arange(sketched.rows, dtype=np.uint32)
    writer.removable("rows", removable(lines_N, exact_N, near_N, np.zeros(sketched.rows, dtype=bool)))


def _clusters(sketched: Sketch, keeper_N: np.ndarray, roots_N: np.ndarray) -> Iterator[tuple[np.ndarray, list[float]]]:
    """Rows of each near cluster, copies of the same meaning among them, with their similarity to the first."""
    with Reader(sketched) as reader:
        for rows in candidates.same(roots_N):
            distinct = np.unique(keeper_N[rows])
            if len(distinct) > 1:
                first = reader.words(int(rows[0]))
                alike = {int(row): round(similarity(first, reader.words(int(row))), 4) for row in distinct}
                yield rows, [alike[int(row)] for row in keeper_N[rows]]


def _prompts(sketched: Sketch, roots_N: np.ndarray) -> Iterator[np.ndarray]:
    """One row of each answer, where a prompt has several that are not nearly the same."""
    prompt_N = sketched.column("prompt")
    for rows in candidates.same(prompt_N):
        if prompt_N[rows[0]] != NO_PROMPT:
            firsts = np.sort(np.unique(roots_N[rows], return_index=True)[1])
            if len(firsts) > 1:
                yield rows[firsts]
