"""A file put through everything that reads it between its upload and its first job, without a database: unpacked,
written as UTF-8, told for what it is, checked, mapped, and shown.

`python -m tests.examining FOLDER` does so with every file of a folder, in one process, and prints a JSON line for each.
"""

import json
import sys
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.memory import peak_bytes
from dashboard.turns import answers_of, tools_of, turns_of
from training import datasets, jsonl, texts
from training.datasets import Report
from training.engine import text
from training.engine.errors import EngineError
from training.intake import encodings, mapping, packed, tables
from training.intake.errors import IntakeError
from training.intake.mapping import CannotMap
from training.rules import detect_format, row_errors

MOST_BYTES = 1 << 30
MAPPED_ROWS = 200
SHOWN_ROWS = 20


@dataclass(frozen=True)
class Examined:
    """`words`: what a person reads; empty only where the file is ready to train on."""

    report: Report
    mapped: int
    words: str


def examine(path: Path, filename: str) -> Examined:
    """Any exception that comes out of here is a fault of ours."""
    try:
        path, filename = _unpacked(path, filename)
        path = _as_utf8(path, filename)
        report = _report(path, filename)
    except IntakeError as error:
        report = datasets.refused(error.message, error.fix, error.kind, error.line)
    for problem in [*report.problems, *report.warnings]:
        assert problem.message and problem.fix and len(problem.message) < 2000, problem
        json.dumps(problem.as_row(), ensure_ascii=False, allow_nan=False).encode()  # as it goes into the database
    json.dumps(report.statistics, ensure_ascii=False, allow_nan=False).encode()
    mapped = _mapped(path, filename)
    _shown(path, filename)
    words = report.problems[0].message if report.problems else ("" if report.usable else tables.TO_MAP)
    assert report.usable or words
    return Examined(report, mapped, words)


def _unpacked(path: Path, filename: str) -> tuple[Path, str]:
    if not packed.packed_kind(path):
        return path, filename
    out = path.with_name(path.name + ".out")
    found = packed.unpack(path, out, most_bytes=MOST_BYTES, room_bytes=MOST_BYTES)
    return out, packed.name_inside(filename, found)


def _as_utf8(path: Path, filename: str) -> Path:
    encoding = encodings.wide_encoding(path)
    if not encoding or Path(filename).suffix.lower() in tables.CSV_SUFFIXES:
        return path
    out = path.with_name(path.name + ".utf-8")
    encodings.write_as_utf8(path, out, encoding, room_bytes=MOST_BYTES)
    return out


def _report(path: Path, filename: str) -> Report:
    if tables.table_kind(path, filename):
        return tables.check(path, filename)
    look = texts if texts.is_raw_text(path, filename) else datasets
    return look.check(path)


def _mapped(path: Path, filename: str) -> int:
    """How many of the first rows the guessed mapping makes something of."""
    made = 0
    try:
        table, rows = tables.first_rows(path, filename, MAPPED_ROWS)
        guessed = mapping.guess(table.columns, [row.cells for row in rows])
        chosen = mapping.mapping_of(guessed.target, guessed.parts, table.columns)
    except IntakeError as error:
        assert error.message and error.fix
        return 0
    for row in rows:
        try:
            found = mapping.make_row(chosen, row.cells)
            again = jsonl.parse(mapping.line_of(found).rstrip(b"\n"))
        except (CannotMap, jsonl.BadRow) as error:
            assert str(error)
            continue
        for _, message, fix, _, _ in row_errors(again, detect_format(again)):
            assert message and fix
        turns_of(again), answers_of(again), tools_of(again)
        made += 1
    return made


def _shown(path: Path, filename: str) -> None:
    try:
        if texts.is_raw_text(path, filename):
            texts.page(path, 1, SHOWN_ROWS)
            return
    except EngineError:
        return
    if text.text_kind(path) == "parquet":
        return
    for _, row in islice(jsonl.page(path, 1, SHOWN_ROWS), SHOWN_ROWS):
        turns_of(row), answers_of(row), tools_of(row)


def main() -> None:
    for path in sorted(Path(sys.argv[1]).iterdir()):
        began = time.process_time()
        examined = examine(path, path.name)
        told = {
            "name": path.name,
            "seconds": time.process_time() - began,
            "peak_mb": peak_bytes() / (1 << 20),
            "format": examined.report.format,
            "rows": examined.report.rows,
            "usable": examined.report.usable,
            "mapped": examined.mapped,
            "words": examined.words,
            "warnings": [problem.message for problem in examined.report.warnings],
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
