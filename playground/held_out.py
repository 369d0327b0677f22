"""The prompts that a project keeps for judging, to be looked for in what it trains on: those of its prompt sets, which
campaigns and matrices ask."""

from dataclasses import dataclass
from typing import Final

from django.db.models import Count

from accounts.models import Project
from playground.matrix.models import Prompt, PromptSet
from training.models import DatasetFile
from training.repeats.asked import Asked
from training.repeats.words import asked_text

MOST: Final = 20_000  # prompts that are looked for; the newest sets first


@dataclass(frozen=True)
class Kept:
    """A set and which of its prompts are looked for; `campaigns` ask it."""

    set: PromptSet
    prompts: int
    campaigns: int
    from_this_file: bool


def prompts(project: Project) -> list[Asked]:
    """Each under its row's id."""
    found = Prompt.objects.filter(prompt_set__project=project).order_by("-prompt_set__created_at", "prompt_set", "pk")
    return [Asked(str(prompt.pk), asked_text(prompt.ask)) for prompt in found.only("ask")[:MOST]]


def set_ids(project: Project) -> list[str]:
    """Of all sets: they never change, so neither do the prompts while these are the same."""
    return [str(pk) for pk in PromptSet.objects.of(project).order_by("pk").values_list("pk", flat=True)]


def sets(project: Project, file: DatasetFile) -> list[Kept]:
    found = PromptSet.objects.of(project).annotate(
        many=Count("prompts", distinct=True), campaigns=Count("matrices__campaigns", distinct=True)
    )
    return [
        Kept(each, each.many, each.campaigns, each.source.get("file") == file.pk)  # type: ignore[attr-defined]
        for each in found
    ]


def named(project: Project, ids: list[str]) -> dict[str, Prompt]:
    """Prompts of the project by their ids as texts, each with its set; those deleted meanwhile are missing."""
    wanted = [int(each) for each in ids if each.isdecimal()]
    found = Prompt.objects.filter(prompt_set__project=project, pk__in=wanted).select_related("prompt_set")
    return {str(prompt.pk): prompt for prompt in found}
