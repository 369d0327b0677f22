"""Ratings of many contenders from votes on pairs: Bradley and Terry's model, with intervals. Pure functions on numpy.

P(i beats j) = s_i / (s_i + s_j). A tie is half a win for each. A rating is 400·log10(s) with the mean of all at 1,000,
the scale that chess and the public arenas use: 400 points are odds of ten to one.

Intervals come from a bootstrap over prompts: whole prompts are drawn with replacement, since votes on one prompt are
not independent; of few prompts they are widened a little. Shapes: C contenders, P prompts, B bootstrap rounds.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np
from numpy.typing import NDArray

from playground.statistics.pairs import Ballot, points
from playground.statistics.shares import student_t

Array = NDArray[np.float64]
ROUNDS = 1000
POINTS_PER_DECADE = 400.0
MEAN_RATING = 1000.0
PRIOR_TIES = 0.5  # of each contender against a middling one: keeps one that never lost from being infinitely good
ENOUGH_ITERATIONS = 60
MOST_STEP = 2.0  # of log strengths at once: far out the likelihood is flat, and a whole step would overshoot
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
    tail = 100 * outside(prompts)
    low_C, high_C = np.percentile(_scaled(log_strengths(drawn_BCC)), [tail, 100 - tail], axis=0)
    votes = {name: sum(name in (each.first, each.second) for each in judgements) for name in names}
    found = [
        Rating(name, float(at), float(min(low, at)), float(max(high, at)), votes[name])
        for name, at, low, high in zip(names, rating_C, low_C, high_C, strict=True)
    ]
    return sorted(found, key=lambda each: (-each.rating, each.name))


def outside(clusters: int) -> float:
    """The share of the bootstrap on either side of a 95 % interval: a little less than 2.5 %, for a bootstrap of few
    clusters is too narrow (the expanded percentile interval; T. C. Hesterberg, The American Statistician 69, 2015)."""
    if clusters < 2:
        return 0.0
    return 0.5 * erfc(student_t(clusters - 1) * sqrt(clusters / (clusters - 1)) / sqrt(2))


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
    """B x C natural logarithms of strengths, mean zero: the maximum of the likelihood."""
    logs = fitted(wins_BCC, prior)[0]
    return logs - logs.mean(axis=1, keepdims=True)


def fitted(wins_BCC: Array, prior: float = PRIOR_TIES) -> tuple[Array, Array]:
    """B x C log strengths at the maximum of the likelihood, and B x C x C its curvature there: what the votes tell.

    Newton's method on the sum over i, j of w_ij·ln(s_i / (s_i + s_j)), which is concave. `prior` half-wins and
    half-losses against a contender of strength 1 make the maximum exist and be finite.
    """
    games = wins_BCC + wins_BCC.swapaxes(1, 2)
    won = wins_BCC.sum(axis=2)
    logs = np.zeros(wins_BCC.shape[:2])
    diagonal = np.eye(logs.shape[1])
    anchored = 0.0 if prior else 1.0  # without a prior the likelihood does not change when all move by the same
    for _ in range(ENOUGH_ITERATIONS):
        chances = expit(logs[:, :, None] - logs[:, None, :])
        middling = expit(logs)
        slope = won - (games * chances).sum(axis=2) + prior * (0.5 - middling)
        weight = games * chances * chances.swapaxes(1, 2)
        own = weight.sum(axis=2) + prior * middling * (1 - middling)
        curve = own[:, :, None] * diagonal - weight
        step = np.linalg.solve(curve + anchored, slope[:, :, None])[:, :, 0]
        logs = logs + np.clip(step, -MOST_STEP, MOST_STEP)
        if np.abs(step).max() < PRECISION:
            break
    return logs, curve


def expit(odds: Array) -> Array:
    """1 / (1 + exp(-odds)) without overflow."""
    return 0.5 * (1 + np.tanh(odds / 2))


def _scaled(logs: Array) -> Array:
    return MEAN_RATING + POINTS_PER_DECADE / np.log(10) * logs
