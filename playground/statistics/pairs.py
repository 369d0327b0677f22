"""From votes to the record of each pair: pure functions, no database.

Only true pairs count: models whose answers to the same prompt one person saw side by side. "A is better" among n
columns says that A beat each of the others and nothing about the others among themselves. A tie, or "all bad", is a
tie of every pair. A tie counts half a win.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

from playground.statistics.shares import FEWEST_VOTES, Interval, clustered, votes_until_decided


@dataclass(frozen=True)
class Ballot:
    """One vote: what was seen, and what was better (None: nothing was). Votes on one `prompt` tend to agree; without
    one the vote stands alone."""

    seen: tuple[str, ...]
    best: str | None = None
    both_bad: bool = False
    prompt: str | None = None


@dataclass
class Pair:
    """The record of `first` against `second`."""

    first: str
    second: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    both_bad: int = 0  # of the ties: those where neither was good
    prompts: list[str | None] = field(default_factory=list, compare=False)  # of each vote, in the order of `points`
    points: list[float] = field(default_factory=list, compare=False)  # of `first`: 1, ½ or 0

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties

    @cached_property
    def interval(self) -> Interval | None:
        """Win rate of `first` with a tie as half a win; None without votes. Looked at when all votes are in."""
        points = self.points or [1.0] * self.wins + [0.0] * self.losses + [0.5] * self.ties
        prompts = self.prompts or [None] * len(points)
        return clustered(
            (number if prompt is None else prompt, point)
            for number, (prompt, point) in enumerate(zip(prompts, points, strict=True))
        )

    def turned(self) -> "Pair":
        """The same seen from the other one."""
        points = [1 - point for point in self.points]
        return Pair(self.second, self.first, self.losses, self.wins, self.ties, self.both_bad, self.prompts, points)

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


def pairs(ballots: Iterable[Ballot]) -> list[Pair]:
    """The record of every pair that was seen together, most votes first; `first` is the one that leads."""
    table: dict[tuple[str, str], Pair] = {}
    for ballot in ballots:
        for first, second, point in points(ballot):
            _add(table.setdefault((first, second), Pair(first, second)), ballot, point)
    judged = [_leader_first(pair) for pair in table.values()]
    return sorted(judged, key=lambda pair: (-pair.votes, pair.first, pair.second))


def points(ballot: Ballot) -> Iterator[tuple[str, str, float]]:
    """What the vote says of each pair that it saw, names in alphabetical order: (first, second, the first one's point).
    Pairs that it says nothing about are left out."""
    for first, second in combinations(sorted(set(ballot.seen)), 2):
        if ballot.best is None:
            yield first, second, 0.5
        elif ballot.best in (first, second):
            yield first, second, float(ballot.best == first)


def _add(pair: Pair, ballot: Ballot, point: float) -> None:
    pair.prompts.append(ballot.prompt)
    pair.points.append(point)
    if point == 0.5:
        pair.ties += 1
        pair.both_bad += ballot.both_bad
    elif point:
        pair.wins += 1
    else:
        pair.losses += 1


def _leader_first(pair: Pair) -> Pair:
    return pair if pair.losses <= pair.wins else pair.turned()


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
