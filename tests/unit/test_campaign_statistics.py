"""A campaign's figures: against an independent implementation on the same votes, and against planted truths."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy import optimize, stats

from playground.statistics.pairing import Rule, Shown
from playground.statistics.pairs import pairs
from playground.statistics.strengths import judgements, log_strengths, rate
from proofs.campaign_statistics import STRENGTHS, Setting, ballots, run, simulate

SMALL = Setting(prompts=20, evaluators=4, votes_wanted=30)
Z = stats.norm.ppf(0.975)


@pytest.fixture(scope="module")
def votes() -> list[Shown]:
    return simulate(SMALL, "informative", seed=21)


def plainest_interval(points: list[tuple[object, float]]) -> tuple[float, float, float]:
    """Mean, and Wilson's limits as the roots of (p - x)² = z² x(1-x) / n, for n votes as they are worth in clusters."""
    p = sum(point for _, point in points) / len(points)
    alone = sum((point - p) ** 2 for _, point in points)
    halves = sum(point == 0.5 for _, point in points)
    # of single votes: wins and losses vary by p(1-p), a tie by a quarter less; two votes more than there were
    single = (p * (1 - p) - halves / (len(points) + 2) / 4) / len(points)
    if not halves:
        assert single == pytest.approx(alone / len(points) ** 2)
    clusters = defaultdict(list)
    for prompt, point in points:
        clusters[prompt].append(point - p)
    m = len(clusters)
    variance = m / (m - 1) * sum(sum(each) ** 2 for each in clusters.values()) / len(points) ** 2
    n = p * (1 - p) / single
    if m < len(points) and variance > single:
        n = p * (1 - p) / variance * (Z / stats.t.ppf(0.975, m - 1)) ** 2
    low, high = np.roots([1 + Z**2 / n, -(2 * p + Z**2 / n), p * p])[::-1]
    return p, float(low), float(high)


def test_pair_records_are_those_of_an_independent_implementation(votes: list[Shown]) -> None:
    found = pairs(ballots(votes))
    assert len(found) == 6
    for pair in found:
        seen = [each for each in votes if {each.left, each.right} == {pair.first, pair.second}]
        points = [(each.prompt, each.point if each.left == pair.first else 1 - each.point) for each in seen]
        counted = Counter(point for _, point in points)
        assert (counted[1.0], counted[0.5], counted[0.0]) == (pair.wins, pair.ties, pair.losses)
        p, low, high = plainest_interval(points)
        assert pair.interval
        assert pair.interval.rate == pytest.approx(p, abs=1e-6)
        assert (pair.interval.low, pair.interval.high) == pytest.approx((low, high), abs=1e-6)


def plainest_strengths(votes: list[tuple[str, str, float]], names: list[str]) -> np.ndarray:
    """The likelihood vote by vote, given to a general optimiser: half a tie each against a middling contender."""
    place = {name: index for index, name in enumerate(names)}
    left = np.array([place[one] for one, _, _ in votes])
    right = np.array([place[other] for _, other, _ in votes])
    point = np.array([each for _, _, each in votes])

    def loss(logs: np.ndarray) -> float:
        odds = logs[left] - logs[right]
        surprise = point * np.logaddexp(0, -odds) + (1 - point) * np.logaddexp(0, odds)
        return float(surprise.sum() + 0.25 * (np.logaddexp(0, logs) + np.logaddexp(0, -logs)).sum())

    def slope(logs: np.ndarray) -> np.ndarray:
        miss = 1 / (1 + np.exp(logs[right] - logs[left])) - point
        found = 0.25 * (2 / (1 + np.exp(-logs)) - 1)
        np.add.at(found, left, miss)
        np.add.at(found, right, -miss)
        return found

    best = optimize.minimize(loss, np.zeros(len(names)), jac=slope, method="BFGS", options={"gtol": 1e-10}).x
    return best - best.mean()


def test_ratings_and_their_bootstrap_are_those_of_an_independent_implementation(votes: list[Shown]) -> None:
    """The same draws of prompts; everything else is done again, vote by vote."""
    names = sorted(STRENGTHS)
    plain = [(each.left, each.right, each.point) for each in votes]
    found = {each.name: each for each in rate(judgements(ballots(votes)), rounds=60, seed=4)}
    prompts = list(dict.fromkeys(each.prompt for each in votes))
    draws = np.random.default_rng(4).multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), size=60)
    rounds = []
    for draw in draws:
        times = dict(zip(prompts, draw, strict=True))
        again = [(each.left, each.right, each.point) for each in votes for _ in range(times[each.prompt])]
        rounds.append(plainest_strengths(again, names))
    unit = 400 / math.log(10)
    tail = 100 * stats.norm.cdf(-stats.t.ppf(0.975, len(prompts) - 1) * math.sqrt(len(prompts) / (len(prompts) - 1)))
    low, high = np.percentile(rounds, [tail, 100 - tail], axis=0)
    best = plainest_strengths(plain, names)
    for index, name in enumerate(names):
        each = found[name]
        for said, meant in ((each.rating, best[index]), (each.low, low[index]), (each.high, high[index])):
            assert (said - 1000) / unit == pytest.approx(meant, abs=1e-6)


def test_strengths_are_found_where_the_likelihood_is_flat() -> None:
    """One that won a thousand times, one that never won, two that never met."""
    wins = np.array([[0, 1000, 1000, 3], [0, 0, 500, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=float)
    votes = [(f"{i}", f"{j}", 1.0) for i in range(4) for j in range(4) for _ in range(int(wins[i, j]))]
    assert log_strengths(wins[None])[0] == pytest.approx(plainest_strengths(votes, list("0123")), abs=1e-5)


@pytest.mark.parametrize("rule", ["balanced", "informative"])
def test_intervals_of_simulated_campaigns_cover_the_planted_win_rates(rule: Rule) -> None:
    """50 campaigns with the real pairing rule; `proofs/campaign_statistics.py` runs 1,000 for each of four kinds."""
    found = run(SMALL, rule, campaigns=50)
    covered = sum(found.held.values()) / len(found.held) / found.campaigns
    assert 0.92 <= covered <= 0.98, covered
    assert min(found.held.values()) >= 0.84 * found.campaigns
