"""From votes to numbers: pure functions, no database.

Only true pairs count: models whose answers to the same prompt one person saw side by side. "A is better" among n
columns says that A beat each of the others and nothing about the others among themselves. A tie, or "all bad", is a
tie of every pair. A tie counts half a win.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from math import floor, sqrt

Z_95 = 1.959963984540054
FEWEST_VOTES = 5  # below this no rate is stated, however one-sided
MOST_PREDICTED_VOTES = 2000  # a difference that needs more is "too small to matter here"


@dataclass(frozen=True)
class Ballot:
    """One vote: what was seen, and what was better (None: nothing was)."""

    seen: tuple[str, ...]
    best: str | None = None
    both_bad: bool = False


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


@dataclass
class Pair:
    """The record of `first` against `second`."""

    first: str
    second: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    both_bad: int = 0  # of the ties: those where neither was good

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties

    @property
    def interval(self) -> Interval | None:
        """Win rate of `first` with a tie as half a win; None without votes."""
        return wilson(self.wins + self.ties / 2, self.votes) if self.votes else None

    @property
    def enough(self) -> bool:
        return self.votes >= FEWEST_VOTES and bool(self.interval and self.interval.decided)

    @property
    def more_votes(self) -> int | None:
        """Votes still wanted until even odds lie outside the interval, were the rate to stay as it is; None: cannot be
        said. The rate is known only within its interval, so that many more are wanted about as often as fewer."""
        if self.interval is None or self.enough:
            return None
        return votes_until_decided(self.interval.rate, self.votes)


def wilson(successes: float, trials: int, z: float = Z_95) -> Interval:
    """Wilson's score interval (E. B. Wilson, JASA 22, 1927) of a share; `successes` may hold halves for ties.

    centre = (p + z²/2n) / (1 + z²/n),  half width = z / (1 + z²/n) · sqrt(p(1-p)/n + z²/4n²)
    A tie has less variance than a win or a loss, so with ties the interval is a little wider than it had to be.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a share")
    p, n = successes / trials, trials
    shrink = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z / shrink * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, centre - half), min(1.0, centre + half))


def votes_until_decided(rate: float, votes: int, z: float = Z_95) -> int | None:
    """How many more votes at this rate until the interval excludes one half; None: more than anybody would cast.

    One half lies on the border of Wilson's interval when |p - ½| = z·sqrt(¼/n), so n = z² / (4(p - ½)²).
    """
    gap = abs(rate - 0.5)
    if gap == 0:
        return None
    needed = max(floor(z * z / (4 * gap * gap)) + 1, FEWEST_VOTES)
    return max(needed - votes, 1) if needed <= MOST_PREDICTED_VOTES else None


def pairs(ballots: Iterable[Ballot]) -> list[Pair]:
    """The record of every pair that was seen together, most votes first; `first` is the one that leads."""
    table: dict[tuple[str, str], Pair] = {}
    for ballot in ballots:
        for first, second in combinations(sorted(set(ballot.seen)), 2):
            _count(table.setdefault((first, second), Pair(first, second)), ballot)
    judged = [_leader_first(pair) for pair in table.values() if pair.votes]
    return sorted(judged, key=lambda pair: (-pair.votes, pair.first, pair.second))


def _count(pair: Pair, ballot: Ballot) -> None:
    if ballot.best is None:
        pair.ties += 1
        pair.both_bad += ballot.both_bad
    elif ballot.best == pair.first:
        pair.wins += 1
    elif ballot.best == pair.second:
        pair.losses += 1
    else:
        return  # a third was better: nothing is said about these two


def _leader_first(pair: Pair) -> Pair:
    if pair.losses <= pair.wins:
        return pair
    return Pair(pair.second, pair.first, pair.losses, pair.wins, pair.ties, pair.both_bad)


def sentence(pair: Pair, name: dict[str, str] | None = None) -> str:
    """The finding and its uncertainty in plain words."""
    first, second = ((name or {}).get(key, key) for key in (pair.first, pair.second))
    interval = pair.interval
    if interval is None:
        return f"No votes yet on {first} against {second}."
    ties = f" with {pair.ties} {'tie' if pair.ties == 1 else 'ties'}" if pair.ties else ""
    score = f"{pair.wins}–{pair.losses}{ties}"
    shares = f"{interval.rate * 100:.0f} %, 95 % interval {interval.low * 100:.0f}–{interval.high * 100:.0f} %"
    if pair.votes < FEWEST_VOTES:
        return f"{first} against {second}: {score}. Not enough votes to say anything yet."
    if pair.enough:
        return f"{first} is better than {second}: {score} ({shares})."
    if pair.more_votes is None:
        return f"No difference to be seen between {first} and {second}: {score} ({shares})."
    word = "vote" if pair.more_votes == 1 else "votes"
    return (
        f"{first} leads {second} {score} ({shares}). Not decided: at this share about {pair.more_votes} more {word} "
        "would decide it, and more if the share moves towards even."
    )
