"""Repairs over a whole file, line by line: what would change, and the file with it. Flat in memory.

A line that no repair touches keeps its exact bytes, whatever its spaces, escapes and line end are. A line that changes
is written in the style of what it was: compact or not, with or without escapes, with the same line end.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from training.jsonl import MAX_LINE_BYTES, BadRow, parse
from training.repairs.catalogue import BY_KEY, Mend, Options, reason, repair_of
from training.repairs.messages import takes_system
from training.rules import Row, detect_format, row_errors, unknown_format

KEPT_LINES = 2_000  # that can be paged through
KEPT_EXAMPLES = 3
LEFT_OUT = "left out: "  # before the reason, in the examples
PROGRESS_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"

Progress = Callable[[float], None]


@dataclass
class Figures:
    """What a pass came to. `by` counts the rows that stay by the repairs that changed them, `left_out` the others by
    the one that left them out (catalogue.reason). Of the lines that change the first are kept: `lines` of all,
    `left_out_lines` of those left out, `examples` of each repair and reason. `no_place`: rows without messages, to
    which the system prompt could not be added.
    """

    rows: int = 0
    changed: int = 0
    dropped: int = 0
    added: int = 0
    by: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    lines: list[int] = field(default_factory=list)
    left_out_lines: list[int] = field(default_factory=list)
    examples: dict[str, list[int]] = field(default_factory=dict)
    format: str = ""
    no_place: int = 0

    def as_row(self) -> dict[str, Any]:
        return {**vars(self), "by": dict(self.by), "left_out": dict(self.left_out)}


@dataclass(frozen=True)
class Changed:
    """What becomes of one line: `rows` in its place and the repairs that did it; none of them when it stays.
    `left_out`: why no row is left. `no_place`: the system prompt was to be added, and nothing takes one."""

    rows: list[Row]
    by: tuple[str, ...]
    left_out: str = ""
    no_place: bool = False


BAD_LINE = Changed([], ("drop_bad",), "drop_bad")


class Plan:
    """The chosen repairs, in their order. `format` is that of the file's first sound row, once it is known."""

    def __init__(self, keys: Sequence[str], options: Options | None = None, format_: str = "") -> None:
        self.keys = [key for key in BY_KEY if key in keys]  # in the order of the catalogue
        self.options = options = options or Options()
        self.mends: list[tuple[str, Mend]] = [
            (key, make(options)) for key in self.keys if (make := BY_KEY[key].make) is not None
        ]
        self.drops = "drop_bad" in self.keys
        self.format = format_

    def line(self, line: bytes, first: bool) -> Changed:
        """Of a line that is not blank."""
        try:
            row = parse(line, first)
        except BadRow:
            return BAD_LINE if self.drops else Changed([], ())
        return self.row(row)

    def row(self, row: Row) -> Changed:
        rows, by, left_out = [row], [], ""
        for key, mend in self.mends:
            mended = [mend(each) for each in rows]
            if all(new is old for new, old in zip(mended, rows, strict=True)):
                continue
            by.append(key)
            before, rows = rows, [new for each in mended for new in _as_list(each)]
            if not rows:
                left_out = reason(key, BY_KEY[key].why(before[-1], self.options))
                break
        self.format = self.format or next((found for each in rows if (found := detect_format(each))), "")
        if self.drops and any(self.is_hopeless(each) for each in rows):
            rows = [each for each in rows if not self.is_hopeless(each)]
            by.append("drop_bad")
            left_out = "" if rows else "drop_bad"
        no_place = "system_prompt" in self.keys and any(not takes_system(each) for each in rows)
        return Changed(rows, tuple(by), left_out, no_place)

    def is_hopeless(self, row: Row) -> bool:
        """It has a problem that no repair mends or that a chosen one did not. One whose repair was not chosen stays."""
        found = detect_format(row)
        kinds = [kind for *_, kind in row_errors(row, found)] if found else [unknown_format(row)[0]]
        if found and found != self.format:
            kinds.append("mixed")
        repairs = map(repair_of, kinds)
        return any(repair is None or repair.key in self.keys for repair in repairs)


def _as_list(mended: Row | list[Row] | None) -> list[Row]:
    if mended is None:
        return []
    return mended if isinstance(mended, list) else [mended]


def run(path: Path, plan: Plan, out: BinaryIO | None = None, progress: Progress | None = None) -> Figures:
    """Counts what the plan changes; writes the result to `out` if there is one."""
    figures = Figures()
    size, done, reported = max(path.stat().st_size, 1), 0, 0
    number_before = 0
    with path.open("rb") as file:
        for number, piece, whole in pieces(file):
            done += len(piece)
            if progress and done - reported >= PROGRESS_BYTES:
                reported = done
                progress(done / size)
            if whole:
                kept = _line(number, piece, plan, figures)
            else:
                kept = b"" if plan.drops else piece
                if number != number_before:
                    _count(figures, number, Changed([], ("drop_bad",) if plan.drops else ()))
            number_before = number
            if out is not None and kept:
                out.write(kept)
    figures.format = plan.format
    return figures


def _line(number: int, line: bytes, plan: Plan, figures: Figures) -> bytes:
    """The bytes that take its place."""
    if line.isspace():
        if "blank_lines" not in plan.keys:
            return line
        figures.by["blank_lines"] += 1
        return b""
    changed = plan.line(line, number == 1)
    _count(figures, number, changed)
    if not changed.by:
        if number == 1 and "bom" in plan.keys and line.startswith(BOM):
            figures.by["bom"] += 1
            return line.removeprefix(BOM)
        return line
    if number == 1 and line.startswith(BOM):
        if "bom" not in plan.keys:
            return BOM + written(changed.rows, line.removeprefix(BOM))
        figures.by["bom"] += 1
    return written(changed.rows, line)


def _count(figures: Figures, number: int, changed: Changed) -> None:
    figures.rows += 1
    figures.no_place += changed.no_place
    if not changed.by:
        return
    if changed.rows:
        figures.changed += 1
        figures.added += len(changed.rows) - 1
        figures.by.update(changed.by)
    else:
        figures.dropped += 1
        figures.left_out[changed.left_out] += 1
        _keep(figures.left_out_lines, number, KEPT_LINES)
    _keep(figures.lines, number, KEPT_LINES)
    for key in changed.by if changed.rows else (LEFT_OUT + changed.left_out,):
        _keep(figures.examples.setdefault(key, []), number, KEPT_EXAMPLES)


def _keep(lines: list[int], number: int, most: int) -> None:
    if len(lines) < most:
        lines.append(number)


def written(rows: list[Row], line: bytes) -> bytes:
    """These rows in the style of the line that they take the place of."""
    text = line.rstrip(b"\r\n")
    end = line[len(text) :]
    separators = (", ", ": ") if b'": ' in text or b'":' not in text else (",", ":")
    escaped = text.isascii() and b"\\u" in text
    try:
        dumped = [
            json.dumps(row, ensure_ascii=escaped, separators=separators, allow_nan=False).encode() for row in rows
        ]
    except ValueError:  # 1e999 is read as infinity, which JSON cannot say
        return line
    return (end or b"\n").join(dumped) + (end if rows else b"")


def pieces(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """(line number, bytes, whether they are a whole line); one above the limit comes in several pieces."""
    number = 1
    while line := file.readline(MAX_LINE_BYTES + 2):
        whole = len(line.rstrip(b"\r\n")) <= MAX_LINE_BYTES
        yield number, line, whole
        while not whole and line and not line.endswith(b"\n"):
            line = file.readline(1 << 20)
            if line:
                yield number, line, False
        number += 1
