"""The prompts on which a project judges models, to be looked for in what it trains on: those of its prompt sets, which
campaigns and matrices ask; those pinned to jobs, which each checkpoint answers; messages that people voted on.

What was drawn from rows that are held out of a file is no leak of that file: `Kept.own`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, Literal

from django.db.models import Count, Max

from accounts.models import Project
from playground.campaigns.models import Campaign
from playground.film.models import Film
from playground.matrix.models import Matrix, Prompt, PromptSet
from playground.models import Turn, Vote
from training.files import is_validation, offspring
from training.models import DatasetFile
from training.repeats.asked import Asked, merged
from training.rules import Row

MOST: Final = 20_000  # prompts that are looked for: pinned ones, then the newest sets
VOTES: Final = "votes"
HELD_OUT: Final = "held out of this file in "
Kind = Literal["set", "film", "votes"]


@dataclass(frozen=True)
class Kept:
    """A place where prompts stand. `key` never changes, `mark` changes with the prompts."""

    key: str  # "set:ID", "film:JOB", "votes"
    mark: str
    kind: Kind
    id: str  # of the set or the job
    name: str
    prompts: int
    campaigns: tuple[Campaign, ...] = ()
    matrices: tuple[Matrix, ...] = ()
    from_this_file: bool = False
    own: str = ""  # why these are not looked for in this file

    @property
    def held_out(self) -> bool:
        """Of rows that stand in this file and were held out of what was to be trained on."""
        return self.own.startswith(HELD_OUT)


def kept(project: Project, file: DatasetFile) -> list[Kept]:
    """All places, as seen from a file of the project; a few queries."""
    made_of_it = offspring(file)
    return [*_films(project, file, made_of_it), *_sets(project, file, made_of_it), *_votes(project, file)]


def keys(project: Project) -> set[str]:
    """Of all places that there are; two queries, whatever stands in them."""
    sets = PromptSet.objects.of(project).values_list("pk", flat=True)
    jobs = Film.objects.filter(job__project=project, job__archived_at=None).values_list("job", flat=True)
    return {VOTES, *(f"set:{pk}" for pk in sets), *(f"film:{pk}" for pk in jobs)}


def looked_for(places: Iterable[Kept]) -> list[Kept]:
    return [each for each in places if not each.own]


def mark(places: Iterable[Kept]) -> str:
    """The same for the same prompts."""
    told = json.dumps(sorted(f"{each.key} {each.mark}" for each in looked_for(places)))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def prompts(project: Project, places: Iterable[Kept]) -> list[Asked]:
    """What stands there, each prompt once; the first MOST of them."""
    wanted = looked_for(places)
    asks = chain(
        _asks_of_films(project, [each.id for each in wanted if each.kind == "film"]),
        _asks_of_sets(project, [each.id for each in wanted if each.kind == "set"]),
        _asks_of_votes(project) if any(each.kind == "votes" for each in wanted) else (),
    )
    return merged(islice(asks, MOST))


# ---- prompt sets ----


def _sets(project: Project, file: DatasetFile, made_of_it: set[str]) -> list[Kept]:
    found = PromptSet.objects.of(project).annotate(many=Count("prompts")).prefetch_related("matrices__campaigns")
    drawn = {each.source.get("file") for each in found if each.source.get("kind") == "file"}
    sources = DatasetFile.objects.of(project).in_bulk([each for each in drawn if each])
    own = {pk: _own(source, file, made_of_it) for pk, source in sources.items()}
    places = []
    for each in found:
        source = sources.get(each.source.get("file", ""))
        matrices = tuple(each.matrices.all())
        places.append(
            Kept(
                f"set:{each.pk}",
                "",  # sets never change
                "set",
                each.pk,
                each.name,
                each.many,  # type: ignore[attr-defined]
                tuple(campaign for matrix in matrices for campaign in matrix.campaigns.all()),  # type: ignore[attr-defined]
                tuple(matrix for matrix in matrices if not matrix.campaigns.all()),  # type: ignore[attr-defined]
                source is not None and source.family == file.family,
                own.get(source.pk, "") if source else "",
            )
        )
    return places


def _own(source: DatasetFile, file: DatasetFile, made_of_it: set[str]) -> str:
    """Why prompts drawn from `source` are none that `file` could leak."""
    held_out = source.family in made_of_it and is_validation(source)
    return f"{HELD_OUT}{source.filename}" if held_out else ""


def _asks_of_sets(project: Project, ids: list[str]) -> Iterator[tuple[Row, str]]:
    found = Prompt.objects.filter(prompt_set__project=project, prompt_set__in=ids)
    found = found.order_by("-prompt_set__created_at", "prompt_set", "position").only("ask", "prompt_set", "position")
    for prompt in found[:MOST]:
        yield prompt.ask, f"set:{prompt.prompt_set_id}/{prompt.position + 1}"  # type: ignore[attr-defined]


# ---- pinned to jobs ----


def _films(project: Project, file: DatasetFile, made_of_it: set[str]) -> list[Kept]:
    found = Film.objects.filter(job__project=project, job__archived_at=None).exclude(prompts=[])
    related = ("job__base_model", "job__training_file", "job__validation_file")
    places = []
    for film in found.select_related(*related).order_by("-job__created_at"):
        source = film.job.validation_file
        told = json.dumps(film.prompts, sort_keys=True)
        places.append(
            Kept(
                f"film:{film.job_id}",
                hashlib.sha256(told.encode()).hexdigest()[:16],
                "film",
                film.job_id,
                film.job.display_name,
                len(film.prompts),
                own=_own_pinned(source, file, made_of_it) if source else "",
            )
        )
    return places


def _own_pinned(source: DatasetFile, file: DatasetFile, made_of_it: set[str]) -> str:
    """As `_own`; what a job validates with is validated with, whatever it is called."""
    if source.family == file.family:
        return "from this file, which its job validates with"
    return f"{HELD_OUT}{source.filename}" if source.family in made_of_it else ""


def _asks_of_films(project: Project, jobs: list[str]) -> Iterator[tuple[Row, str]]:
    found = Film.objects.filter(job__project=project, job__in=jobs).order_by("-job__created_at")
    for job, pinned in found.values_list("job", "prompts"):
        for number, each in enumerate(pinned, start=1):
            yield each["ask"], f"film:{job}/{number}"


# ---- voted on ----


def _votes(project: Project, file: DatasetFile) -> list[Kept]:
    many, newest = _voted(project).aggregate(many=Count("pk"), newest=Max("pk")).values()
    if not many:
        return []
    made_of_them = DatasetFile.objects.of_family(file).filter(origin__kind="votes").exists()
    own = "this file was made of them" if made_of_them else ""
    return [Kept(VOTES, f"{many} {newest}", "votes", "", "Votes in the playground", many, own=own)]


def _voted(project: Project) -> Any:
    """The messages that began a comparison and were judged: what follows depends on the answers."""
    return Turn.objects.filter(
        comparison__project=project, position=0, pk__in=Vote.objects.filter(project=project).values("turn")
    )


def _asks_of_votes(project: Project) -> Iterator[tuple[Row, str]]:
    for comparison, prompt in _voted(project).order_by("-pk").values_list("comparison", "prompt")[:MOST]:
        yield {"messages": [{"role": "user", "content": prompt}]}, f"{VOTES}/{comparison}"
