"""CSV and TSV as people have them: encoding, delimiter, quotes and header are found out, cells may hold line breaks,
and no row can grow without bound.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from training.intake import known_names
from training.intake.errors import IntakeError
from training.jsonl import MAX_LINE_BYTES

SAMPLE_BYTES = 256 << 10
SAMPLE_ROWS = 200
MOST_LINES = 100_000  # that a row may take
DELIMITERS = (",", ";", "\t", "|")
NO_DELIMITER = "\x1f"  # of a file with one column
LONGEST_NAME = 80  # characters of a cell that may still be the name of a column
LONGEST_PLAIN_NAME = 40  # where one is blank or stands twice, so that names have to look like names
MOST_NAME_WORDS = 5
ROWS_BELOW = 3  # that tell a name from what stands below it
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar", NO_DELIMITER: "nothing (one column)"}


@dataclass(frozen=True)
class Dialect:
    encoding: str
    delimiter: str
    backslash: bool  # a quote inside quotes is written \", not ""
    header: bool  # the first row names the columns
    line_end: str = "\n"  # \r in files of old Macs

    @property
    def words(self) -> str:
        name = {"utf-8-sig": "UTF-8", "utf-8": "UTF-8", "cp1252": "Windows-1252"}.get(self.encoding, self.encoding)
        head = "first row names the columns" if self.header else "no row of names"
        return f"{name.upper() if name.startswith('utf') else name}, separated by {NAMES[self.delimiter]}, {head}"


def recognise(path: Path) -> Dialect:
    """From the first 256 KiB. Raises IntakeError where that is no text."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE_BYTES)
        encoding = _encoding(sample, whole=not file.read(1))
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(sample)
    if text.count("\0") > len(text) // 100:
        raise IntakeError("This is no text, so it is no CSV file", "Save the table as CSV, in UTF-8.")
    backslash = '\\"' in text and '""' not in text.replace(',""', "").replace('"",', "")
    delimiter = max(DELIMITERS, key=lambda each: _score(text, each, backslash))
    if not _score(text, delimiter, backslash):
        delimiter = NO_DELIMITER
    rows = list(_sample_rows(text, delimiter, backslash))
    if not rows:
        raise IntakeError("There is no row in it", "Upload a file that holds rows.", kind="empty")
    line_end = "\r" if "\r" in text and "\n" not in text else "\n"
    return Dialect(encoding, delimiter, backslash, _is_header(rows), line_end)


def _encoding(sample: bytes, whole: bool) -> str:
    for bom, encoding in BOMS:
        if sample.startswith(bom):
            return encoding
    even, odd = sample[0:4096:2].count(0), sample[1:4096:2].count(0)
    half = max(1, len(sample[:4096]) // 2)
    if odd > half * 0.4 > even:
        return "utf-16-le"
    if even > half * 0.4 > odd:
        return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=whole)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _sample_rows(text: str, delimiter: str, backslash: bool) -> Iterator[list[str]]:
    """Whole rows only: the last line of a sample may be half of one."""
    lines = text.splitlines(keepends=True)
    if len(text) >= SAMPLE_BYTES // 4 and len(lines) > 1:
        lines = lines[:-1]
    try:
        yield from islice((row for row in _reader(lines, delimiter, backslash) if row), SAMPLE_ROWS)
    except csv.Error:
        return


def _score(text: str, delimiter: str, backslash: bool) -> float:
    """How well rows of one length come out: their share, and a little for more columns. 0: there is one column."""
    lengths = Counter(len(row) for row in _sample_rows(text, delimiter, backslash))
    if not lengths:
        return 0.0
    columns, rows = lengths.most_common(1)[0]
    return 0.0 if columns < 2 else rows / lengths.total() + min(columns, 50) / 1000


def _is_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns. One with a blank or a repeated cell does only where something tells it
    from data: a row of data has such cells, too.
    """
    names = [cell.strip() for cell in rows[0]]
    given = [name for name in names if name]
    if not given or any(len(name) > LONGEST_NAME or "\n" in name or _is_number(name) for name in given):
        return False
    if len({name.lower() for name in names}) == len(names) == len(given):
        return True
    below = [[row[at].strip() for row in rows[1:] if at < len(row)] for at in range(len(names))]
    if not all(map(_is_plain, given)) or any(name and name in cells for name, cells in zip(names, below, strict=True)):
        return False
    return any(_known(name) in known_names.ALL for name in given) or any(map(_is_unlike_a_name, below))


def _is_plain(name: str) -> bool:
    """Short, and no sentence."""
    return len(name) <= LONGEST_PLAIN_NAME and len(name.split()) <= MOST_NAME_WORDS and name[-1] not in ".?!…"


def _known(name: str) -> str:
    """Answer (de), Answer 2: both are answer."""
    return re.sub(r"[\s-]+", "_", re.sub(r"[(\[].*|\d+$", "", name).strip().lower())


def _is_unlike_a_name(cells: list[str]) -> bool:
    """A column of numbers, or of long texts only."""
    told = [cell for cell in cells if cell]
    if len(told) < ROWS_BELOW:
        return False
    return all(map(_is_number, told)) or all(len(cell) > LONGEST_PLAIN_NAME for cell in told)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _reader(lines: Iterator[str] | list[str], delimiter: str, backslash: bool) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    escape = "\\" if backslash else None
    return csv.reader(lines, delimiter=delimiter, escapechar=escape, doublequote=not backslash)


@dataclass(frozen=True)
class CsvRow:
    line: int  # where it begins, from 1
    cells: list[str]


def rows(file: BinaryIO, dialect: Dialect) -> Iterator[CsvRow]:
    """Every row that holds something, the header too. Raises IntakeError with the line where it cannot go on."""
    lines = _Lines(file, dialect.encoding, dialect.line_end)
    reader = _reader(lines, dialect.delimiter, dialect.backslash)
    first = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _stopped(error, first) from error
        if cells is None:
            return
        if any(cells):
            yield CsvRow(first, cells)
        first = lines.number + 1
        lines.row_ended()


def _stopped(error: csv.Error, first: int) -> IntakeError:
    if "field limit" in str(error):
        text = (
            f"A cell of this row is longer than {MAX_LINE_BYTES >> 20} MiB; perhaps a quote is opened and never closed"
        )
        return IntakeError(text, "Close the quote, or shorten the cell.", line=first, kind="line_too_long")
    return IntakeError(
        f"This row cannot be read: {error}", "Write a quote inside quotes twice.", line=first, kind="csv"
    )


class _Lines:
    """The lines of a file as text; a row may take several. Raises IntakeError for a row above the limit."""

    def __init__(self, file: BinaryIO, encoding: str, line_end: str) -> None:
        self.encoding, self.line_end = encoding, line_end
        self.number = self.taken = self.row_lines = self.at = 0
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.file, self.held, self.ended = file, "", False

    def row_ended(self) -> None:
        self.taken = self.row_lines = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        while True:
            at = self.held.find(self.line_end, self.at)
            if at >= 0:
                line, self.at = self.held[self.at : at + 1], at + 1
                return self._given(line)
            if self.ended:
                line, self.held, self.at = self.held[self.at :], "", 0
                if not line:
                    raise StopIteration
                return self._given(line)
            self._more()

    def _more(self) -> None:
        block = self.file.read(1 << 20)
        self.ended = not block
        self.held, self.at = self.held[self.at :], 0
        try:
            self.held += self.decoder.decode(block, final=self.ended)
        except UnicodeDecodeError as error:
            raise self._undecodable(error) from error
        if len(self.held) > MAX_LINE_BYTES + (1 << 20):
            self._refuse()

    def _undecodable(self, error: UnicodeDecodeError) -> IntakeError:
        before = self.held + error.object[: error.start].decode(self.encoding, errors="replace")
        line = self.number + before.count(self.line_end) + 1
        text = f"Byte 0x{error.object[error.start]:02x} of this line is not {self.encoding}"
        return IntakeError(text, "Save the file as UTF-8.", line=line, kind="not_utf8")

    def _given(self, line: str) -> str:
        self.number += 1
        self.taken += len(line)
        self.row_lines += 1
        if self.taken > MAX_LINE_BYTES or self.row_lines > MOST_LINES:
            self._refuse()
        return line

    def _refuse(self) -> None:
        limit = f"{MAX_LINE_BYTES >> 20} MiB" if self.row_lines <= MOST_LINES else f"{MOST_LINES:,} lines"
        text = f"This row is longer than {limit}; perhaps a quote is opened and never closed"
        fix = "Close the quote, or shorten the row."
        begins = max(1, self.number - self.row_lines + 1)
        raise IntakeError(text, fix, line=begins, kind="line_too_long")
