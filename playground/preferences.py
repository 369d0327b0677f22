"""Votes become preference pairs: what people chose over what, in OpenAI's preference format, to train on (DPO).

Only first messages count: later in a conversation every column has answers of its own behind it, so that two answers no
longer belong to one input. The same two answers to the same input are one pair, however often they were judged; it is
kept when enough of its votes agree.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from accounts.models import Project, User
from playground.models import Comparison, Response, Vote
from training import files
from training.models import Checkpoint, DatasetFile


class Filters(BaseModel):
    """Which votes count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blind_only: bool = False
    voter: int | None = None  # a user's id
    model: str = ""  # one of the two answers is by this model
    agreement: Annotated[float, Field(ge=0.5, le=1)] = 0.5  # more than half, or at least this share of a pair's points


@dataclass(frozen=True)
class Preference:
    """One pair: `preferred` is by one of `models[0]`, `other` by one of `models[1]`."""

    system: str
    prompt: str
    preferred: str
    other: str
    votes: int
    share: float  # of the points of its votes, for the preferred one; a tie is half a point
    models: tuple[str, str]
    comparison: Comparison  # the first one it was judged in
    checkpoint_id: str | None = None  # that gave the preferred answer

    def row(self) -> dict[str, Any]:
        """As a line of the file."""
        asked = [{"role": "user", "content": self.prompt}]
        if self.system.strip():
            asked.insert(0, {"role": "system", "content": self.system})
        return {
            "input": {"messages": asked},
            "preferred_output": [{"role": "assistant", "content": self.preferred}],
            "non_preferred_output": [{"role": "assistant", "content": self.other}],
        }


@dataclass
class Gathered:
    """The pairs, and what became of the votes that are in none."""

    pairs: list[Preference]
    votes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # reason in words -> judgements

    @property
    def preferred_models(self) -> list[tuple[str, int]]:
        """Whose answers were preferred, most often first."""
        return Counter(pair.models[0] for pair in self.pairs).most_common()

    def content(self) -> bytes:
        return "".join(json.dumps(pair.row(), ensure_ascii=False) + "\n" for pair in self.pairs).encode()


LATER = "on a later message of a conversation, where each answer has another history"
UNEQUAL = "between columns with system prompts of their own"
TIED = "a tie, or too little agreement"
ALIKE = "on two answers that are the same, or empty"

Key = tuple[str, str, str, str]  # system prompt, message, and the two answers in alphabetical order


def gather(project: Project, filters: Filters) -> Gathered:
    """All pairs that pass the filters, in the order of their first vote."""
    found = Gathered([])
    points: dict[Key, list[float]] = defaultdict(list)  # of the alphabetically first answer
    sides: dict[Key, dict[str, Response]] = {}
    for vote in _votes(project, filters):
        found.votes += 1
        if vote.turn.position:
            found.left_out[LATER] += 1
            continue
        for first, second, point in _judged(vote, filters, found.left_out):
            texts = tuple(sorted((first.text, second.text)))
            key: Key = (vote.turn.comparison.system_prompt, vote.turn.prompt, texts[0], texts[1])
            points[key].append(point if first.text == texts[0] else 1 - point)
            sides.setdefault(key, {first.text: first, second.text: second})
    for key, given in points.items():
        pair = _decided(key, given, sides[key], filters.agreement)
        if pair:
            found.pairs.append(pair)
        else:
            found.left_out[TIED] += len(given)
    return found


def _votes(project: Project, filters: Filters) -> Iterable[Vote]:
    votes = Vote.objects.filter(project=project).order_by("created_at", "pk")
    if filters.blind_only:
        votes = votes.filter(blind=True)
    if filters.voter is not None:
        votes = votes.filter(voter=filters.voter)
    return votes.select_related("turn__comparison").prefetch_related("turn__responses__turn__comparison")


def _judged(vote: Vote, filters: Filters, left_out: Counter[str]) -> Iterable[tuple[Response, Response, float]]:
    """The pairs of answers that the vote says something about: (better or tied, other, point of the first)."""
    columns = vote.turn.comparison.columns
    answers = list(vote.turn.responses.all())
    best = next((answer for answer in answers if answer.pk == vote.best_id), None)
    if best is None:
        ties = [(one, other) for index, one in enumerate(answers) for other in answers[index + 1 :]]
        # half a point each: it counts against what others decided on the same two answers
        yield from ((one, other, 0.5) for one, other in ties if _comparable(one, other, columns, filters))
        return
    for other in answers:
        if other.pk == best.pk or (filters.model and filters.model not in (best.model, other.model)):
            continue
        if not best.text.strip() or not other.text.strip() or best.text == other.text:
            left_out[ALIKE] += 1
        elif not _same_prompt(best, other, columns):
            left_out[UNEQUAL] += 1
        else:
            yield best, other, 1.0


def _comparable(one: Response, other: Response, columns: list[dict[str, Any]], filters: Filters) -> bool:
    named = not filters.model or filters.model in (one.model, other.model)
    return named and one.text != other.text and _same_prompt(one, other, columns)


def _same_prompt(one: Response, other: Response, columns: list[dict[str, Any]]) -> bool:
    return not any("system" in columns[answer.column] for answer in (one, other))


def _decided(key: Key, points: list[float], sides: dict[str, Response], agreement: float) -> Preference | None:
    system, prompt, first, second = key
    share = sum(points) / len(points)
    if share < 0.5:
        first, second, share = second, first, 1 - share
    if share == 0.5 or share < agreement:
        return None
    better, other = sides[first], sides[second]
    models = (better.model, other.model)
    comparison = better.turn.comparison
    return Preference(system, prompt, first, second, len(points), share, models, comparison, better.checkpoint_id)


def make_file(project: Project, user: User, name: str, filters: Filters, gathered: Gathered) -> DatasetFile:
    """The dataset, which remembers what it was made of. Raises ApiError."""
    file = files.create_file(project, user, name, "fine-tune", gathered.content())
    file.origin = {
        "kind": "votes",
        "filters": filters.model_dump(),
        "votes": gathered.votes,
        "pairs": len(gathered.pairs),
        "preferred_models": gathered.preferred_models,
    }
    file.save(update_fields=["origin"])
    return file


def start_for(project: Project, gathered: Gathered) -> Checkpoint | None:
    """The checkpoint to train on from: the one whose answers were preferred most often. None: only base models were."""
    wins = Counter(pair.checkpoint_id for pair in gathered.pairs if pair.checkpoint_id)
    ranked = [pk for pk, _ in wins.most_common()]
    present = {checkpoint.pk: checkpoint for checkpoint in Checkpoint.objects.of(project).filter(pk__in=ranked)}
    return next((present[pk] for pk in ranked if pk in present), None)
