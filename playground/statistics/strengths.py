"""Ratings of many contenders from votes on pairs: Bradley and Terry's model, with intervals. Pure functions on numpy.

P(i beats j) = s_i / (s_i + s_j). A tie is half a win for each. A rating is 400·log10(s) with the mean of all at 1,000,
the scale that chess and the public arenas use: 400 points are odds of ten to one.

Intervals come from a bootstrap over prompts: whole prompts are drawn with replacement, since votes on one prompt are
not independent. Shapes: C contenders, P prompts, B bootstrap rounds.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from playground.statistics.pairs import Ballot, points

Array = NDArray[np.float64]
ROUNDS = 1000
POINTS_PER_DECADE = 400.0
MEAN_RATING = 1000.0
PRIOR_TIES = 0.5  # of each contender against a middling one: keeps one that never lost from being infinitely good
ENOUGH_ITERATIONS = 2000
PRECISION = 1e-9  # of log strengths


@dataclass(frozen=True)
class Judgement:
    """One vote on one pair: who was judged, on which prompt, and the first one's point (1, ½ or 0)."""

    first: str
    second: str
    point: float
    prompt: Hashable


@dataclass(frozen=True)
class Rating:
    """A contender's place; `low` and `high` enclose 95 % of the bootstrap's ratings."""

    name: str
    rating: float
    low: float
    high: float
    votes: int


def judgements(ballots: Iterable[Ballot]) -> list[Judgement]:
    """What each vote says of the pairs that it saw."""
    return [
        Judgement(first, second, point, number if ballot.prompt is None else ballot.prompt)
        for number, ballot in enumerate(ballots)
        for first, second, point in points(ballot)
    ]


def connected(found: Sequence[Judgement]) -> list[list[Judgement]]:
    """Groups whose contenders are linked by votes, most votes first: ratings of different groups say nothing to each
    other."""
    groups: list[set[str]] = []
    for pair in {frozenset((each.first, each.second)) for each in found}:
        touched = [group for group in groups if group & pair]
        groups = [group for group in groups if not group & pair] + [set(pair).union(*touched)]
    parts = [[each for each in found if each.first in group] for group in groups]
    return sorted(parts, key=len, reverse=True)


def rate(judgements: Sequence[Judgement], *, rounds: int = ROUNDS, seed: int = 0) -> list[Rating]:
    """All contenders that were judged, best first."""
    names = sorted({name for each in judgements for name in (each.first, each.second)})
    if not names:
        return []
    wins_PCC = _points_by_prompt(judgements, names)
    rating_C = _scaled(log_strengths(wins_PCC.sum(axis=0)[None])[0])
    prompts = len(wins_PCC)
    draws_BP = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), size=rounds)
    drawn_BCC = np.tensordot(draws_BP.astype(float), wins_PCC, axes=1)
    low_C, high_C = np.percentile(_scaled(log_strengths(drawn_BCC)), [2.5, 97.5], axis=0)
    votes = {name: sum(name in (each.first, each.second) for each in judgements) for name in names}
    found = [
        Rating(name, float(at), float(min(low, at)), float(max(high, at)), votes[name])
        for name, at, low, high in zip(names, rating_C, low_C, high_C, strict=True)
    ]
    return sorted(found, key=lambda each: (-each.rating, each.name))


def _points_by_prompt(judgements: Sequence[Judgement], names: list[str]) -> Array:
    """P x C x C: what the row took from the column."""
    place = {name: index for index, name in enumerate(names)}
    prompts = {prompt: index for index, prompt in enumerate(dict.fromkeys(each.prompt for each in judgements))}
    wins = np.zeros((len(prompts), len(names), len(names)))
    for each in judgements:
        prompt, first, second = prompts[each.prompt], place[each.first], place[each.second]
        wins[prompt, first, second] += each.point
        wins[prompt, second, first] += 1 - each.point
    return wins


def log_strengths(wins_BCC: Array, prior: float = PRIOR_TIES) -> Array:
    """B x C natural logarithms of strengths, mean zero: the maximum of the likelihood.

    Solved by Newman's iteration (M. E. J. Newman, JMLR 24, 2023), which converges faster than Zermelo's:
    s_i <- Σ_j w_ij s_j / (s_i + s_j)  /  Σ_j w_ji / (s_i + s_j).
    `prior` half-wins and half-losses against a contender of strength 1 make the maximum exist and be finite.
    """
    strengths = np.ones(wins_BCC.shape[:2])
    lost_BCC = wins_BCC.swapaxes(1, 2)
    for _ in range(ENOUGH_ITERATIONS):
        sums = strengths[:, :, None] + strengths[:, None, :]
        up = (wins_BCC * strengths[:, None, :] / sums).sum(axis=2) + prior / 2 / (strengths + 1)
        down = (lost_BCC / sums).sum(axis=2) + prior / 2 / (strengths + 1)
        better = np.where(down > 0, up / np.where(down > 0, down, 1), strengths)
        moved = np.abs(np.log(better) - np.log(strengths)).max()
        strengths = better
        if moved < PRECISION:
            break
    logs: Array = np.log(strengths)
    return logs - logs.mean(axis=1, keepdims=True)


def _scaled(logs: Array) -> Array:
    return MEAN_RATING + POINTS_PER_DECADE / np.log(10) * logs
