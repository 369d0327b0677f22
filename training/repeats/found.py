"""What a search found, as files in a folder: <kind>.jsonl to read and to take away, <side>.npy to remove rows by.
Near rows within one file are pairs.npy instead: which groups they make depends on the level that is asked for.

Kinds, the strongest first: exact (the same meaning), near (alike by NEAR or more), prompt (the same prompt, another
answer).
"""

import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np

Kind = Literal["exact", "near", "prompt"]
KINDS: Final[tuple[Kind, ...]] = ("exact", "near", "prompt")
ROWS_A_LINE: Final = 1_000  # of a group; a larger one goes on in the next line
REMOVABLE: Final = np.dtype([("line", "<u4"), ("exact", "?"), ("near", "<u2"), ("prompt", "?")])  # near: per mille
PAIR: Final = np.dtype([("line", "<u4"), ("other", "<u4"), ("near", "<u2")])  # other: an earlier line
PAIRS: Final = "pairs.npy"
Side = Literal["rows", "other"]  # rows of the file itself, of the file that it was compared with
Entry = dict[str, Any]


class Writer:
    """Writes to `folder`, which is made. Close it, or use it in a with statement."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.files: dict[str, BinaryIO] = {kind: (folder / f"{kind}.jsonl").open("wb") for kind in KINDS}
        self.groups: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            file.close()

    def group(self, kind: Kind, rows: Sequence[tuple[int, float | None]], counted: int | None = None) -> None:
        """Rows of one file: (line, similarity to the first); the first stays when the others are removed. `counted`:
        how many of them count for this kind, where some count for a stronger one."""
        self.rows[kind] += len(rows) - 1 if counted is None else counted
        likes = [alike for _, alike in rows[1:] if alike is not None]
        head = {"first": rows[0][0], "size": len(rows), "least": min(likes) if likes else None}
        for at in range(0, len(rows), ROWS_A_LINE):
            part = {"part": at // ROWS_A_LINE + 1} if at else {}
            self._line(kind, head | part | {"rows": [list(row) for row in rows[at : at + ROWS_A_LINE]]})
        self.groups[kind] += 1

    def pair(self, kind: Kind, line: int, other: int | str, similarity: float | None) -> None:
        """A row that stands elsewhere: at a line of another file, or as a prompt with an id."""
        self._line(kind, {"line": line, "other": other, "similarity": similarity})
        self.groups[kind] += 1
        self.rows[kind] += 1

    def _line(self, kind: Kind, entry: Entry) -> None:
        self.files[kind].write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def near(self, pairs: np.ndarray, exact: Container[int]) -> None:
        """Pairs of rows of one file, of the type PAIR and by line. Lines of `exact` count for that kind."""
        np.save(self.folder / PAIRS, pairs)
        groups = _stars(pairs, 0.0)
        self.groups["near"] += len(groups)
        self.rows["near"] += sum(line not in exact for rows in groups.values() for line, _ in rows)

    def removable(self, side: Side, rows: np.ndarray) -> None:
        """`rows`: of the type REMOVABLE, those only that could go."""
        np.save(self.folder / f"{side}.npy", rows)

    def figures(self) -> dict[str, dict[str, int]]:
        """For each kind, how many groups (or pairs) there are and how many rows could go."""
        return {kind: {"groups": self.groups[kind], "rows": self.rows[kind]} for kind in KINDS}


def removable(lines: np.ndarray, exact: np.ndarray, near: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """Those of all rows that could go, as an array of REMOVABLE. `near` in per mille, 0 where a row is not near."""
    chosen = np.flatnonzero(exact | (near > 0) | prompt)
    found = np.zeros(len(chosen), dtype=REMOVABLE)
    for name, values in (("line", lines), ("exact", exact), ("near", near), ("prompt", prompt)):
        found[name] = values[chosen]
    return found


# ---- reading ----


def entries(
    folder: Path, kind: Kind, first: int, count: int, at_least: float = 0.0, others: Container[Any] | None = None
) -> list[Entry]:
    """Groups or pairs of a kind from the `first` on (counted from 0), without those less alike than `at_least`;
    `others`: only pairs with one of these."""
    if kind == "near" and (folder / PAIRS).exists():
        groups = sorted(_stars(np.load(folder / PAIRS), at_least).items())
        return [_group(line, rows) for line, rows in groups[first : first + count]]
    path = folder / f"{kind}.jsonl"
    if not path.exists():
        return []
    with path.open("rb") as file:
        read = (json.loads(line) for line in file)
        shown = (
            each
            for each in read
            if "part" not in each and _alike(each) >= at_least and (others is None or each["other"] in others)
        )
        return list(islice(shown, first, first + count))


def all_entries(folder: Path, kind: Kind) -> Iterator[list[tuple[int, int | str, float | None]]]:
    """Everything of a kind: (line, what it is like, similarity), of a group each row but the first. A near row of the
    file itself comes with the earlier row most like it, whether that one stays or not."""
    if kind == "near" and (folder / PAIRS).exists():
        pairs = np.load(folder / PAIRS)
        pairs = pairs[np.lexsort((pairs["other"], -pairs["near"].astype(np.int32), pairs["line"]))]
        for pair in pairs[np.unique(pairs["line"], return_index=True)[1]]:
            yield [(int(pair["line"]), int(pair["other"]), int(pair["near"]) / 1000)]
        return
    path = folder / f"{kind}.jsonl"
    if not path.exists():
        return
    with path.open("rb") as file:
        for entry in map(json.loads, file):
            if "rows" not in entry:
                yield [(entry["line"], entry["other"], entry["similarity"])]
                continue
            rows = entry["rows"] if "part" in entry else entry["rows"][1:]
            yield [(line, entry["first"], alike) for line, alike in rows]


def _stars(pairs: np.ndarray, at_least: float) -> dict[int, list[tuple[int, float]]]:
    """By each row that stays the rows that go for it, with their similarity to it. A row goes when an earlier row that
    stays is alike by `at_least`; it goes for the one that it is most like."""
    pairs = pairs[pairs["near"] >= max(1, round(1000 * at_least))]
    gone: set[int] = set()
    groups: dict[int, list[tuple[int, float]]] = {}
    for line, its in groupby(zip(*(pairs[name].tolist() for name in PAIR.names or ()), strict=True), itemgetter(0)):
        if kept := [(near, -other) for _, other, near in its if other not in gone]:
            near, other = max(kept)
            gone.add(line)
            groups.setdefault(-other, []).append((line, near / 1000))
    return groups


def _group(first: int, rows: list[tuple[int, float]]) -> Entry:
    shown = [[first, 1.0], *([line, alike] for line, alike in rows[: ROWS_A_LINE - 1])]
    return {"first": first, "size": len(rows) + 1, "least": min(alike for _, alike in rows), "rows": shown}


def _alike(entry: Entry) -> float:
    """Of a group, the row most like its first: that is what a limit hides or shows it by."""
    if "rows" in entry:
        return max((alike for _, alike in entry["rows"][1:] if alike is not None), default=1.0)
    return 1.0 if entry["similarity"] is None else float(entry["similarity"])


def lines_to_drop(folder: Path, kinds: Iterable[str], at_least: float = 0.0, side: Side = "rows") -> np.ndarray:
    """Line numbers in rising order. `at_least` is for near rows alone."""
    path = folder / f"{side}.npy"
    if not path.exists():
        return np.empty(0, dtype=np.uint32)
    rows, wanted = np.load(path), set(kinds)
    goes = np.zeros(len(rows), dtype=bool)
    for kind in ("exact", "prompt"):
        goes |= rows[kind] if kind in wanted else False
    if "near" in wanted:
        goes |= rows["near"] >= max(1, round(1000 * at_least))
    lines = rows["line"][goes]
    if "near" in wanted and side == "rows" and (folder / PAIRS).exists():
        groups = _stars(np.load(folder / PAIRS), at_least)
        lines = np.union1d(lines, np.array([line for some in groups.values() for line, _ in some], dtype=np.uint32))
    return np.sort(lines)
