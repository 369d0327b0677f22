"""Whether a campaign's intervals hold what they say: 1,000 simulated campaigns for each pairing rule.

Contenders have planted strengths; each prompt leans its own way, and the evaluators who judge it lean with it; some
votes are ties. The pairs are drawn by the rule that the real campaigns use, the intervals are those of the page.

    python -m proofs.campaign_statistics [--campaigns 1000]

The 95 % interval of each pair's win rate has to cover the planted one in 95 ± 2 % of the campaigns. Ratings are told
beside them: theirs are a little narrower than they say (docs/statistics.md).
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import exp, log
from random import Random

from playground.statistics.pairing import Plan, Rule, Shown, Tally, next_pair
from playground.statistics.pairs import Ballot, pairs
from playground.statistics.strengths import judgements, rate

STRENGTHS = {"ahead": 0.9, "middle": 0.3, "near": 0.0, "behind": -1.2}  # natural logarithms, mean zero
LEANING = 4.0  # of the Beta distribution of a prompt's taste: the smaller, the more votes on one prompt agree
TIES = 0.2


@dataclass(frozen=True)
class Setting:
    """One kind of campaign."""

    prompts: int
    evaluators: int
    votes_wanted: int  # per pair


RULES: tuple[Rule, ...] = ("balanced", "informative")
SETTINGS = [Setting(60, 3, 40), Setting(20, 5, 60)]


@dataclass
class Found:
    """What the campaigns of one setting and rule came to."""

    campaigns: int = 0
    held: dict[str, int] = field(default_factory=dict)  # pair or contender -> intervals that cover what was planted
    drift: dict[str, float] = field(default_factory=dict)  # pair -> sum of (rate found - rate planted)
    votes: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, held: bool, drift: float, votes: int) -> None:
        self.held[what] = self.held.get(what, 0) + held
        self.drift[what] = self.drift.get(what, 0.0) + drift
        self.votes[what] = self.votes.get(what, 0) + votes


def planted(one: str, other: str) -> float:
    """The expected point of `one` against `other`, a tie being half a point."""
    return 1 / (1 + exp(STRENGTHS[other] - STRENGTHS[one]))


def simulate(setting: Setting, rule: Rule, seed: int) -> list[Shown]:
    """One campaign: everybody judges in turn until the campaign has its votes. Repeats are left out."""
    chance = Random(seed)
    plan = Plan({prompt: sorted(STRENGTHS) for prompt in range(setting.prompts)}, setting.votes_wanted, rule)
    tastes: dict[tuple[object, tuple[str, str]], float] = {}
    so_far, found, busy = Tally(), [], list(range(setting.evaluators))
    while busy:
        person = chance.choice(busy)
        draw = next_pair(plan, so_far, person, chance)
        if draw is None:
            busy.remove(person)
            continue
        shown = _judged(Shown(person, draw.prompt, draw.left, draw.right, repeat=draw.repeat), tastes, chance)
        so_far.add(shown)
        if not shown.repeat:
            found.append(shown)
    return found


def _judged(shown: Shown, tastes: dict[tuple[object, tuple[str, str]], float], chance: Random) -> Shown:
    first, second = shown.pair
    wins = (planted(first, second) - TIES / 2) / (1 - TIES)  # of the votes that are no ties
    if (shown.prompt, shown.pair) not in tastes:
        tastes[shown.prompt, shown.pair] = chance.betavariate(wins * LEANING, (1 - wins) * LEANING)
    point = 0.5 if chance.random() < TIES else float(chance.random() < tastes[shown.prompt, shown.pair])
    left = point if shown.left == first else 1 - point
    return Shown(shown.evaluator, shown.prompt, shown.left, shown.right, left, shown.repeat)


def ballots(shown: list[Shown]) -> Iterator[Ballot]:
    for each in shown:
        best = None if each.point == 0.5 else (each.left if each.point else each.right)
        yield Ballot((each.left, each.right), best, prompt=str(each.prompt))


def run(setting: Setting, rule: Rule, campaigns: int, rounds: int = 0) -> Found:
    """`rounds`: of the ratings' bootstrap; 0: without ratings."""
    found = Found(campaigns)
    for seed in range(campaigns):
        votes = list(ballots(simulate(setting, rule, seed)))
        for pair in pairs(votes):
            # named the same way round in every campaign: who leads is an outcome
            turned = pair.first > pair.second
            truth, interval = planted(pair.first, pair.second), pair.interval
            assert interval
            drift = interval.rate - truth
            name = " against ".join(sorted((pair.first, pair.second)))
            found.note(name, interval.low <= truth <= interval.high, -drift if turned else drift, pair.votes)
        for each in rate(judgements(votes), rounds=rounds, seed=seed) if rounds else []:
            truth = 1000 + 400 / log(10) * STRENGTHS[each.name]
            found.note(each.name, each.low <= truth <= each.high, each.rating - truth, each.votes)
    return found


def table(setting: Setting, rule: Rule, found: Found) -> bool:
    print(f"\n{rule}: {setting.prompts} prompts, {setting.evaluators} evaluators, {setting.votes_wanted} votes a pair")
    print(f"{'':24} {'planted':>8} {'covered':>8} {'mean error':>11} {'votes':>6}")
    for what, held in sorted(found.held.items(), key=lambda each: ("against" not in each[0], each[0])):
        one, _, other = what.partition(" against ")
        truth = f"{planted(one, other) * 100:.1f} %" if other else f"{1000 + 400 / log(10) * STRENGTHS[one]:.0f}"
        mean = found.drift[what] / found.campaigns
        error = f"{mean * 100:+.2f} %" if other else f"{mean:+.1f}"
        covered = f"{held / found.campaigns * 100:.1f} %"
        print(f"{what:24} {truth:>8} {covered:>8} {error:>11} {found.votes[what] / found.campaigns:6.0f}")
    return all(0.93 <= held / found.campaigns <= 0.97 for what, held in found.held.items() if "against" in what)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=300, help="of the ratings' bootstrap; the page draws 1,000")
    parser.add_argument("--setting", type=int, choices=range(len(SETTINGS)), help="only this one")
    parser.add_argument("--rule", choices=RULES, help="only this one")
    asked = parser.parse_args()
    started, verdicts = time.monotonic(), []
    for setting in SETTINGS if asked.setting is None else [SETTINGS[asked.setting]]:
        for rule in [asked.rule] if asked.rule else RULES:
            found = run(setting, rule, asked.campaigns, asked.rounds)
            verdicts.append(table(setting, rule, found))
    print(f"\n{asked.campaigns} campaigns each, {time.monotonic() - started:.0f} s")
    print("every win rate's interval covers in 95 ± 2 %" if all(verdicts) else "some cover outside 95 ± 2 %: see above")
    sys.exit(0 if all(verdicts) else 1)


if __name__ == "__main__":
    main()
