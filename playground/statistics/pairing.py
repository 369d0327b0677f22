"""Which two answers an evaluator sees next: pure and seeded, no database.

Two rules choose the pair of contenders. "balanced": the pair with the fewest votes. "informative": until each pair has
its first few votes the same; then mostly the pair whose outcome teaches the ratings most, p(1-p)·Var(θ_i - θ_j) under
Bradley and Terry's model, and in one draw of five still the pair with the fewest votes. Within the pair comes the
prompt with the fewest votes on it, and the side by Efron's biased coin; in a share of the draws a prompt where others
have judged that pair, since people's agreement shows only where they judge the same.

Nobody sees the same pair on the same prompt twice, but for the planted repeats: the same two answers with sides
swapped, a while later, that tell how far a person agrees with themselves. A repeat is no vote: `Shown.repeat` keeps it
out of every count here, and out of the results.

An assignment that is shown and not yet judged counts as a vote, so that two people at once are not sent to one place.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from random import Random
from typing import Literal

import numpy as np

from playground.statistics.shares import FEWEST_VOTES
from playground.statistics.strengths import expit, fitted

Rule = Literal["balanced", "informative"]
EXPLORED = 0.2  # of the draws of the informative rule go to the pair with the fewest votes
EVENING = 2 / 3  # chance that the side which a contender had less often is drawn (B. Efron, Biometrika 58, 1971)
SHARED = 0.15  # of the draws go where somebody else has judged
REPEATED = 0.1  # planted repeats for each vote
SPACING = 6  # at least so many other pairs lie between a pair and its repeat


@dataclass(frozen=True)
class Plan:
    """What a campaign asks for. `answers`: each prompt with the contenders whose answers to it can be shown."""

    answers: Mapping[Hashable, Collection[str]]
    votes_wanted: int  # per pair of contenders; the informative rule spends as many in all, not the same on each
    rule: Rule = "balanced"
    repeated: float = REPEATED
    spacing: int = SPACING

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two contenders that answered one prompt at least, names in alphabetical order."""
        return list(self.prompts)

    @cached_property
    def prompts(self) -> dict[tuple[str, str], list[Hashable]]:
        """By pair, which prompts both answered."""
        found: dict[tuple[str, str], list[Hashable]] = {}
        for prompt, names in self.answers.items():
            for pair in combinations(sorted(names), 2):
                found.setdefault(pair, []).append(prompt)
        return dict(sorted(found.items()))


@dataclass(frozen=True)
class Shown:
    """One pair that somebody was shown. `point`: of the left one (1, ½, 0); None while it is not judged."""

    evaluator: Hashable
    prompt: Hashable
    left: str
    right: str
    point: float | None = None
    repeat: bool = False

    @property
    def pair(self) -> tuple[str, str]:
        return (self.left, self.right) if self.left < self.right else (self.right, self.left)


@dataclass(frozen=True)
class Draw:
    """What to show next."""

    prompt: Hashable
    left: str
    right: str
    repeat: bool = False


@dataclass
class Tally:
    """What has been shown so far, counted; `add` keeps it up with the next one."""

    of_pair: Counter[tuple[str, str]] = field(default_factory=Counter)
    of_cell: Counter[tuple[Hashable, tuple[str, str]]] = field(default_factory=Counter)
    of_prompt: Counter[Hashable] = field(default_factory=Counter)
    left: Counter[tuple[str, str]] = field(default_factory=Counter)  # (left, right): in this order
    points: Counter[tuple[str, str]] = field(default_factory=Counter)  # (winner, loser): half for a tie
    own: dict[Hashable, list[Shown]] = field(default_factory=lambda: defaultdict(list))  # by evaluator, in order

    def add(self, shown: Shown) -> None:
        self.own[shown.evaluator].append(shown)
        if shown.repeat:
            return
        self.of_pair[shown.pair] += 1
        self.of_cell[shown.prompt, shown.pair] += 1
        self.of_prompt[shown.prompt] += 1
        self.left[shown.left, shown.right] += 1
        if shown.point is not None:
            self.points[shown.left, shown.right] += shown.point  # type: ignore[assignment]
            self.points[shown.right, shown.left] += 1 - shown.point  # type: ignore[assignment]


def tally(shown: Iterable[Shown]) -> Tally:
    """Of everything shown in one campaign, in the order in which it was shown."""
    found = Tally()
    for each in shown:
        found.add(each)
    return found


def next_pair(plan: Plan, so_far: Tally, evaluator: Hashable, chance: Random) -> Draw | None:
    """None: this evaluator has seen everything there is, or the campaign has the votes it wants."""
    own = so_far.own.get(evaluator, [])
    if again := _repeat(plan, own, chance):
        return again
    seen = {(each.prompt, each.pair) for each in own}
    pairs = plan.pairs
    if sum(so_far.of_pair[pair] for pair in pairs) >= plan.votes_wanted * len(pairs):
        return None
    if plan.rule == "balanced":
        pairs = [pair for pair in pairs if so_far.of_pair[pair] < plan.votes_wanted]
    for pair in _ranked(plan, pairs, so_far, chance):
        prompts = [prompt for prompt in plan.prompts[pair] if (prompt, pair) not in seen]
        if prompts:
            return _sided(_prompt(prompts, pair, so_far, own, chance), pair, so_far, chance)
    return None


def _repeat(plan: Plan, own: list[Shown], chance: Random) -> Draw | None:
    """One is due after each 1/`repeated` votes, and comes within a few draws of that, so that none can be foretold."""
    fresh = [each for each in own if not each.repeat]
    due = plan.repeated * len(fresh) - (len(own) - len(fresh))
    if due < 1 or (due < 1.5 and chance.random() > 1 / 3):
        return None
    had = {(each.prompt, each.pair) for each in own if each.repeat}
    past = own[: max(0, len(own) - plan.spacing)]
    judged = [each for each in past if not each.repeat and each.point is not None]
    left = [each for each in judged if (each.prompt, each.pair) not in had]
    if not left:
        return None
    before = chance.choice(left)
    return Draw(before.prompt, left=before.right, right=before.left, repeat=True)


def _ranked(plan: Plan, pairs: list[tuple[str, str]], so_far: Tally, chance: Random) -> list[tuple[str, str]]:
    """The best pair to ask about first; equals in random order."""
    lot = {pair: chance.random() for pair in pairs}
    fewest = sorted(pairs, key=lambda pair: (so_far.of_pair[pair], lot[pair]))
    if plan.rule == "balanced" or not fewest or so_far.of_pair[fewest[0]] < FEWEST_VOTES:
        return fewest
    if chance.random() < EXPLORED:
        return fewest
    gain = gains(so_far.points, pairs)
    return sorted(pairs, key=lambda pair: (-gain[pair], lot[pair]))


def gains(points: Mapping[tuple[str, str], float], pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """What one more vote on each pair is expected to teach: p(1-p)·Var(θ_i - θ_j), by how much the determinant of the
    ratings' covariance shrinks (A. C. Atkinson and A. N. Donev, Optimum Experimental Designs, 1992, chapter 11)."""
    wanted = list(pairs)
    names = sorted({name for pair in (*wanted, *points) for name in pair})
    place = {name: index for index, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for (winner, loser), point in points.items():
        wins[place[winner], place[loser]] += point
    logs, curve = fitted(wins[None])
    covariance = np.linalg.inv(curve[0])
    found = {}
    for one, other in wanted:
        i, j = place[one], place[other]
        chance = expit(logs[0, i] - logs[0, j])
        spread = covariance[i, i] + covariance[j, j] - 2 * covariance[i, j]
        found[one, other] = float(chance * (1 - chance) * spread)
    return found


def _prompt(
    prompts: list[Hashable], pair: tuple[str, str], so_far: Tally, own: list[Shown], chance: Random
) -> Hashable:
    """Fewest votes on this pair first, then the one that this evaluator met least, then fewest votes in all; now and
    then one where this pair has been judged."""
    if chance.random() < SHARED and (judged := [each for each in prompts if so_far.of_cell[each, pair]]):
        prompts = judged
    met = Counter(each.prompt for each in own)
    chance.shuffle(prompts)
    return min(prompts, key=lambda prompt: (so_far.of_cell[prompt, pair], met[prompt], so_far.of_prompt[prompt]))


def _sided(prompt: Hashable, pair: tuple[str, str], so_far: Tally, chance: Random) -> Draw:
    one, other = pair
    more = so_far.left[one, other] - so_far.left[other, one]
    chance_of_one = 0.5 if more == 0 else (1 - EVENING if more > 0 else EVENING)
    if chance.random() < chance_of_one:
        return Draw(prompt, one, other)
    return Draw(prompt, other, one)
