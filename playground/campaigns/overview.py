"""What the campaign's page shows: contenders, how far each pair and each evaluator is, links, what is missing."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from django.db.models import Count

from accounts.telling_apart import tell_apart
from playground.campaigns import judging, running
from playground.campaigns.models import Assignment, Campaign, Evaluator, Invitation
from playground.matrix import matrices
from playground.matrix.models import Matrix
from playground.matrix.table import Column, columns_of


@dataclass(frozen=True)
class PairProgress:
    first: Column
    second: Column
    votes: int
    wanted: int


@dataclass(frozen=True)
class Failure:
    """A prompt that some contender did not answer."""

    text: str
    who: list[str]


def pairs(campaign: Campaign, found: list[Column]) -> list[PairProgress]:
    """Every two contenders with their votes."""
    votes = Assignment.objects.votes(campaign).order_by().values_list("first", "second").annotate(count=Count("pk"))
    counted: Counter[frozenset[str]] = Counter({frozenset(pair): count for *pair, count in votes})
    return [
        PairProgress(one, other, counted[frozenset((one.key, other.key))], campaign.votes_per_pair)
        for one, other in combinations(found, 2)
    ]


def people(campaign: Campaign) -> list[tuple[Evaluator, judging.Progress, int]]:
    """Who judges, how far they are, and how many of what they did were planted repeats."""
    standing, apart = judging.standing_of(campaign), joined(campaign)
    everybody = list(campaign.evaluators.select_related("user", "invitation", "campaign"))
    for each in everybody:
        each.apart = apart[each.pk]  # type: ignore[attr-defined]
    repeats = Counter(each.evaluator_id for each in Assignment.objects.repeats(campaign))
    return [(each, judging.progress_of(each, standing), repeats[each.pk]) for each in everybody]


def joined(campaign: Campaign) -> dict[int, str]:
    """By evaluator: when they joined, where several gave the same name; else empty."""
    return {each.pk: each.apart.replace("made", "joined", 1) for each in tell_apart(campaign.evaluators.all())}  # type: ignore[attr-defined]


def links(campaign: Campaign) -> Any:
    """Invitations with how many judge by each."""
    return (
        Invitation.objects.filter(campaign=campaign).annotate(people=Count("evaluators")).select_related("created_by")
    )


def failures(campaign: Campaign, found: list[Column], most: int = 20) -> tuple[list[Failure], int]:
    """The first prompts that are or will be left out, and how many there are; none while answers are on their way."""
    if campaign.matrix.state == Matrix.State.ANSWERING:
        return [], 0
    failed = running.failed_prompts(campaign)
    label = {entry.key: entry.label for entry in found}
    prompts = campaign.matrix.prompt_set.prompts.filter(key__in=failed)[:most]
    return [Failure(each.text, [label[key] for key in failed[each.key]]) for each in prompts], len(failed)


def _settle_troubles(campaign: Campaign, found: list[Column], failed: int) -> None:
    """Once nobody is asked any more, what was in the way is told as of then; where all is answered, not at all."""
    if campaign.matrix.state == Matrix.State.ANSWERING:
        return
    for column in found:
        if column.trouble:
            column.trouble = f"When it was last asked: {column.trouble}" if failed else ""


def context(campaign: Campaign) -> dict[str, Any]:
    """Everything on the page."""
    found = columns_of(campaign.matrix)
    shown, count = failures(campaign, found)
    _settle_troubles(campaign, found, count)
    votes = Assignment.objects.votes(campaign).count()
    table = pairs(campaign, found)
    return {
        "campaign": campaign,
        "entries": found,
        "answers": matrices.progress(campaign.matrix),
        "prompts": campaign.matrix.prompt_set.prompts.count(),
        "pairs": table,
        "votes": votes,
        "votes_wanted": campaign.votes_per_pair * len(table),
        "voters": Assignment.objects.votes(campaign).order_by().values("evaluator").distinct().count(),
        "people": (evaluators := people(campaign)),
        "repeats": sum(repeats for _, _, repeats in evaluators),
        "links": links(campaign),
        "failures": shown,
        "failed": count,
    }


def rows(campaigns: Any) -> list[dict[str, Any]]:
    """For the list: each with its votes."""
    found = tell_apart(campaigns)
    judged = Assignment.objects.filter(campaign__in=found, repeat_of=None).judged().order_by()
    votes = dict(judged.values_list("campaign").annotate(Count("pk")))  # joined to the evaluators it takes seconds
    return [
        {
            "campaign": each,
            "votes": votes.get(each.pk, 0),
            "pairs": _pair_count(each),
            "wanted": _pair_count(each) * each.votes_per_pair,
        }
        for each in found
    ]


def _pair_count(campaign: Campaign) -> int:
    many = len(campaign.matrix.columns)
    return many * (many - 1) // 2
