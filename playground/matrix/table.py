"""What the page of a matrix shows: its contenders, the prompts that a filter leaves, and each answer."""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlencode

from django.utils import timezone

from playground import contenders, sheets
from playground.contenders import Contender
from playground.figures import STOPPED
from playground.film.prompts import call_text
from playground.matrix import matrices
from playground.matrix.models import KeptAnswer, Matrix, Prompt

PAGE_ROWS: Final = 25
CLIPPED: Final = 260  # characters of an answer that are shown at once
SHOWN: Final = 6_000  # characters that "show all" shows; the rest stands in the playground
PACE_SECONDS: Final = 180.0
FEWEST_FOR_A_PACE: Final = 5  # answers
SHOWS: Final = {"": "All", "answers": "Answers differ", "scores": "Scores differ", "failed": "Failed"}


@dataclass(frozen=True)
class Filters:
    """What stands in the address."""

    show: str = ""  # a key of SHOWS
    words: str = ""  # in prompts, expected answers and answers
    tag: str = ""
    base: int = 0  # index of the contender that the others are set against

    @classmethod
    def of(cls, given: Any, columns: int) -> "Filters":
        show, base = given.get("show", ""), given.get("base", "")
        return cls(
            show if show in SHOWS else "",
            given.get("q", "").strip()[:200],
            given.get("tag", "").strip()[:40],
            int(base) if base.isdecimal() and int(base) < columns else 0,
        )

    def address(self, **changed: str) -> str:
        """`?...` with these and what is changed; empty ones are left out."""
        values = {"show": self.show, "q": self.words, "tag": self.tag, "base": str(self.base or "")} | changed
        kept = {name: value for name, value in values.items() if value}
        return "?" + urlencode(kept)


@dataclass
class Column:
    """A contender as the head of the table shows it."""

    index: int
    key: str
    contender: Contender
    own: list[str]
    trouble: str = ""

    @property
    def number(self) -> int:
        return self.index + 1

    @property
    def label(self) -> str:
        return " · ".join([self.contender.label, *self.own])


@dataclass
class Cell:
    column: Column
    answer: KeptAnswer | None

    @cached_property
    def text(self) -> str:
        return said(self.answer) if self.answer else ""

    @property
    def beginning(self) -> str:
        """Empty where the whole answer is short enough."""
        return self.text[:CLIPPED].rstrip() + "…" if len(self.text) > CLIPPED else ""

    @property
    def shown(self) -> str:
        return self.text[:SHOWN]

    @property
    def cut(self) -> bool:
        return len(self.text) > SHOWN

    @property
    def figures(self) -> str:
        """'212 tokens · 3.1 s · cut at the limit'."""
        answer, parts = self.answer, []
        if answer is None or answer.error:
            return ""
        if answer.completion_tokens is not None:
            parts.append(f"{answer.completion_tokens:,} {'token' if answer.completion_tokens == 1 else 'tokens'}")
        if answer.seconds is not None:
            parts.append(f"{answer.seconds:.1f} s")
        if answer.stop_reason not in ("", "stop", "tool_calls"):
            parts.append(STOPPED.get(answer.stop_reason, answer.stop_reason))
        return " · ".join(parts)


@dataclass
class Row:
    prompt: Prompt
    cells: list[Cell]


@dataclass
class Table:
    """Everything of one matrix, read once for a page."""

    matrix: Matrix
    columns: list[Column]
    prompts: list[Prompt]
    answers: dict[str, dict[str, KeptAnswer]] = field(repr=False)  # prompt key -> contender key -> answer

    @cached_property
    def tags(self) -> list[str]:
        return sorted({tag for prompt in self.prompts for tag in prompt.tags})

    def cells(self, prompt: Prompt) -> list[Cell]:
        found = self.answers.get(prompt.key, {})
        return [Cell(column, found.get(column.key)) for column in self.columns]

    def row(self, prompt: Prompt) -> Row:
        return Row(prompt, self.cells(prompt))

    def chosen(self, filters: Filters) -> list[Prompt]:
        """The prompts that the filters leave, in the order of the set; of "scores differ" all, as this knows none."""
        return [prompt for prompt in self.prompts if self._fits(prompt, filters)]

    def _fits(self, prompt: Prompt, filters: Filters) -> bool:
        answers = list(self.answers.get(prompt.key, {}).values())
        if filters.tag and filters.tag not in prompt.tags:
            return False
        if filters.words:
            words = filters.words.lower()
            texts = [prompt.text, prompt.expected, *(said(answer) for answer in answers)]
            if not any(words in text.lower() for text in texts):
                return False
        if filters.show == "failed":
            return any(answer.error for answer in answers)
        if filters.show == "answers":
            return len({said(answer).strip() for answer in answers if not answer.error}) > 1
        return True


def said(answer: KeptAnswer) -> str:
    """The words of an answer, and its calls as name(arguments)."""
    return "\n".join([*([answer.text] if answer.text else []), *(call_text(call) for call in answer.tool_calls)])


def columns_of(matrix: Matrix) -> list[Column]:
    names = contenders.named(matrix.project, [column["model"] for column in matrix.columns])
    return [
        Column(
            index,
            key,
            contender,
            sheets.own_words(column, matrix.system_prompt, matrix.settings),
            matrix.troubles.get(key, ""),
        )
        for index, (key, contender, column) in enumerate(zip(matrix.contenders, names, matrix.columns, strict=True))
    ]


def read(matrix: Matrix) -> Table:
    """Two queries, whatever its size."""
    answers: dict[str, dict[str, KeptAnswer]] = {}
    for answer in matrices.answers_of(matrix):
        answers.setdefault(answer.prompt, {})[answer.contender] = answer
    columns, prompts = columns_of(matrix), list(matrix.prompt_set.prompts.all())
    for column in columns:
        if all(_has_answered(answers, prompt, column) for prompt in prompts):
            column.trouble = ""  # of an earlier try: another matrix or campaign has asked it since
    return Table(matrix, columns, prompts, answers)


def _has_answered(answers: dict[str, dict[str, KeptAnswer]], prompt: Prompt, column: Column) -> bool:
    answer = answers.get(prompt.key, {}).get(column.key)
    return answer is not None and not answer.error


def seconds_left(matrix: Matrix, missing: int) -> float | None:
    """At the pace of the last minutes; None before there is a pace."""
    now = timezone.now()
    lately = matrices.answers_of(matrix).filter(created_at__gt=now - timedelta(seconds=PACE_SECONDS))
    times = list(lately.values_list("created_at", flat=True))
    if len(times) < FEWEST_FOR_A_PACE or not missing:
        return None
    return (now - min(times)).total_seconds() / len(times) * missing
