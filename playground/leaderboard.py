"""The leaderboard: every contender's rating by the votes of a project, as the page draws it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.cache import cache

from accounts.models import Project
from playground import comparisons, contenders
from playground.sheets import Record
from playground.statistics.pairs import Pair, pairs
from playground.statistics.shares import FEWEST_VOTES
from playground.statistics.strengths import Judgement, Rating, connected, judgements, rate

FEWEST_CONTENDERS = 3  # two are told better by their own record
KEPT_SECONDS = 24 * 3600
DRAWN = 200.0  # width of the drawing
MARGIN = 8.0


@dataclass(frozen=True)
class Place:
    """A contender with its rating on the drawing's scale."""

    rating: Rating
    label: str
    colour: str
    model: str  # its name in the API; empty when it has been deleted
    low: float
    width: float
    at: float

    @property
    def words(self) -> str:
        found = self.rating
        return f"{found.rating:.0f}, 95 % interval {found.low:.0f} to {found.high:.0f}"


@dataclass(frozen=True)
class Leaderboard:
    """Best first. `apart` are contenders that no pair with enough votes links to these."""

    places: list[Place]
    middle: float  # where the mean rating lies on the drawing
    apart: list[str]


def leaderboard(project: Project, *, blind_only: bool = False) -> Leaderboard | None:
    """None while pairs with enough votes link fewer than three contenders: a rank would be chance."""
    ballots = comparisons.ballots(project, blind_only=blind_only)
    everything = judgements(ballots)
    linked = _linked(everything, enough_votes(pairs(ballots)))
    if len(linked) < FEWEST_CONTENDERS:
        return None
    ratings = _rated([each for each in everything if {each.first, each.second} <= linked])
    others = {name for each in everything for name in (each.first, each.second)} - linked
    labels = comparisons.labels(project, others | linked)
    models = {each.name: each.name.partition(" · own ")[0] for each in ratings}
    found = contenders.find(project, models.values())
    named = {
        name: Named(
            labels[name], found[model].colour if model in found else "run-base", model if model in found else ""
        )
        for name, model in models.items()
    }
    return board(ratings, named, sorted(labels[name] for name in others))


def enough_votes(records: Iterable[Pair]) -> list[Pair]:
    return [pair for pair in records if pair.votes >= FEWEST_VOTES]


def _linked(found: list[Judgement], records: list[Pair]) -> set[str]:
    """The contenders that these pairs link; of several such groups the one with the most votes."""
    groups = connected([Judgement(pair.first, pair.second, 0.5, None) for pair in records])
    names = [{name for each in group for name in (each.first, each.second)} for group in groups]

    def votes(linked: set[str]) -> int:
        return sum({each.first, each.second} <= linked for each in found)

    return max(names, key=votes, default=set())


def short_of_votes(records: Iterable[Pair], labels: dict[str, str]) -> list[str]:
    """The pairs that have too few votes: 'A against B (3 of 5)'."""
    return [
        f"{labels.get(pair.first, 'deleted')} against {labels.get(pair.second, 'deleted')} "
        f"({pair.votes} of {FEWEST_VOTES})"
        for pair in records
        if pair.votes < FEWEST_VOTES
    ]


def headline(records: list[Record], found: Leaderboard | None) -> tuple[Record | None, str]:
    """The pair that the page begins with, and what to know of that choice: the two that are rated best, where they met
    often enough; else a pair that did, with the best of all if there is one. `records`: most votes first."""
    most = records[0] if records else None
    if found is None or len(found.places) < 2:
        return most, ""
    first, second = found.places[:2]
    best = {first.rating.name, second.rating.name}
    met = next((each for each in records if {each.pair.first, each.pair.second} == best), None)
    if met and met.pair.votes >= FEWEST_VOTES:
        return met, ""
    enough = [each for each in records if each.pair.votes >= FEWEST_VOTES]
    with_best = [each for each in enough if first.rating.name in (each.pair.first, each.pair.second)]
    votes = met.pair.votes if met else 0
    often = f"met in {votes} {'vote' if votes == 1 else 'votes'} only" if votes else "never met"
    note = f"The two that are rated best, {first.label} and {second.label}, {often}: not enough votes to set them apart"
    return next(iter([*with_best, *enough]), most), f"{note}. Above stands a pair that has enough."


def _rated(found: list[Judgement]) -> list[Rating]:
    """Kept for as long as the votes say the same: the intervals of thousands of votes take most of the page's time."""
    said = json.dumps([[each.first, each.second, each.point, each.prompt] for each in found])
    key = "ratings-1:" + hashlib.sha256(said.encode()).hexdigest()
    ratings: list[Rating] | None = cache.get(key)
    if ratings is None:
        ratings = rate(found)
        cache.set(key, ratings, KEPT_SECONDS)
    return ratings


@dataclass(frozen=True)
class Named:
    """How a contender is shown: its label, the class of its run colour, its name in the API (empty: deleted)."""

    label: str
    colour: str
    model: str


def board(ratings: list[Rating], named: dict[str, Named], apart: list[str]) -> Leaderboard:
    """The drawing of these ratings, of which there is one at least."""
    low, high = min(each.low for each in ratings), max(each.high for each in ratings)
    scale = (DRAWN - 2 * MARGIN) / ((high - low) or 1)

    def drawn(value: float) -> float:
        return round(MARGIN + (value - low) * scale, 1)

    places = [
        Place(
            each,
            named[each.name].label,
            named[each.name].colour,
            named[each.name].model,
            drawn(each.low),
            round((each.high - each.low) * scale, 1),
            drawn(each.rating),
        )
        for each in ratings
    ]
    mean = sum(each.rating for each in ratings) / len(ratings)
    return Leaderboard(places, drawn(mean), apart)
