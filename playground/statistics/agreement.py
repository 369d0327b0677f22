"""How far votes can be relied on: with oneself, and with others. Pure functions."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from playground.statistics.shares import Interval, wilson


def consistency(repeats: Sequence[tuple[str, str]]) -> Interval | None:
    """Share of planted repeats in which a person said the same again, with its interval; None without repeats."""
    same = sum(before == again for before, again in repeats)
    return wilson(same, len(repeats)) if repeats else None


def position_bias(firsts: Sequence[float]) -> Interval | None:
    """Mean point of whatever stood first (left), with its interval. Sides are drawn by lot: without a bias it is one
    half."""
    return wilson(sum(firsts), len(firsts)) if firsts else None


def alpha(units: Iterable[Mapping[Hashable, str] | Sequence[str]]) -> float | None:
    """Krippendorff's alpha for nominal values: 1 is perfect agreement, 0 what chance would give, below 0 worse.

    A unit is what several people judged: their values, by person or alone. Units that one person judged say nothing and
    are left out; None when nothing is left, or when all always said the same (agreement cannot be told from habit).
    alpha = 1 - (n - 1) · Σ o_ck / Σ n_c n_k over values c ≠ k (Krippendorff, Computing Krippendorff's
    Alpha-Reliability, 2011), where a unit of m values adds 1/(m - 1) to o for each ordered pair of them.
    """
    together: Counter[tuple[str, str]] = Counter()
    for unit in units:
        values = list(unit.values()) if isinstance(unit, Mapping) else list(unit)
        for pair in permutations(values, 2):
            together[pair] += 1 / (len(values) - 1)  # type: ignore[assignment]
    totals: Counter[str] = Counter()
    for (value, _), weight in together.items():
        totals[value] += weight
    everything = sum(totals.values())
    expected = everything**2 - sum(total**2 for total in totals.values())
    if not expected:
        return None
    observed = sum(weight for (one, other), weight in together.items() if one != other)
    return 1 - (everything - 1) * observed / expected


def kappa(said: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two judges: (share of the same - what chance gives) / (1 - what chance gives); None where chance
    gives all (J. Cohen, Educational and Psychological Measurement 20, 1960)."""
    if not said:
        return None
    values = sorted({value for pair in said for value in pair})
    table = np.zeros((len(values), len(values)))
    for one, other in said:
        table[values.index(one), values.index(other)] += 1
    found = float(_kappas(table[None])[0])
    return None if np.isnan(found) else found


def kappa_interval(
    said: Sequence[tuple[Hashable, str, str]], *, rounds: int = 1000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % of the kappas of a bootstrap over clusters, of (cluster, one, other); None for fewer than two clusters."""
    clusters = {cluster: index for index, cluster in enumerate(dict.fromkeys(cluster for cluster, _, _ in said))}
    if len(clusters) < 2:
        return None
    values = sorted({value for _, one, other in said for value in (one, other)})
    tables = np.zeros((len(clusters), len(values), len(values)))
    for cluster, one, other in said:
        tables[clusters[cluster], values.index(one), values.index(other)] += 1
    m = len(clusters)
    draws = np.random.default_rng(seed).multinomial(m, np.full(m, 1 / m), size=rounds)
    found = _kappas(np.tensordot(draws.astype(float), tables, axes=1))
    found = found[~np.isnan(found)]
    if not len(found):
        return None
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def _kappas(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each table (rounds x values x values)."""
    total = tables.sum(axis=(1, 2))
    same = np.trace(tables, axis1=1, axis2=2) / total
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance < 1, (same - chance) / (1 - chance), np.nan)  # type: ignore[no-any-return]
