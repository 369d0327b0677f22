"""JSONL files, line by line: read, paged and split, flat in memory however many rows there are. What the rows must hold
is said in rules.py, what is wrong with a file in datasets.py.
"""

import gc
import json
import random
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from training.rules import Row, kind_of

MAX_LINE_BYTES = 10 << 20
LONG_LINE = 1 << 20  # characters
INDEX_EVERY = 1000  # the line index holds the place of every thousandth line


class BadRow(Exception):
    """A line that is not a JSON object; message and fix as in `Problem`."""

    def __init__(self, message: str, fix: str, kind: str) -> None:
        super().__init__(message)
        self.message, self.fix, self.kind = message, fix, kind


# ---- a line ----


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


decoder = json.JSONDecoder(parse_constant=_no_constant)


def parse(line: bytes, first: bool = False) -> Row:
    """The JSON object of a line. Raises BadRow. A byte order mark is passed over in the first line only."""
    try:
        text = line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise BadRow(
            f"Byte {error.start + 1} of this line (0x{line[error.start]:02x}) is not UTF-8",
            "Save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 old.jsonl > new.jsonl",
            "not_utf8",
        ) from None
    try:
        row = _decoded(text)
    except json.JSONDecodeError as error:
        raise BadRow(*_not_json(text, error), "not_json") from None
    except (ValueError, RecursionError) as error:
        reason = "It is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadRow(f"This line is not valid JSON: {reason}", "Write plain JSON values only.", "not_json") from None
    if not isinstance(row, dict):
        raise BadRow(
            f"This line holds {kind_of(row)}, not a JSON object",
            'Write one object on each line, such as {"messages": [...]}.',
            "not_object",
        )
    if "\\u" in text and _has_lone_surrogate(text):
        raise BadRow(
            "This line holds half of a surrogate pair (\\ud800 to \\udfff alone), which is not text",
            "Write the whole character, or remove the escape.",
            "not_utf8",
        )
    return row


def _decoded(text: str) -> Any:
    """A long line may hold millions of lists; the collector would walk through all of them again and again."""
    if len(text) < LONG_LINE or not gc.isenabled():
        return decoder.decode(text)
    gc.disable()
    try:
        return decoder.decode(text)
    finally:
        gc.enable()


_surrogate = re.compile(r"\\u(d[89a-f])", re.IGNORECASE)


def _has_lone_surrogate(text: str) -> bool:
    """Looked at only where an escape of that range stands at all; the parsed value decides."""
    if not _surrogate.search(text):
        return False
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _not_json(text: str, error: json.JSONDecodeError) -> tuple[str, str]:
    near = text[max(0, error.pos - 20) : error.pos + 20].strip()
    said = error.msg.removesuffix(" at")  # as in "Unterminated string starting at"
    message = f"This line is not valid JSON: {said} at character {error.pos + 1}"
    message += f", near {near!r}" if near else ""
    stripped = text.strip()
    if stripped in ("[", "{") or stripped.startswith("["):
        return message, (
            "This looks like one JSON document over several lines. JSONL has one object on each line; "
            "convert it, for example: jq -c '.[]' file.json > file.jsonl"
        )
    if error.msg.startswith("Extra data"):
        return message, "Write each object on a line of its own."
    if "'" in near and "double quotes" in error.msg:
        return message, "JSON wants double quotes around names and texts."
    return message, "Write one complete JSON object on each line; a JSON writer (json.dumps) quotes everything rightly."


def pretty(value: Any) -> str:
    """A value as indented JSON, for people."""
    return json.dumps(value, ensure_ascii=False, indent=2)


# ---- a file ----


def lines(file: BinaryIO, first: int = 1) -> Iterator[tuple[int, bytes | None]]:
    """Yields (line number, line) with line ends; None for a line above the limit, which is skipped piece by piece."""
    number = first
    while line := file.readline(MAX_LINE_BYTES + 2):
        if len(line.rstrip(b"\r\n")) <= MAX_LINE_BYTES:
            yield number, line
        else:
            while line and not line.endswith(b"\n"):
                line = file.readline(1 << 20)
            yield number, None
        number += 1


def iterate(path: Path) -> Iterator[tuple[int, Row]]:
    """The good rows with their line numbers; what the check reported is passed over."""
    with path.open("rb") as file:
        for number, line in lines(file):
            if line is None or not line.strip():
                continue
            try:
                yield number, parse(line, number == 1)
            except BadRow:
                continue


def page(path: Path, start_line: int, count: int, line_index: array | None = None) -> list[tuple[int, Row | None]]:
    """Up to `count` lines from `start_line` on; None where a line is not readable. Uses the index to jump."""
    found: list[tuple[int, Row | None]] = []
    with path.open("rb") as file:
        for number, line in lines(file, _seek(file, start_line, line_index)):
            if number < start_line or (line is not None and not line.strip()):
                continue
            if len(found) == count:
                break
            try:
                found.append((number, None if line is None else parse(line, number == 1)))
            except BadRow:
                found.append((number, None))
    return found


def _seek(file: BinaryIO, line: int, line_index: array | None) -> int:
    """Goes to the last line that the index knows up to this one, and says which it is."""
    if not line_index:
        return 1
    block = min((max(line, 1) - 1) // INDEX_EVERY, len(line_index) - 1)
    file.seek(line_index[block])
    return block * INDEX_EVERY + 1


def raw_line(path: Path, number: int, line_index: array | None = None) -> bytes:
    """A line as it stands; of one above the limit its beginning, a byte more than the limit."""
    with path.open("rb") as file:
        first = _seek(file, number, line_index)
        if first < number:
            next(at for at, _ in lines(file, first) if at == number - 1)
        return file.readline(MAX_LINE_BYTES + 1)


def split(path: Path, train: Path, valid: Path, *, rows: int, valid_rows: int, seed: int) -> None:
    """Writes every line unchanged to one of two files; which ones go to `valid` depends on the seed alone."""
    chosen = set(random.Random(seed).sample(range(rows), valid_rows))
    at = 0
    with path.open("rb") as source, train.open("wb") as train_file, valid.open("wb") as valid_file:
        for number, line in lines(source):
            if line is None or not line.strip():
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            (valid_file if at in chosen else train_file).write(line.rstrip(b"\r\n") + b"\n")
            at += 1
