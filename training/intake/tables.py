"""What has columns: CSV and TSV, Parquet without a column of raw text, a JSON list of objects; and JSONL whose keys are
none that a job knows. Checked once and read row by row, flat in memory; mapping.py makes training rows of it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count, islice
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from training import jsonl
from training.datasets import KEPT_PROBLEMS, Progress, Report
from training.intake import csv_files, json_list
from training.intake.errors import IntakeError
from training.rules import Problem, kind_of

CSV_SUFFIXES = (".csv", ".tsv", ".tab")
LOOKED_AT_ROWS = 1000  # for the columns of rows that need not all have the same
MOST_COLUMNS = 500
LONGEST_COLUMN = 200  # characters of a column's name
PARQUET_ROWS = 64  # read at a time
PARQUET_BUFFER_BYTES = 1 << 16  # for each column
MOST_GROUP_BYTES = 1 << 30  # of one column in a group of rows, which is read as a whole
PROGRESS_ROWS = 2000
KIND_NAMES = {"csv": "CSV", "parquet": "Parquet", "json": "JSON list", "jsonl": "JSONL"}
PARQUET = b"PAR1"
TO_MAP = "This is a table. Say which columns the model reads and which it should answer with: Map its columns."

Cells = dict[str, Any]


@dataclass(frozen=True)
class TableRow:
    """`line` is its line, or its number where rows are no lines. `trouble`: why it cannot be used."""

    line: int
    cells: Cells
    trouble: str = ""


@dataclass
class Table:
    """`details`: how it is read, in words. `share` says how much of the file is read, 0..1. `header`: whether the first
    row of a CSV names its columns; None for what always has names.
    """

    kind: str
    columns: list[str]
    rows: Iterator[TableRow]
    details: str = ""
    share: Any = field(default=lambda: 0.0)
    header: bool | None = None

    @property
    def counts_lines(self) -> bool:
        """`TableRow.line` is a line of the file, of which a row may take several; not the number of the row."""
        return self.kind in ("csv", "jsonl")


def table_kind(path: Path, filename: str) -> str:
    """csv, parquet or json where the file is a table that has to be mapped; else empty."""
    if not path.is_file():
        return ""
    head = _head(path)
    if head.startswith(PARQUET):
        return "parquet" if not _has_text_column(path) else ""
    if json_list.is_json_list(path, filename):
        return "json"
    if PurePath(filename).suffix.lower() in CSV_SUFFIXES and not _is_jsonl(head):
        return "csv"
    return ""


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _is_jsonl(head: bytes) -> bool:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def _has_text_column(path: Path) -> bool:
    """Raw text to continue pre-training with; a broken file is left to texts.check, which says what is broken."""
    import pyarrow

    try:
        with _parquet(path) as table:
            schema = table.schema_arrow
            kind = schema.field("text").type if "text" in schema.names else None
            return kind is not None and (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))
    except IntakeError:
        return True


# ---- the check ----


def check(path: Path, filename: str, progress: Progress | None = None) -> Report:
    """Counts the rows and says what cannot be read. A table is never ready for a job: its columns have to be mapped."""
    report = Report(format="table")
    details: dict[str, Any] = {"kind": table_kind(path, filename)}
    try:
        with opened(path, filename) as table:
            details |= {"columns": table.columns, "details": table.details}
            for number, row in enumerate(table.rows):
                report.rows += 1
                if row.trouble:
                    _warn(report, row)
                if progress and not number % PROGRESS_ROWS:
                    progress(table.share())
        if not report.rows:
            raise IntakeError("There is no row in it", "Upload a file that holds rows.", kind="empty")
    except IntakeError as error:
        report.problem_count += 1
        report.problems.append(Problem(error.line, error.message, error.fix, row=report.rows, kind=error.kind))
    report.statistics = {"table": details}
    return report


def _warn(report: Report, row: TableRow) -> None:
    """One warning a kind of trouble, with the lines of the first rows."""
    known = next((at for at, each in enumerate(report.warnings) if each.message == row.trouble), None)
    if known is None:
        if len(report.warnings) < KEPT_PROBLEMS:
            fix = "The row is left out when the columns are mapped; correct it if you need it."
            report.warnings.append(Problem(row.line, row.trouble, fix, level="warning", kind="row", lines=(row.line,)))
        return
    one = report.warnings[known]
    lines = (*one.lines, row.line)[:20]
    report.warnings[known] = Problem(
        one.line, one.message, one.fix, level="warning", kind="row", count=one.count + 1, lines=lines
    )


# ---- reading ----


@contextmanager
def opened(path: Path, filename: str, header: bool | None = None) -> Iterator[Table]:
    """Raises IntakeError, here or while its rows are read. Whatever is no table is read as JSONL. `header`: the first
    row of a CSV names its columns; None: as it is guessed.
    """
    kind = "parquet" if _head(path).startswith(PARQUET) else table_kind(path, filename) or "jsonl"
    if kind == "parquet":
        with _parquet(path) as file:
            yield _parquet_table(file)
        return
    with path.open("rb") as file:
        size = max(1, path.stat().st_size)
        if kind == "csv":
            table = _csv_table(path, file, header)
        else:
            table = {"json": _json_table, "jsonl": _jsonl_table}[kind](path, file)
        table.share = lambda: min(1.0, file.tell() / size)
        yield table


def first_rows(path: Path, filename: str, count: int, header: bool | None = None) -> tuple[Table, list[TableRow]]:
    """The table, whose rows are used up, and so many of its first rows that can be read."""
    with opened(path, filename, header) as table:
        found: list[TableRow] = []
        try:
            found.extend(islice(table.rows, count))
        except IntakeError:
            if not found:
                raise
        return table, found


def _column_names(names: list[str]) -> list[str]:
    """Such as a template can name: no braces, no line breaks, no half characters, none twice."""
    if len(names) > MOST_COLUMNS:
        text = f"It has {len(names):,} columns; at most {MOST_COLUMNS} can be mapped"
        raise IntakeError(text, "Leave out the columns that are not needed.", kind="columns")
    found: list[str] = []
    for at, name in enumerate(names, start=1):
        text = name.encode("utf-8", errors="replace").decode()
        clean = " ".join(text.replace("{", "(").replace("}", ")").split())[:LONGEST_COLUMN] or f"column {at}"
        found.append(next(each for each in _numbered(clean) if each not in found))
    return found


def _numbered(name: str) -> Iterator[str]:
    """The name, name (2), name (3) ..."""
    yield name
    yield from (f"{name} ({number})" for number in count(2))


def _csv_table(path: Path, file: BinaryIO, header: bool | None) -> Table:
    dialect = csv_files.recognise(path)
    if header is not None:
        dialect = replace(dialect, header=header)
    rows = csv_files.rows(file, dialect)
    first = next(rows, None)
    if first is None:
        raise IntakeError("There is no row in it", "Upload a file that holds rows.", kind="empty")
    names = first.cells if dialect.header else [f"column {at}" for at in range(1, len(first.cells) + 1)]
    columns = _column_names(names)

    def read() -> Iterator[TableRow]:
        if not dialect.header:
            yield _csv_row(first, columns)
        for row in rows:
            yield _csv_row(row, columns)

    return Table("csv", columns, read(), dialect.words, header=dialect.header)


def _csv_row(row: csv_files.CsvRow, columns: list[str]) -> TableRow:
    """Cells that are missing at the end are empty; more of them than columns mean that the row is not what it seems."""
    more = len(row.cells) - len(columns)
    cells = dict(zip(columns, row.cells + [""] * -more, strict=False))
    return TableRow(row.line, cells, "The row has more cells than there are columns" if more > 0 else "")


def _json_table(path: Path, file: BinaryIO) -> Table:
    with path.open("rb") as beginning:
        columns = _keys(_until_broken(json_list.objects(beginning)))
    return Table("json", columns, _objects(json_list.objects(file)), "one list of objects")


def _jsonl_table(path: Path, file: BinaryIO) -> Table:
    """Lines that cannot be read are told of by the check of datasets.py; here they are passed over."""
    with path.open("rb") as beginning:
        columns = _keys(islice(_parsed(beginning), LOOKED_AT_ROWS))
    return Table("jsonl", columns, _objects(_parsed(file)), "one object on each line")


def _parsed(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    for number, line in jsonl.lines(file):
        if line is None or not line.strip():
            continue
        try:
            yield number, jsonl.parse(line, number == 1)
        except jsonl.BadRow:
            continue


def _until_broken(values: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The first ones, for their keys; what breaks after them is met again when all are read."""
    try:
        yield from islice(values, LOOKED_AT_ROWS)
    except IntakeError:
        return


def _keys(values: Iterable[tuple[int, Any]]) -> list[str]:
    """Of all objects, in the order in which they first stand; no more than can be refused as too many."""
    found: dict[str, None] = {}
    for _, value in values:
        if isinstance(value, dict) and len(found) <= MOST_COLUMNS:
            found.update(dict.fromkeys(value))
    return _column_names(list(found)[: MOST_COLUMNS + 1])


def _objects(values: Iterator[tuple[int, Any]]) -> Iterator[TableRow]:
    for number, value in values:
        if isinstance(value, dict):
            yield TableRow(number, {_column_name(key): each for key, each in value.items()})
        else:
            yield TableRow(number, {}, f"The row is {kind_of(value)}, not an object")


@lru_cache(maxsize=4096)
def _column_name(key: str) -> str:
    return _column_names([key])[0] if key else "column 1"


# ---- Parquet ----


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    try:
        # page by page: buffered beforehand, a group of rows stands in memory whole
        with pyarrow.parquet.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        said = str(error).splitlines()[0].rstrip(".")[:200] if str(error) else type(error).__name__
        fix = "Write the file again, or upload it again if it broke on the way."
        raise IntakeError(f"This Parquet file cannot be read ({said})", fix) from error


def _parquet_table(file: Any) -> Table:
    _refuse_large_groups(file.metadata)
    names = list(file.schema_arrow.names)
    columns = _column_names(names)
    total = max(1, file.metadata.num_rows)
    seen = 0

    def read() -> Iterator[TableRow]:
        nonlocal seen
        for batch in file.iter_batches(batch_size=PARQUET_ROWS):
            for values in zip(*(_values(column, seen) for column in batch.columns), strict=True):
                seen += 1
                yield TableRow(seen, dict(zip(columns, values, strict=True)))

    groups = file.metadata.num_row_groups
    words = f"{groups:,} group{'' if groups == 1 else 's'} of rows"
    return Table("parquet", columns, read(), words, lambda: seen / total)


def _values(column: Any, seen: int) -> list[Any]:
    try:
        return column.to_pylist()
    except (ValueError, OverflowError) as error:  # a time that Python has none for, a text that is not UTF-8
        text = f"Values of type {column.type} cannot be read: {error}"
        raise IntakeError(text[:300], "Leave the column out, or write it as text.", line=seen + 1) from error


def _refuse_large_groups(metadata: Any) -> None:
    for at in range(metadata.num_row_groups):
        group = metadata.row_group(at)
        for column in range(group.num_columns):
            if group.column(column).total_uncompressed_size > MOST_GROUP_BYTES:
                text = f"A group of rows holds more than {MOST_GROUP_BYTES >> 30} GiB in one column"
                raise IntakeError(text, "Write the file with smaller groups of rows (row_group_size).")
