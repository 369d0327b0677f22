"""The leaderboard: every contender's rating by the votes of a project, as the page draws it."""

from dataclasses import dataclass

from accounts.models import Project
from playground import comparisons, contenders
from playground.statistics.strengths import Rating, connected, judgements, rate

FEWEST_CONTENDERS = 3  # two are told better by their own record
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
    """Best first. `apart` are contenders whose votes do not link them to these."""

    places: list[Place]
    middle: float  # where the mean rating lies on the drawing
    apart: list[str]


def leaderboard(project: Project, *, blind_only: bool = False) -> Leaderboard | None:
    """None while fewer than three contenders are linked by votes."""
    groups = connected(judgements(comparisons.ballots(project, blind_only=blind_only)))
    ratings = rate(groups[0]) if groups else []
    if len(ratings) < FEWEST_CONTENDERS:
        return None
    others = {name for group in groups[1:] for each in group for name in (each.first, each.second)}
    labels = comparisons.labels(project, others | {each.name for each in ratings})
    models = {each.name: each.name.partition(" · own ")[0] for each in ratings}
    found = contenders.find(project, models.values())
    low, high = min(each.low for each in ratings), max(each.high for each in ratings)
    scale = (DRAWN - 2 * MARGIN) / ((high - low) or 1)

    def drawn(value: float) -> float:
        return round(MARGIN + (value - low) * scale, 1)

    places = [
        Place(
            each,
            labels[each.name],
            found[models[each.name]].colour if models[each.name] in found else "run-base",
            models[each.name] if models[each.name] in found else "",
            drawn(each.low),
            round((each.high - each.low) * scale, 1),
            drawn(each.rating),
        )
        for each in ratings
    ]
    mean = sum(each.rating for each in ratings) / len(ratings)
    return Leaderboard(places, drawn(mean), sorted(labels[name] for name in others))
