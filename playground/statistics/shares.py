"""Win rates and how far they can be trusted: pure functions.

A point is 1 for a win, ½ for a tie, 0 for a loss; a win rate is the mean of points. Several people judge the answers
to one prompt and tend to agree there, so votes come in clusters: ten on one prompt tell less than ten on ten prompts.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import atan, cos, erf, exp, floor, lgamma, pi, sin, sqrt

Z_95 = 1.959963984540054
FEWEST_VOTES = 5  # below this no rate is stated, however one-sided
MOST_PREDICTED_VOTES = 2000  # a difference that needs more is "too small to matter here"


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval, all in 0..1."""

    rate: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Even odds lie outside."""
        return self.low > 0.5 or self.high < 0.5


def wilson(successes: float, trials: float, z: float = Z_95) -> Interval:
    """Wilson's score interval (E. B. Wilson, JASA 22, 1927) of a share; `successes` may hold halves for ties.

    centre = (p + z²/2n) / (1 + z²/n),  half width = z / (1 + z²/n) · sqrt(p(1-p)/n + z²/4n²)
    A tie has less variance than a win or a loss, so with ties the interval is a little wider than it had to be.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a share")
    p, n = successes / trials, trials
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z / shrink * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half))


def clustered(votes: Iterable[tuple[Hashable, float]]) -> Interval | None:
    """Wilson's interval of the mean of (cluster, point) votes, for as many votes as they are worth; None without votes.

    What n votes are worth is n_eff = p(1-p) / V, where V is the variance of the mean. When every vote has a cluster of
    its own, that is n, and more with ties, which vary less than wins and losses. Else V is the larger of what single
    votes and what whole clusters show (linearised, as for a ratio); few clusters know V badly, so n_eff then shrinks by
    (z/t)² with Student's t at clusters - 1 degrees of freedom (Korn and Graubard, Survey Methodology 24, 1998).
    """
    clusters: dict[Hashable, list[float]] = defaultdict(list)
    for cluster, point in votes:
        clusters[cluster].append(point)
    count = sum(map(len, clusters.values()))
    if not count:
        return None
    rate = sum(map(sum, clusters.values())) / count
    worth = _effective_votes(list(clusters.values()), rate, count)
    found = wilson(rate * worth, worth)
    return Interval(rate, min(rate, found.low), max(rate, found.high))


def _effective_votes(clusters: list[list[float]], rate: float, count: int) -> float:
    spread = rate * (1 - rate)
    ties = sum(points.count(0.5) for points in clusters)
    alone = (spread - ties / (count + 2) / 4) / count  # two votes more, so that ties alone do not claim certainty
    if len(clusters) == count and spread:
        return spread / alone
    if len(clusters) < 2 or not spread:
        return float(len(clusters))  # nothing shows how alike the votes on a prompt are: they count as one
    residuals = [sum(points) - rate * len(points) for points in clusters]
    together = len(clusters) / (len(clusters) - 1) * sum(each * each for each in residuals) / count**2
    if together <= alone:
        return spread / alone
    return spread / together * (Z_95 / student_t(len(clusters) - 1)) ** 2


@lru_cache(maxsize=4096)
def student_t(degrees: int, z: float = Z_95) -> float:
    """The quantile of Student's t that belongs to the normal quantile z, by Newton's method from the first terms of its
    series (Abramowitz and Stegun 26.7.5)."""
    within = erf(z / sqrt(2))
    found = z + (z**3 + z) / (4 * degrees)
    for _ in range(100):
        density = exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)) / sqrt(degrees * pi)
        density *= (1 + found * found / degrees) ** (-(degrees + 1) / 2)
        step = (student_within(found, degrees) - within) / (2 * density)
        found -= max(min(step, found / 2), -2 * found)  # the tails of few degrees are long
        if abs(step) < 1e-12 * found:
            break
    return found


def student_within(t: float, degrees: int) -> float:
    """P(-t < T < t) for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = atan(t / sqrt(degrees))
    squared = cos(angle) ** 2
    odd = degrees % 2
    term = total = cos(angle) if odd else 1.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= squared * ((k - 1) / k)
        total += term
    if odd:
        return 2 / pi * (angle + (sin(angle) * total if degrees > 1 else 0.0))
    return sin(angle) * total


def votes_until_decided(rate: float, votes: int, z: float = Z_95) -> int | None:
    """How many more votes at this rate until the interval excludes one half; None: more than anybody would cast.

    One half lies on the border of Wilson's interval when |p - ½| = z·sqrt(¼/n), so n = z² / (4(p - ½)²).
    """
    gap = abs(rate - 0.5)
    if gap == 0:
        return None
    needed = max(floor(z * z / (4 * gap * gap)) + 1, FEWEST_VOTES)
    return max(needed - votes, 1) if needed <= MOST_PREDICTED_VOTES else None
