"""Means of marks and how far they can be trusted: a pure function."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import sqrt

from playground.statistics.shares import FEWEST_VOTES, student_t


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval; `low` and `high` are None where the marks show no spread to tell it from."""

    value: float
    count: int
    low: float | None = None
    high: float | None = None


def mean(marks: Iterable[tuple[Hashable, float]], least: float, most: float) -> Mean | None:
    """Of (cluster, mark), marks lying between `least` and `most`; None without marks.

    The variance of a mean is that of its clusters' sums of residuals, Σ_c (Σ_i r_ci)² / n² · m/(m-1), and the interval
    is Student's with m-1 degrees of freedom for m clusters (as for a ratio: Korn and Graubard 1998).
    """
    clusters: dict[Hashable, list[float]] = defaultdict(list)
    for cluster, mark in marks:
        clusters[cluster].append(mark)
    count = sum(map(len, clusters.values()))
    if not count:
        return None
    value = sum(map(sum, clusters.values())) / count
    squares = sum(sum(mark - value for mark in each) ** 2 for each in clusters.values())
    m = len(clusters)
    if m < FEWEST_VOTES or not squares:
        return Mean(value, count)
    half = student_t(m - 1) * sqrt(m / (m - 1) * squares) / count
    return Mean(value, count, max(least, value - half), min(most, value + half))
