"""The scores of a matrix's answers, each computed once in a process, and each contender set against one of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median
from typing import Final

from playground.matrix.models import KeptAnswer, Matrix, Prompt
from playground.matrix.scores import Score, score_of
from playground.matrix.table import Cell, Column, Table, said
from playground.patterns import TooSlow
from playground.statistics.paired import Difference, difference, mean_score
from playground.statistics.shares import Interval

MOST_SLOW: Final = 2  # answers on which a pattern may take too long before it is given up
MOST_KEPT: Final = 400_000  # scores in memory

# of (answer, when it came, score, what was expected): kept answers do not change
_kept: dict[tuple[int, datetime, str, str], float | None] = {}
_slow: dict[str, int] = {}  # score -> answers on which it took too long


def scores_of(matrix: Matrix) -> list[Score]:
    return [Score.model_validate(each) for each in matrix.scores]


def score(found: Score, answer: KeptAnswer | None, expected: str) -> float | None:
    """None where there is nothing to score, or the pattern takes too long."""
    if answer is None or answer.error or is_slow(found):
        return None
    place = (answer.pk, answer.created_at, found.key, expected)
    if place not in _kept:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        try:
            _kept[place] = score_of(found, said(answer), expected)
        except TooSlow:
            _kept[place] = None
            _slow[found.key] = _slow.get(found.key, 0) + 1
    return _kept[place]


def is_slow(found: Score) -> bool:
    return _slow.get(found.key, 0) >= MOST_SLOW


@dataclass(frozen=True)
class Mark:
    """One score of one answer."""

    score: Score
    value: float | None

    @property
    def words(self) -> str:
        if self.value is None:
            return "–"
        if self.score.kind == "similarity":
            return f"{self.value * 100:.1f} %"
        return "yes" if self.value else "no"

    @property
    def level(self) -> str:
        """Its class: what is certain is coloured."""
        return {1.0: "ok", 0.0: "bad"}.get(self.value, "") if self.value is not None else ""


def marks(scores: Iterable[Score], prompt: Prompt, cell: Cell) -> list[Mark]:
    return [Mark(each, score(each, cell.answer, prompt.expected)) for each in scores]


def differ(scores: Iterable[Score], table: Table, prompt: Prompt) -> bool:
    """Two contenders have not the same score on this prompt."""
    answers = table.answers.get(prompt.key, {}).values()
    for each in scores:
        values = {score(each, answer, prompt.expected) for answer in answers}
        if len(values - {None}) > 1:
            return True
    return False


@dataclass(frozen=True)
class Against:
    """One score of one contender over the prompts, and its difference to the reference on those that both have."""

    score: Score
    mean: Interval | None
    difference: Difference | None  # None of the reference itself


@dataclass(frozen=True)
class Line:
    """A contender in the summary."""

    column: Column
    is_base: bool
    answered: int
    against: list[Against]
    prompt_tokens: float | None  # mean
    completion_tokens: float | None  # mean
    first_token_seconds: float | None  # median
    seconds: float | None  # median


def summary(table: Table, scores: list[Score], prompts: list[Prompt], base: int) -> list[Line]:
    """Each contender over these prompts, set against the column of this index."""
    return [_line(table, column, scores, prompts, table.columns[base]) for column in table.columns]


def _line(table: Table, column: Column, scores: list[Score], prompts: list[Prompt], base: Column) -> Line:
    answers = [answer for prompt in prompts if (answer := _answer(table, prompt, column))]
    return Line(
        column,
        column.index == base.index,
        len(answers),
        [_against(table, column, each, prompts, base) for each in scores],
        _mean(answer.prompt_tokens for answer in answers),
        _mean(answer.completion_tokens for answer in answers),
        _median(answer.first_token_seconds for answer in answers),
        _median(answer.seconds for answer in answers),
    )


def _against(table: Table, column: Column, found: Score, prompts: list[Prompt], base: Column) -> Against:
    def value(prompt: Prompt, of: Column) -> float | None:
        return score(found, _answer(table, prompt, of), prompt.expected)

    ours = [(value(prompt, column), value(prompt, base)) for prompt in prompts]
    both = [(one, other) for one, other in ours if one is not None and other is not None]
    mean = mean_score(one for one, _ in ours if one is not None)
    return Against(found, mean, None if column.index == base.index else difference(both))


def _answer(table: Table, prompt: Prompt, column: Column) -> KeptAnswer | None:
    found = table.answers.get(prompt.key, {}).get(column.key)
    return found if found and not found.error else None


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return fmean(found) if found else None


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None
