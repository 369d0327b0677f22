"""What repeats within one file.

A row is compared with the earlier rows that its signature is most like, at most MOST_NEAREST, and with what stays for
them. In memory about 45 bytes a row (keeper, what stays at each level, one band and its order), and 200 for each row
that is like another; everything else stays on disk.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from training.repeats import candidates, sketch
from training.repeats.alike import NEAR, Reader, per_mille, similarity
from training.repeats.found import PAIR, Writer, removable
from training.repeats.sketch import Progress, Sketch
from training.repeats.words import NO_PROMPT

LEVELS: Final = (800, 850, 900, 950, 980)  # per mille; the levels that a page offers
MOST_FOLLOWED: Final = 3  # rows that went, at each level, whose first is compared too
TOGETHER: Final = 0.85  # from this share on, rows stay together in a split; from NEAR on, a template would be one group


@dataclass(frozen=True)
class Near:
    """Pairs by row, in rising order: a row, an earlier one, and how alike they are in per mille."""

    rows: np.ndarray
    others: np.ndarray
    likes: np.ndarray


def find(path: Path, work: Path, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Writes what found.py says to `out` and returns the figures; `work` holds the sketch and can be removed after."""
    share = progress or (lambda done: None)
    sketched = sketch.make(path, work, lambda done: share(0.6 * done))
    keeper_N = keepers(sketched)
    near, stays_N = near_pairs(sketched, keeper_N, lambda done: share(0.6 + 0.4 * done))
    with Writer(out) as writer:
        _write(sketched, keeper_N, near, stays_N, writer)
        return {"rows": sketched.rows, **writer.figures()}


def roots(path: Path, work: Path, progress: Progress | None = None) -> np.ndarray:
    """(N,) of uint32: for each good row of the file the first one of those that it is to stay together with, which a
    chain of rows alike by TOGETHER or more connects. `work` holds the sketch and can be removed after."""
    share = progress or (lambda done: None)
    sketched = sketch.make(path, work, lambda done: share(0.7 * done))
    keeper_N = keepers(sketched)
    near, _ = near_pairs(sketched, keeper_N, lambda done: share(0.7 + 0.3 * done))
    chosen = near.likes >= per_mille(TOGETHER)
    return _roots(Near(near.rows[chosen], near.others[chosen], near.likes[chosen]), sketched.rows)[keeper_N]


def keepers(sketched: Sketch) -> np.ndarray:
    """(N,) of uint32: for each row the first one of the same meaning."""
    keeper_N = np.arange(sketched.rows, dtype=np.uint32)
    for rows in candidates.same(sketched.column("meaning")):
        keeper_N[rows] = rows[0]
    return keeper_N


def near_pairs(sketched: Sketch, keeper_N: np.ndarray, progress: Progress | None = None) -> tuple[Near, np.ndarray]:
    """Every row of a meaning of its own beside the earlier ones that it is most like, and (N,) of uint32: the row that
    stays for it when all that are alike by NEAR go."""
    own_N = np.arange(sketched.rows, dtype=np.uint32)
    chosen_n = np.flatnonzero((keeper_N == own_N) & (sketched.column("words") > 0)).astype(np.uint32)
    share = progress or (lambda done: None)
    pairs = candidates.nearest(sketched, chosen_n, lambda done: share(0.4 * done))
    stays_LN = np.tile(own_N, (len(LEVELS), 1))
    rows, others, likes = array("I"), array("I"), array("H")
    begins = np.flatnonzero(np.diff(pairs[:, 0].astype(np.int64), prepend=-1))
    ends = np.append(begins, len(pairs))[1:]
    with Reader(sketched) as reader:
        for begin, end in zip(begins, ends, strict=True):
            row = int(pairs[begin, 0])
            for other, like in sorted(_likes(row, pairs[begin:end, 1].tolist(), stays_LN, reader).items()):
                rows.append(row)
                others.append(other)
                likes.append(like)
            share(0.4 + 0.6 * float(end) / len(pairs))
    return Near(np.array(rows, np.uint32), np.array(others, np.uint32), np.array(likes, np.uint16)), stays_LN[0]


def _likes(row: int, others: list[int], stays_LN: np.ndarray, reader: Reader) -> dict[int, int]:
    """Per mille by earlier row, where that is NEAR or more: of the candidates, and of what stays for them at each
    level, so that a row goes also where all those most like it went before. Writes down what stays for this row."""
    words = reader.words(row)

    def like(other: int) -> int:
        return per_mille(similarity(words, reader.words(other), NEAR))

    known = {other: like(other) for other in others}
    for level, stays_N in zip(LEVELS, stays_LN, strict=True):
        near = sorted((other for other in known if known[other] >= level), key=lambda other: (-known[other], other))
        kept = next((other for other in near if stays_N[other] == other), None)
        for other in near[:MOST_FOLLOWED] if kept is None else ():
            first = int(stays_N[other])
            if first not in known:
                known[first] = like(first)
            if known[first] >= level:
                kept = first
                break
        if kept is not None:
            stays_N[row] = kept
    return {other: alike for other, alike in known.items() if alike}


def _roots(near: Near, rows: int) -> np.ndarray:
    """(N,) of uint32: the first row of those that a chain of pairs connects."""
    parent_N = np.arange(rows, dtype=np.uint32)
    for row, other in zip(near.rows.tolist(), near.others.tolist(), strict=True):
        ours, theirs = _root(parent_N, row), _root(parent_N, other)
        parent_N[max(ours, theirs)] = min(ours, theirs)
    while not np.array_equal(parent_N, above_N := parent_N[parent_N]):
        parent_N = above_N
    return parent_N


def _root(parent_N: np.ndarray, row: int) -> int:
    while (above := int(parent_N[row])) != row:
        parent_N[row] = parent_N[above]
        row = above
    return row


# ---- writing ----


def _write(sketched: Sketch, keeper_N: np.ndarray, near: Near, stays_N: np.ndarray, writer: Writer) -> None:
    lines_N = sketched.column("line")
    for rows in candidates.same(keeper_N):
        writer.group("exact", [(int(line), 1.0) for line in lines_N[rows]])
    exact_N = keeper_N != np.arange(sketched.rows, dtype=np.uint32)
    writer.near(_with_copies(near, keeper_N, exact_N, lines_N), set(lines_N[exact_N].tolist()))
    for rows in _prompts(sketched, stays_N[keeper_N]):
        writer.group("prompt", [(int(line), None) for line in lines_N[rows]])
    no_N = np.zeros(sketched.rows, dtype=bool)
    writer.removable("rows", removable(lines_N, exact_N, no_N.astype(np.uint16), no_N))


def _with_copies(near: Near, keeper_N: np.ndarray, exact_N: np.ndarray, lines_N: np.ndarray) -> np.ndarray:
    """Pairs by their lines, of the type PAIR and by line. A copy of a row is as near to others as that row is."""
    copies = np.flatnonzero(exact_N)
    begin, end = (np.searchsorted(near.rows, keeper_N[copies], side) for side in ("left", "right"))
    at = [np.arange(one, two) for one, two in zip(begin, end, strict=True)]
    all_at = np.concatenate([np.arange(len(near.rows)), *at]).astype(np.int64)
    pairs = np.empty(len(all_at), dtype=PAIR)
    pairs["line"] = lines_N[np.concatenate([near.rows, np.repeat(copies, end - begin)]).astype(np.int64)]
    pairs["other"], pairs["near"] = lines_N[near.others[all_at]], near.likes[all_at]
    return pairs[np.argsort(pairs["line"], kind="stable")]


def _prompts(sketched: Sketch, stays_N: np.ndarray) -> Iterator[np.ndarray]:
    """One row of each answer, where a prompt has several that are not nearly the same."""
    prompt_N = sketched.column("prompt")
    for rows in candidates.same(prompt_N):
        if prompt_N[rows[0]] != NO_PROMPT:
            firsts = np.sort(np.unique(stays_N[rows], return_index=True)[1])
            if len(firsts) > 1:
                yield rows[firsts]
