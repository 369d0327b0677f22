"""A table's rows as training rows, in a new version of the dataset."""

from collections import Counter
from typing import Any, BinaryIO

from training import versions
from training.disk import refuse_too_large
from training.intake import tables
from training.intake.errors import IntakeError
from training.intake.making import Progress
from training.intake.mapping import CannotMap, Mapping, line_of, make_row, mapping_of
from training.intake.models import Making
from training.models import DatasetFile
from training.rules import FORMAT_NAMES

TOLD_LINES = 20
TOLD_ROWS = 500


def make(row: Making, progress: Progress) -> DatasetFile:
    """`asked`: {"target", "parts"}, of a CSV also {"header"}: whether its first row names the columns. Raises
    IntakeError where not one row comes out.
    """
    source = row.source
    if source is None:
        raise IntakeError("The table is gone", "Upload it again.")
    left_out = _LeftOut()

    def write(out: BinaryIO) -> None:
        with tables.opened(source.path, source.filename, row.asked.get("header")) as table:
            mapping = mapping_of(row.asked["target"], row.asked["parts"], table.columns)
            _write(table, mapping, out, left_out, progress, row.name)

    made = versions.new_version(
        source, kind="mapped", words=_words(source, row.asked), user=row.created_by, write=write, filename=row.name,
        making=row.pk, **row.asked,
    )  # fmt: skip
    made.origin |= {"left_out": dict(left_out.counts), "left_out_lines": left_out.lines}
    made.origin["words"] += left_out.words
    made.save(update_fields=["origin"])
    return made


def _write(
    table: tables.Table, mapping: Mapping, out: BinaryIO, left_out: "_LeftOut", progress: Progress, name: str
) -> None:
    written = 0
    for number, row in enumerate(table.rows):
        if row.trouble:
            left_out.add(row.trouble, row.line)
        else:
            try:
                out.write(line_of(make_row(mapping, row.cells)))
                written += 1
            except CannotMap as error:
                left_out.add(str(error), row.line)
        if not number % TOLD_ROWS:
            progress(table.share())
            refuse_too_large(out.tell(), name)
    if not written:
        why = left_out.counts.most_common(1)
        text = f"Not one row comes out of this mapping{': ' + why[0][0] if why else ''}"
        raise IntakeError(text, "Choose other columns.", kind="mapping")


class _LeftOut:
    """Why rows gave nothing, how many, and the lines of the first."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lines: list[int] = []

    def add(self, why: str, line: int) -> None:
        self.counts[why] += 1
        if len(self.lines) < TOLD_LINES:
            self.lines.append(line)

    @property
    def words(self) -> str:
        if not self.counts:
            return ""
        total = self.counts.total()
        reasons = "; ".join(f"{why} ({count:,})" for why, count in self.counts.most_common(5))
        return f" {total:,} row{'' if total == 1 else 's'} left out: {reasons}."


def _words(source: DatasetFile, asked: dict[str, Any]) -> str:
    parts = ", ".join(f"{name} from {template[:60]}" for name, template in asked["parts"].items())
    first = {True: " Its first row names the columns.", False: " Its first row is data; its columns have no names."}
    header = first.get(asked.get("header"), "")  # type: ignore[arg-type]
    return f"Columns of {source.filename} mapped to {FORMAT_NAMES[asked['target']]} rows: {parts}.{header}"
