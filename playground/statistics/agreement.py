"""How far votes can be relied on: with oneself, and with others. Pure functions."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import permutations

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
