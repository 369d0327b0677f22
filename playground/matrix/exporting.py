"""A matrix taken away: all of it as JSON, or a line for each answer as CSV."""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from playground.matrix import scoring
from playground.matrix.scores import Score
from playground.matrix.table import Cell, Table
from training.spreadsheets import plain

FIGURES = ("prompt_tokens", "completion_tokens", "first_token_seconds", "seconds", "stop_reason")


def as_json(table: Table) -> str:
    matrix, scores = table.matrix, scoring.scores_of(table.matrix)
    content = {
        "id": matrix.pk,
        "name": matrix.name,
        "created_at": matrix.created_at.isoformat(),
        "prompt_set": {"id": matrix.prompt_set_id, "name": matrix.prompt_set.name, "source": matrix.prompt_set.source},
        "system_prompt": matrix.system_prompt,
        "settings": matrix.settings,
        "scores": [each.model_dump() | {"title": each.title} for each in scores],
        "contenders": [
            {"name": column.label} | given for column, given in zip(table.columns, matrix.columns, strict=True)
        ],
        "prompts": [
            {
                "ask": prompt.ask,
                "expected": prompt.expected,
                "tags": prompt.tags,
                "answers": [_answer(scores, prompt, cell) for cell in table.cells(prompt)],
            }
            for prompt in table.prompts
        ],
    }
    return json.dumps(content, ensure_ascii=False, indent=1)


def _answer(scores: list[Score], prompt: Any, cell: Cell) -> dict[str, Any] | None:
    """None: not answered yet."""
    if cell.answer is None:
        return None
    return {
        "text": cell.answer.text,
        "tool_calls": cell.answer.tool_calls,
        "error": cell.answer.error,
        **{name: getattr(cell.answer, name) for name in FIGURES},
        "scores": [mark.value for mark in scoring.marks(scores, prompt, cell)],
    }


def as_csv(table: Table) -> Iterator[str]:
    """A text that a spreadsheet would take for a formula begins with an apostrophe."""
    scores = scoring.scores_of(table.matrix)
    head = ["prompt", "expected", "tags", "contender", "model", "answer", "error", *FIGURES]
    yield _line([*head, *(each.title for each in scores)])
    for prompt in table.prompts:
        for cell in table.cells(prompt):
            if answer := cell.answer:
                texts = [prompt.text, prompt.expected, ", ".join(prompt.tags), cell.column.label, answer.model]
                figures = [getattr(answer, name) for name in FIGURES]
                values = [mark.value for mark in scoring.marks(scores, prompt, cell)]
                yield _line([*map(plain, [*texts, cell.text, answer.error]), *figures, *values])


def _line(values: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(values)
    return out.getvalue()
