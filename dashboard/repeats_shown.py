"""What the search for repeats found, as a page shows it: which searches there are, and a page of what one found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Q

from dashboard.side_by_side import Turn, compared, said
from playground.held_out import Kept
from training import checks, jsonl
from training.models import DatasetFile, FileTask, TrainingJob
from training.repeats import asked, found, work
from training.repeats.found import KINDS, Kind
from training.repeats.words import SAID_FIRST

PAGE_ENTRIES: Final = 8
DEEPEST: Final = 2_000  # entries of a kind that can be paged through; the download holds all
MOST_OTHERS: Final = 12  # files that are offered first
SHOWN_ROWS: Final = 12  # of a group, to choose what is shown beside its first
KIND_WORDS: Final[dict[Kind, str]] = {
    "exact": "Exact copies",
    "near": "Near-duplicates",
    "prompt": "Same prompt, other answer",
}
LEVELS: Final = (80, 85, 90, 95, 98)  # per cent


# ---- which files ----


def related(file: DatasetFile) -> list[DatasetFile]:
    """Files that are likely to share rows with it and must not: those a job used together with it, the other part of
    its split, the other part of its sample task. The likeliest first."""
    family = DatasetFile.objects.of_family(file).values_list("pk", flat=True)
    jobs = TrainingJob.objects.of(file.project).filter(Q(training_file__in=family) | Q(validation_file__in=family))
    ids: list[str | None] = []
    for pair in jobs.order_by("-created_at").values_list("training_file", "validation_file")[:100]:
        ids += pair
    known = Q(pk__in=[each for each in ids if each])
    if file.parent_id and file.version == 1:
        known |= Q(parent=file.parent_id, version=1)
    if file.sample_task:
        known |= Q(sample_task=file.sample_task)
    files = DatasetFile.objects.of(file.project).usable().filter(known).exclude(family=file.family)
    place = {each: at for at, each in reversed(list(enumerate(ids)))}
    ordered = sorted(files, key=lambda each: (place.get(each.pk, len(ids)), each.filename))
    return [each for each in ordered if work.searchable(each)][:MOST_OTHERS]


# ---- what was found ----


@dataclass(frozen=True)
class Stand:
    """One place where a prompt stands; `place` is None for one that is gone meanwhile."""

    words: str
    place: Kept | None
    comparison: str = ""  # its id, where the prompt was voted on


@dataclass(frozen=True)
class Entry:
    """A row beside the one that it is like."""

    line: int
    beside: str  # "line 7", "line 7 of valid.jsonl"; empty for a prompt
    similarity: float | None
    turns: list[Turn]
    size: int = 2  # of the group
    others: list[tuple[int, float | None]] = field(default_factory=list)  # its other rows: line, similarity
    shown: int = 0  # the line of those that is shown
    stands: list[Stand] = field(default_factory=list)  # of a prompt


@dataclass(frozen=True)
class Page:
    kind: Kind
    entries: list[Entry]
    at: int
    earlier: int | None
    later: int | None
    deepest: bool  # there is more, but it is not paged through


def page(
    task: FileTask, kind: Kind, at: int, at_least: float, row: int = 0, places: Sequence[Kept] = (), place: str = ""
) -> Page:
    """`row`: a line that is to be shown beside the first of its group; `places`: where prompts stand, to be named;
    `place`: only prompts that stand there."""
    at = max(0, min(at, DEEPEST - PAGE_ENTRIES))
    others = asked.standing(task.folder, place) if place else None
    at_least = at_least if kind == "near" else 0.0
    read = found.entries(task.folder, kind, at, PAGE_ENTRIES + 1, at_least, others)
    more = len(read) > PAGE_ENTRIES
    reader = _Reader(task, places)
    later = at + PAGE_ENTRIES
    return Page(
        kind,
        [reader.entry(each, row) for each in read[:PAGE_ENTRIES]],
        at,
        max(0, at - PAGE_ENTRIES) if at else None,
        later if more and later < DEEPEST else None,
        more and later >= DEEPEST,
    )


class _Reader:
    """Reads single rows of the file of a search and of what it was compared with."""

    def __init__(self, task: FileTask, places: Sequence[Kept]) -> None:
        self.task = task
        self.indexes = {file.pk: checks.read_index(file) for file in (task.file, task.other) if file}
        self.prompts = asked.told(task.folder) if task.kind == "prompts" else {}
        self.places = {each.key: each for each in places}

    def entry(self, found: dict[str, Any], row: int) -> Entry:
        if self.task.kind == "repeats":
            return self._group(found, row)
        ours = self._said(self.task.file, found["line"])
        if self.task.other:
            beside = f"line {found['other']:,} of {self.task.other.filename}"
            theirs = self._said(self.task.other, found["other"])
            return Entry(found["line"], beside, found["similarity"], compared(ours, theirs))
        prompt = self.prompts.get(found["other"], {"ask": None, "stands": []})
        theirs = [turn for turn in said(prompt["ask"]) if turn[0] not in SAID_FIRST]
        ours = [turn for turn in ours if turn[0] not in SAID_FIRST][: len(theirs) or None]
        stands = [stand(each, self.places) for each in prompt["stands"]]
        return Entry(found["line"], "", found["similarity"], compared(ours, theirs), stands=stands)

    def _group(self, found: dict[str, Any], row: int) -> Entry:
        others = found["rows"][1:]
        shown = next((each for each in others if each[0] == row), max(others, key=lambda each: each[1] or 0.0))
        first, other = (self._said(self.task.file, line) for line in (found["first"], shown[0]))
        listed = [(line, alike) for line, alike in others[:SHOWN_ROWS]]
        beside, turns = f"line {shown[0]:,}", compared(first, other)
        return Entry(found["first"], beside, shown[1], turns, found["size"], listed, shown[0])

    def _said(self, file: DatasetFile, line: int) -> list[tuple[str, str]]:
        rows = jsonl.page(file.path, line, 1, self.indexes[file.pk])
        return said(rows[0][1]) if rows else []


def stand(stands: str, places: Mapping[str, Kept]) -> Stand:
    """Of "PLACE/WHICH" as training.repeats.asked keeps it."""
    key, _, which = stands.partition("/")
    place = places.get(key)
    if place is None:
        return Stand("a prompt that is kept no more", None)
    if place.kind == "votes":
        return Stand("a message voted on in the playground", place, which)
    word = "pinned prompt" if place.kind == "film" else "prompt"
    return Stand(f"{word} {which} of {place.name}", place)


@dataclass(frozen=True)
class Held:
    """A place where prompts stand, and how many rows ask one of them."""

    place: Kept
    exact: int
    near: int

    @property
    def rows(self) -> int:
        return self.exact + self.near


def held(task: FileTask | None, places: Sequence[Kept]) -> list[Held]:
    """What was looked for, most rows first."""
    counted = task.figures.get("places", {}) if task else {}
    looked = [each for each in places if not each.own]
    told = [
        Held(each, counted.get(each.key, {}).get("exact", 0), counted.get(each.key, {}).get("near", 0))
        for each in looked
    ]
    return sorted(told, key=lambda each: -each.rows)


def counts(task: FileTask, at_least: float, place: str = "") -> dict[Kind, dict[str, int]]:
    """Groups or pairs of each kind, and the rows of them that could go; `place`: of prompts that stand there."""
    figures = task.figures
    told: dict[Kind, dict[str, int]] = {kind: dict(figures.get(kind, {"groups": 0, "rows": 0})) for kind in KINDS}
    if place:
        in_place = figures.get("places", {}).get(place, {})
        told = {kind: {"groups": in_place.get(kind, 0), "rows": in_place.get(kind, 0)} for kind in KINDS}
        told["near"]["goes"] = len(asked.lines_asking(task.folder, ["near"], place, at_least))
    else:
        told["near"]["goes"] = len(found.lines_to_drop(task.folder, ["near"], at_least))
    return told
