"""Tab of a dataset that is a table: its first rows, as they are."""

from typing import Any

from django.http import HttpRequest

from training import excerpts
from training.intake import mapping, tables
from training.intake.errors import IntakeError
from training.models import DatasetFile

SHOWN_ROWS = 20
SHOWN_COLUMNS = 12
SHOWN_CHARACTERS = 300


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """Nothing where it cannot be read; the check says why."""
    try:
        table, rows = tables.first_rows(file.path, file.filename, SHOWN_ROWS)
    except (IntakeError, OSError):
        return {"columns": [], "shown": []}
    columns = table.columns[:SHOWN_COLUMNS]
    return {
        "columns": columns,
        "more_columns": len(table.columns) - len(columns),
        "details": table.details,
        "place": "Line" if table.counts_lines else "Row",
        "shown": [(row.line, [_cell(row.cells.get(column)) for column in columns]) for row in rows],
    }


def _cell(value: Any) -> str:
    return excerpts.beginning(mapping.text_of(value), SHOWN_CHARACTERS)
