"""What the votes of a campaign say: computed once for as many votes as there are, and kept until there are more."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from django.core.cache import cache
from django.db.models import Count, Max

from playground.campaigns.models import BOTH_BAD, TIE, Assignment, Campaign
from playground.matrix import matrices
from playground.statistics.agreement import alpha, consistency, position_bias
from playground.statistics.means import Mean, mean
from playground.statistics.pairs import Ballot, Pair, pairs
from playground.statistics.shares import FEWEST_VOTES, Interval
from playground.statistics.strengths import Judgement, Rating, connected, judgements, rate

KEPT_SECONDS = 24 * 3600
FEWEST_REPEATS = 5  # below this nobody is called inconsistent
CONSISTENT = 0.85  # who judges with care says the same again about as often
LEANING = 0.1  # a side's share of the points beyond one half that is worth a word
SATISFACTION = (1, 5)


@dataclass(frozen=True)
class EvaluatorFinding:
    """One evaluator: how often they said the same again, agreed with others, and preferred a side."""

    pk: int
    name: str
    votes: int
    ties: int
    repeats: int
    same_again: Interval | None
    agreement: float | None  # Krippendorff's alpha of this one against each of the others
    shared: int  # votes on pairs that others judged, too
    left: Interval | None
    median_seconds: float | None
    revoked: bool = False

    @property
    def flags(self) -> list[str]:
        """What to know before one trusts these votes, in plain words."""
        found = []
        same = self.same_again
        if same and self.repeats >= FEWEST_REPEATS and (same.rate <= 0.5 or same.high < CONSISTENT):
            found.append(
                f"{self.name} contradicts themselves: asked again with the sides swapped, they said the same in "
                f"{round(same.rate * self.repeats)} of {self.repeats} planted repeats"
            )
        if self.left and self.left.decided and abs(self.left.rate - 0.5) > LEANING:
            side, share = ("left", self.left.rate) if self.left.rate > 0.5 else ("right", 1 - self.left.rate)
            found.append(
                f"{self.name} leans to the {side} answer ({share * 100:.0f} % of their points), whatever it is"
            )
        return found


@dataclass
class Findings:
    """All that the page shows; contenders are keys."""

    votes: int = 0
    people: int = 0
    records: list[Pair] = field(default_factory=list)
    alike: Counter[tuple[str, str]] = field(default_factory=Counter)  # votes on two answers of one text, by pair
    alike_ties: Counter[tuple[str, str]] = field(default_factory=Counter)  # of these: those that said so
    ratings: list[Rating] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)  # contenders whose votes do not link them to the rated ones
    reasons: list[tuple[str, int, Counter[str]]] = field(default_factory=list)  # tag, votes, winner -> votes
    criteria: dict[str, list[Pair]] = field(default_factory=dict)
    satisfaction: dict[str, Mean] = field(default_factory=dict)
    topics: dict[str, list[Pair]] = field(default_factory=dict)  # by the prompts' tags
    said: dict[str, dict[tuple[str, str], Counter[str]]] = field(
        default_factory=dict
    )  # prompt -> pair -> choice -> votes
    evaluators: list[EvaluatorFinding] = field(default_factory=list)
    agreement: float | None = None
    shared: int = 0  # pairs on a prompt that several people judged
    left: Interval | None = None

    @property
    def ranked(self) -> bool:
        """Pairs with enough votes to say anything link all that are rated; else a rank would be chance."""
        enough = [Judgement(pair.first, pair.second, 0.5, None) for pair in self.records if pair.votes >= FEWEST_VOTES]
        linked = [{name for each in group for name in (each.first, each.second)} for group in connected(enough)]
        rated = {each.name for each in self.ratings}
        return any(rated <= names for names in linked)


def findings(campaign: Campaign, without: frozenset[int] = frozenset()) -> Findings:
    """`without`: evaluators whose votes are left out of everything but their own line."""
    key = _cache_key(campaign, without)
    found = cache.get(key)
    if found is None:
        found = compute(campaign, without)
        cache.set(key, found, KEPT_SECONDS)
    return found  # type: ignore[no-any-return]


def _cache_key(campaign: Campaign, without: frozenset[int]) -> str:
    """Changes with every vote, also one that replaces another, and with a new contender or a revoked evaluator."""
    state = campaign.assignments.judged().aggregate(count=Count("pk"), last=Max("judged_at"))
    revoked = list(campaign.evaluators.exclude(revoked_at=None).values_list("pk", flat=True))
    columns = campaign.matrix.contenders
    seen = [campaign.pk, state["count"], str(state["last"]), sorted(without), revoked, columns, campaign.criteria]
    return "findings-3:" + hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def compute(campaign: Campaign, without: frozenset[int] = frozenset()) -> Findings:
    everything = list(Assignment.objects.votes(campaign))
    votes = [vote for vote in everything if vote.evaluator_id not in without]
    topics = dict(campaign.matrix.prompt_set.prompts.values_list("key", "tags"))
    ballots = _ballots(votes, lambda vote: vote.choice)
    ratings, apart = _ratings(ballots)
    units = _units(votes)
    alike = _alike(campaign, votes)
    return Findings(
        votes=len(votes),
        people=len({vote.evaluator_id for vote in votes}),
        records=pairs(ballots),
        alike=Counter((vote.first, vote.second) for vote in alike),
        alike_ties=Counter((vote.first, vote.second) for vote in alike if vote.choice in (TIE, BOTH_BAD)),
        ratings=ratings,
        apart=apart,
        reasons=_reasons(votes),
        criteria={name: _by_criterion(votes, name) for name in campaign.criteria},
        satisfaction=_satisfaction(votes),
        topics=_by_topic(votes, topics),
        said=_said(votes),
        evaluators=_evaluators(campaign, everything),
        agreement=alpha(units.values()),
        shared=sum(len(said) > 1 for said in units.values()),
        left=position_bias([vote.left_point for vote in votes]),
    )


def _alike(campaign: Campaign, votes: list[Assignment]) -> list[Assignment]:
    """The votes on pairs whose two answers are the same, letter by letter, but for space around them."""
    kept = matrices.answers_of(campaign.matrix).values_list("prompt", "contender", "text", "tool_calls")
    said = {(prompt, contender): (text.strip(), calls) for prompt, contender, text, calls in kept.iterator()}

    def same(vote: Assignment) -> bool:
        first = said.get((vote.prompt, vote.first))
        return first is not None and first == said.get((vote.prompt, vote.second))

    return [vote for vote in votes if same(vote)]


def _ballots(votes: Iterable[Assignment], said: Callable[[Assignment], str]) -> list[Ballot]:
    found = []
    for vote in votes:
        choice = said(vote)
        best = choice if choice in (vote.first, vote.second) else None
        found.append(Ballot((vote.first, vote.second), best, choice == Assignment.Verdict.BOTH_BAD, vote.prompt))
    return found


def _ratings(ballots: list[Ballot]) -> tuple[list[Rating], list[str]]:
    groups = connected(judgements(ballots))
    ratings = rate(groups[0]) if groups else []
    rated = {each.name for each in ratings}
    return ratings, sorted({name for group in groups for each in group for name in (each.first, each.second)} - rated)


def _reasons(votes: list[Assignment]) -> list[tuple[str, int, Counter[str]]]:
    """By reason tag: how often it was ticked, and for whom the vote was then; most often first."""
    won: dict[str, Counter[str]] = defaultdict(Counter)
    for vote in votes:
        for tag in vote.tags:
            won[tag][vote.choice] += 1
    return sorted(
        ((tag, counted.total(), counted) for tag, counted in won.items()), key=lambda each: (-each[1], each[0])
    )


def _by_criterion(votes: list[Assignment], criterion: str) -> list[Pair]:
    judged = [vote for vote in votes if vote.choice_of(criterion)]
    return pairs(_ballots(judged, lambda vote: vote.choice_of(criterion)))


def _satisfaction(votes: list[Assignment]) -> dict[str, Mean]:
    marks: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for vote in votes:
        for name, value in vote.satisfaction_by_contender.items():
            marks[name].append((vote.prompt, value))
    means = ((name, mean(given, *SATISFACTION)) for name, given in marks.items())
    return {name: found for name, found in means if found}


def _by_topic(votes: list[Assignment], topics: dict[str, list[str]]) -> dict[str, list[Pair]]:
    grouped: dict[str, list[Assignment]] = defaultdict(list)
    for vote in votes:
        for topic in topics.get(vote.prompt, []):
            grouped[topic].append(vote)
    return {topic: pairs(_ballots(found, lambda vote: vote.choice)) for topic, found in sorted(grouped.items())}


def _said(votes: list[Assignment]) -> dict[str, dict[tuple[str, str], Counter[str]]]:
    """Of each prompt what was said of each pair: a contender's key, "tie" or "both_bad", and how often."""
    found: dict[str, dict[tuple[str, str], Counter[str]]] = {}
    for vote in votes:
        found.setdefault(vote.prompt, {}).setdefault((vote.first, vote.second), Counter())[vote.choice] += 1
    return found


# ---- people ----

Unit = tuple[str, str, str]  # prompt and pair


def _units(votes: list[Assignment]) -> dict[Unit, dict[int, str]]:
    """What each said of one pair on one prompt. "Both bad" is a judgement of its own."""
    found: dict[Unit, dict[int, str]] = defaultdict(dict)
    for vote in votes:
        found[vote.prompt, vote.first, vote.second][vote.evaluator_id] = vote.choice
    return found


def _evaluators(campaign: Campaign, votes: list[Assignment]) -> list[EvaluatorFinding]:
    """Everybody who voted, most votes first; those with a flag before."""
    own: dict[int, list[Assignment]] = defaultdict(list)
    for vote in votes:
        own[vote.evaluator_id].append(vote)
    again: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for repeat in Assignment.objects.repeats(campaign):
        again[repeat.evaluator_id].append((repeat.repeat_of.choice, repeat.choice))  # type: ignore[union-attr]
    units = _units(votes)
    found = [_evaluator(mine, again[pk], units) for pk, mine in own.items()]
    return sorted(found, key=lambda each: (not each.flags, -each.votes, each.name))


def _evaluator(
    mine: list[Assignment], again: list[tuple[str, str]], units: dict[Unit, dict[int, str]]
) -> EvaluatorFinding:
    who = mine[0].evaluator
    together = [units[vote.prompt, vote.first, vote.second] for vote in mine]
    with_others = [(said[who.pk], other) for said in together for pk, other in said.items() if pk != who.pk]
    seconds = sorted(vote.seconds for vote in mine if vote.seconds is not None)
    return EvaluatorFinding(
        pk=who.pk,
        name=who.name,
        votes=len(mine),
        ties=sum(vote.verdict in ("tie", "both_bad") for vote in mine),
        repeats=len(again),
        same_again=consistency(again),
        agreement=alpha(with_others),
        shared=sum(len(said) > 1 for said in together),
        left=position_bias([vote.left_point for vote in mine]),
        median_seconds=seconds[len(seconds) // 2] if seconds else None,
        revoked=who.revoked_at is not None,
    )
