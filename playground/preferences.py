"""Votes become preference pairs: what people chose over what, in OpenAI's preference format, to train on (DPO).

Only first messages count: later in a conversation every column has answers of its own behind it, so that two answers no
longer belong to one input. The same two answers to the same input are one pair, however often they were judged; it is
kept when enough of its votes agree.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from accounts.models import Project, User
from playground import judged_pairs
from playground.campaigns.models import Assignment, Campaign
from playground.edits.models import EditedAnswer
from playground.judged_pairs import Judged
from playground.models import Comparison, Vote
from training import files
from training.models import Checkpoint, DatasetFile


class Filters(BaseModel):
    """Which votes count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    blind_only: bool = False
    edits: bool = True  # answers that somebody edited, over the original; none of them is blind
    voter: int | None = None  # a user's id
    model: str = ""  # one of the two answers is by this model
    agreement: Annotated[float, Field(ge=0.5, le=1)] = 0.5  # more than half, or at least this share of a pair's points
    least_votes: Annotated[int, Field(ge=1)] = 1  # on a pair
    campaign: str = ""  # its id; PLAYGROUND: no campaign's votes; empty: all
    evaluator: int | None = None  # of a campaign
    without: tuple[int, ...] = ()  # evaluators of campaigns whose votes are left out


@dataclass(frozen=True)
class Preference:
    """One pair: `preferred` is by one of `models[0]`, `other` by one of `models[1]`."""

    asked: dict[str, Any]  # {"messages", "tools"?}
    preferred: str
    other: str
    votes: int
    share: float  # of the points of its votes, for the preferred one; a tie is half a point
    models: tuple[str, str]
    source: Comparison | Campaign  # where it was judged first
    checkpoint_id: str | None = None  # that gave the preferred answer
    edited_by: str = ""  # who changed its answer into the preferred one

    @property
    def turns(self) -> list[dict[str, str]]:
        """What was asked, for people."""
        return [{"role": each["role"], "text": str(each.get("content") or "")} for each in self.asked["messages"]]

    def row(self) -> dict[str, Any]:
        """As a line of the file."""
        return {
            "input": self.asked,
            "preferred_output": [{"role": "assistant", "content": self.preferred}],
            "non_preferred_output": [{"role": "assistant", "content": self.other}],
        }


@dataclass
class Gathered:
    """The pairs, and what became of the votes that are in none."""

    pairs: list[Preference]
    votes: int = 0
    edits: int = 0  # edited answers
    left_out: Counter[str] = field(default_factory=Counter)  # reason in words -> judgements

    @property
    def preferred_models(self) -> list[tuple[str, int]]:
        """Whose answers were preferred, most often first."""
        return Counter(pair.models[0] for pair in self.pairs if not pair.edited_by).most_common()

    @property
    def in_pairs(self) -> int:
        """Judgements of two answers that went into the pairs."""
        return sum(pair.votes for pair in self.pairs)

    @property
    def merged(self) -> int:
        """Of these: those that said something of two answers of which another had."""
        return self.in_pairs - len(self.pairs)

    @property
    def judgements(self) -> int:
        """What people said of two answers: a vote among more than two columns says several things."""
        return self.in_pairs + self.left

    @property
    def left(self) -> int:
        """Judgements that are in no pair."""
        return self.left_out.total()

    def content(self) -> bytes:
        return "".join(json.dumps(pair.row(), ensure_ascii=False) + "\n" for pair in self.pairs).encode()


TIED = "a tie, or too little agreement"
PLAYGROUND = "playground"

Key = tuple[str, str, str]  # what was asked, and the two answers in alphabetical order


def gather(project: Project, filters: Filters) -> Gathered:
    """All pairs that pass the filters, in the order of their first vote; the playground's before the campaigns'."""
    found = Gathered([])
    points: dict[Key, list[float]] = defaultdict(list)  # of the alphabetically first answer
    firsts: dict[Key, Judged] = {}
    for judged in _judged(project, filters, found):
        texts = sorted((judged.first.text, judged.second.text))
        key: Key = (judged.key, texts[0], texts[1])
        points[key].append(judged.point if judged.first.text == texts[0] else 1 - judged.point)
        firsts.setdefault(key, judged)
    for key, given in points.items():
        pair = _decided(key, given, firsts[key], filters)
        if pair:
            found.pairs.append(pair)
        else:
            found.left_out[TIED] += len(given)
    return found


def _judged(project: Project, filters: Filters, found: Gathered) -> Iterator[Judged]:
    if filters.campaign in ("", PLAYGROUND) and filters.evaluator is None:
        votes = list(_votes(project, filters))
        found.votes += len(votes)
        yield from judged_pairs.of_votes(votes, filters.model, found.left_out)
        edits = list(_edits(project, filters)) if filters.edits and not filters.blind_only else []
        found.edits += len(edits)
        yield from judged_pairs.of_edits(edits, filters.model, found.left_out)
    if filters.campaign != PLAYGROUND:
        said = list(_assignments(project, filters))
        found.votes += len(said)
        yield from judged_pairs.of_campaigns(project, said, filters.model, found.left_out)


def _votes(project: Project, filters: Filters) -> Iterable[Vote]:
    votes = Vote.objects.filter(project=project).order_by("created_at", "pk")
    if filters.blind_only:
        votes = votes.filter(blind=True)
    if filters.voter is not None:
        votes = votes.filter(voter=filters.voter)
    return votes.select_related("turn__comparison").prefetch_related("turn__responses")


def _edits(project: Project, filters: Filters) -> Iterable[EditedAnswer]:
    edits = EditedAnswer.objects.of(project)
    if filters.voter is not None:
        edits = edits.filter(editor=filters.voter)
    return edits.select_related("editor", "response__turn__comparison")


def _assignments(project: Project, filters: Filters) -> Iterable[Assignment]:
    """All of campaigns are blind. Repeats only measure the evaluator."""
    votes = Assignment.objects.filter(campaign__project=project, repeat_of=None).judged()
    if filters.campaign:
        votes = votes.filter(campaign=filters.campaign)
    if filters.evaluator is not None:
        votes = votes.filter(evaluator=filters.evaluator)
    if filters.without:
        votes = votes.exclude(evaluator__in=filters.without)
    if filters.voter is not None:
        votes = votes.filter(evaluator__user=filters.voter)
    return votes.select_related("campaign__matrix__prompt_set").order_by("campaign", "judged_at", "pk")


def _decided(key: Key, points: list[float], judged: Judged, filters: Filters) -> Preference | None:
    _, first, second = key
    share = sum(points) / len(points)
    if share < 0.5:
        first, second, share = second, first, 1 - share
    if share == 0.5 or share < filters.agreement or len(points) < filters.least_votes:
        return None
    better, other = judged.first, judged.second
    if better.text != first:
        better, other = other, better
    models = (better.model, other.model)
    return Preference(
        judged.asked, first, second, len(points), share, models, judged.source, better.checkpoint_id, better.edited_by
    )


def make_file(project: Project, user: User, name: str, filters: Filters, gathered: Gathered) -> DatasetFile:
    """The dataset, which remembers what it was made of. Raises ApiError."""
    file = files.create_file(project, user, name, "fine-tune", gathered.content())
    file.origin = {
        "kind": "votes",
        "filters": filters.model_dump(),
        "votes": gathered.votes,
        "edits": gathered.edits,
        "edited_by": sorted({pair.edited_by for pair in gathered.pairs if pair.edited_by}),
        "pairs": len(gathered.pairs),
        "preferred_models": gathered.preferred_models,
        "campaigns": {pair.source.pk: pair.source.name for pair in gathered.pairs if isinstance(pair.source, Campaign)},
    }
    file.save(update_fields=["origin"])
    return file


def start_for(project: Project, gathered: Gathered) -> Checkpoint | None:
    """The checkpoint to train on from: the one whose answers were preferred most often. None: only base models were."""
    wins = Counter(pair.checkpoint_id for pair in gathered.pairs if pair.checkpoint_id)
    ranked = [pk for pk, _ in wins.most_common()]
    present = {checkpoint.pk: checkpoint for checkpoint in Checkpoint.objects.of(project).filter(pk__in=ranked)}
    return next((present[pk] for pk in ranked if pk in present), None)
