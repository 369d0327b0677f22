"""What a search found, as files in a folder: <kind>.jsonl to read and to take away, <side>.npy to remove rows by.

Kinds, the strongest first: exact (the same meaning), near (alike by NEAR or more), prompt (the same prompt, another
answer).
"""

import json
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np

Kind = Literal["exact", "near", "prompt"]
KINDS: Final[tuple[Kind, ...]] = ("exact", "near", "prompt")
ROWS_A_LINE: Final = 1_000  # of a group; a larger one goes on in the next line
REMOVABLE: Final = np.dtype([("line", "<u4"), ("exact", "?"), ("near", "<u2"), ("prompt", "?")])  # near: per mille
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
    """Everything of a kind: (line, what it is like, similarity), of a group each row but the first."""
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
    return np.sort(rows["line"][goes])
