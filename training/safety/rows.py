"""The texts of a row, wherever they stand in it and in any format, and what is found in them, row by row of a file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from training import jsonl, texts
from training.engine import text
from training.safety import finders
from training.safety.kinds import Span

ANSWER_FIELDS = ("completion", "chosen", "rejected")  # where they hold text, not messages


class Place(NamedTuple):
    """One text of a row; `inside[key]` is where it stands, to be replaced."""

    field: str  # such as messages[1].content
    text: str
    inside: Any
    key: Any
    offset: int = 0  # of this text in the field's whole text, where that is read in pieces


def texts_of(row: dict[str, Any]) -> Iterator[Place]:
    """Every text, in the order of the row. Names of fields are not texts."""
    waiting: list[tuple[str, Any, Any, Any]] = [("", None, None, row)]
    while waiting:
        field, inside, key, value = waiting.pop()
        if isinstance(value, str):
            yield Place(field, value, inside, key)
        elif isinstance(value, dict):
            dot = "." if field else ""
            waiting += [(f"{field}{dot}{name}", value, name, value[name]) for name in reversed(value)]
        elif isinstance(value, list):
            waiting += [(f"{field}[{at}]", value, at, value[at]) for at in range(len(value) - 1, -1, -1)]


def answers_of(row: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every text with what it answers: the user's words or the prompt before it in the row, or ""."""
    question = ""
    for place in texts_of(row):
        role = place.inside.get("role") if isinstance(place.inside, dict) and place.key == "content" else ""
        if role == "user" or place.field == "prompt":
            yield place, ""
            question = place.text
        else:
            is_answer = role == "assistant" or place.field in ANSWER_FIELDS
            yield place, question if is_answer else ""


@dataclass(frozen=True)
class Finding:
    line: int  # the number of a document where the file is raw text
    field: str
    kind: str
    start: int  # in the field's text
    end: int
    before: str
    masked: str
    after: str


Found = list[tuple[Place, list[Span]]]


def found_in(row: dict[str, Any]) -> Found:
    """The texts of a row that hold something, with what they hold."""
    return [(place, spans) for place in texts_of(row) if (spans := finders.find(place.text))]


def rows_with_finds(path: Path, filename: str, rows: int = 0) -> Iterator[tuple[int, float, Found]]:
    """(line, share of the file read, what was found) of each row that may hold something, and of some others for the
    share's sake. Broken rows are passed over; `rows` is asked for where raw text has a known number of documents."""
    if texts.is_raw_text(path, filename):
        yield from _documents_with_finds(path, rows)
        return
    size, done = max(1, path.stat().st_size), 0
    with path.open("rb") as source:
        for number, line in jsonl.lines(source):
            done += len(line or b"")
            if line is None or not finders.may_hold(line):
                if number % 1000 == 0:
                    yield number, done / size, []
                continue
            try:
                row = jsonl.parse(line, number == 1)
            except jsonl.BadRow:
                continue
            yield number, done / size, found_in(row)


def _documents_with_finds(path: Path, rows: int) -> Iterator[tuple[int, float, Found]]:
    """Long documents in pieces, so that none is held whole; what stands across the border of two is not found."""
    for number, offset, words, _ in document_pieces(path):
        spans = finders.find(words)
        yield (
            number,
            number / max(1, rows, number),
            [(Place("text", words, None, None, offset), spans)] if spans else [],
        )


def document_pieces(path: Path) -> Iterator[tuple[int, int, str, bool]]:
    """(number of the document, where the piece begins in it, the piece, whether the document ends with it)."""
    number, offset = 1, 0
    for piece in text.pieces(path):
        yield number, offset, piece.text, piece.ends
        number, offset = (number + 1, 0) if piece.ends else (number, offset + len(piece.text))


def findings_of(line: int, found: Found) -> Iterator[Finding]:
    for place, spans in found:
        for span, shown in zip(spans, finders.excerpts(place.text, spans), strict=True):
            at = place.offset
            yield Finding(line, place.field, span.kind, at + span.start, at + span.end, *shown)
