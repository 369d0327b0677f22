"""Which validation rows a job does best, worst, and which changed most: their losses beside their texts."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.engine import row_losses
from training.models import TrainingJob

SHOWN = 8  # rows of each list, at most
TEXT_CHARACTERS = 280


@dataclass(frozen=True)
class JudgedRow:
    """A row of the validation file, by its line; `before` is its loss at the first of the two steps."""

    line: int
    loss: float
    before: float | None
    asked: str = ""
    answer: str = ""

    @property
    def change(self) -> float | None:
        return None if self.before is None else self.loss - self.before


@dataclass
class Judged:
    """What the page shows; `step` is 0 where nothing was kept."""

    step: int = 0
    first_step: int = 0
    rows: int = 0
    lists: list[tuple[str, str, list[JudgedRow]]] = field(default_factory=list)  # title, what it means, rows


def judged_rows(job: TrainingJob) -> Judged:
    """After the newest validation of the whole set, against the first one."""
    steps = row_losses.kept_steps(job.folder)
    if not steps:
        return Judged()
    try:
        now = row_losses.read(job.folder, steps[-1])
        first = row_losses.read(job.folder, steps[0]) if len(steps) > 1 else None
    except (OSError, ValueError, KeyError):  # deleted under us, or damaged
        return Judged()
    before = dict(zip(first.lines, first.losses, strict=True)) if first else {}
    found = [JudgedRow(line, loss, before.get(line)) for line, loss in zip(now.lines, now.losses, strict=True)]
    by_loss = sorted(found, key=lambda row: (row.loss, row.line))
    changed = sorted((row for row in found if row.change), key=lambda row: (-abs(row.change or 0.0), row.line))
    half = len(by_loss) // 2  # no row is among the best and the worst
    lists = [
        (
            "Worst",
            "What it still does not do: look here for rows that are wrong or unlike the rest.",
            by_loss[half:][::-1],
        ),
        ("Best", "What it does best.", by_loss[:half]),
        ("Most changed", f"Since step {steps[0]:,}: below zero is better than before.", changed),
    ]
    wanted = {row.line for _, _, rows in lists for row in rows[:SHOWN]}
    texts = _texts(job, wanted)
    shown = [(title, what, [_with_text(row, texts) for row in rows[:SHOWN]]) for title, what, rows in lists if rows]
    return Judged(steps[-1], steps[0], len(found), shown)


def first_judged(job: TrainingJob) -> int:
    """The step after which the whole set is first validated; 0 where that is the end of the first epoch."""
    every = (job.resolved or job.recipe).validate_every_steps
    facts = job.started_json or job.estimate_json or {}
    return every if every < facts.get("steps_per_epoch", every + 1) else 0


def _with_text(row: JudgedRow, texts: dict[int, tuple[str, str]]) -> JudgedRow:
    asked, answer = texts.get(row.line, ("", ""))
    return JudgedRow(row.line, row.loss, row.before, asked, answer)


def _texts(job: TrainingJob, lines: set[int]) -> dict[int, tuple[str, str]]:
    """Empty when the file is gone."""
    if not job.validation_file:
        return {}
    try:
        return {number: _sides(line) for number, line in _numbered(job.validation_file.path, lines)}
    except OSError:
        return {}


def _numbered(path: Path, lines: set[int]) -> Iterable[tuple[int, bytes]]:
    last = max(lines, default=0)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number in lines:
                yield number, line
            if number >= last:
                return


def _sides(line: bytes) -> tuple[str, str]:
    """What was asked and what should be answered, in short."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except ValueError:
        return "", ""
    given = row.get("input") or row
    messages = given.get("messages") if isinstance(given, dict) else None
    answer = (
        row.get("completion") or row.get("chosen") or row.get("preferred_output") or row.get("preferred_completion")
    )
    if messages and not answer:
        last = next((at for at in reversed(range(len(messages))) if messages[at].get("role") == "assistant"), None)
        answer = messages[last] if last is not None else ""
        messages = messages[:last] if last is not None else messages
    asked = next((m for m in reversed(messages) if m.get("role") == "user"), "") if messages else row.get("prompt", "")
    return _short(asked), _short(answer or row.get("text", ""))


def _short(value: Any) -> str:
    """The text of a message, of several, or of a plain text."""
    if isinstance(value, list):
        return _short(value[-1]) if value else ""
    if isinstance(value, dict):
        value = value.get("content") or json.dumps(value.get("tool_calls") or "", ensure_ascii=False)
    text = str(value or "")
    return text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS - 1] + "…"
