"""What the search for repeats found, as a page shows it: which searches there are, and a page of what one found."""

from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Q

from dashboard.side_by_side import Turn, compared, said
from playground import held_out
from training import checks, jsonl
from training.models import DatasetFile, FileTask, TrainingJob
from training.repeats import found, work
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


def is_validation(file: DatasetFile) -> bool:
    """Whether it is rather validated with than trained on: by its jobs, else by its name."""
    validates, trains = file.validates.count(), file.trains.count()
    if validates or trains:
        return validates > trains
    return any(word in file.filename.lower() for word in ("valid", "eval", "test", "held"))


# ---- what was found ----


@dataclass(frozen=True)
class Entry:
    """A row beside the one that it is like."""

    line: int
    beside: str  # "line 7", "line 7 of valid.jsonl", the prompt's set
    similarity: float | None
    turns: list[Turn]
    size: int = 2  # of the group
    others: list[tuple[int, float | None]] = field(default_factory=list)  # its other rows: line, similarity
    shown: int = 0  # the line of those that is shown


@dataclass(frozen=True)
class Page:
    kind: Kind
    entries: list[Entry]
    at: int
    earlier: int | None
    later: int | None
    deepest: bool  # there is more, but it is not paged through


def page(task: FileTask, kind: Kind, at: int, at_least: float, row: int = 0) -> Page:
    """`row`: a line that is to be shown beside the first of its group."""
    at = max(0, min(at, DEEPEST - PAGE_ENTRIES))
    read = found.entries(task.folder, kind, at, PAGE_ENTRIES + 1, at_least if kind == "near" else 0.0)
    more = len(read) > PAGE_ENTRIES
    reader = _Reader(task)
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

    def __init__(self, task: FileTask) -> None:
        self.task = task
        self.indexes = {file.pk: checks.read_index(file) for file in (task.file, task.other) if file}

    def entry(self, found: dict[str, Any], row: int) -> Entry:
        if self.task.kind == "repeats":
            return self._group(found, row)
        ours = self._said(self.task.file, found["line"])
        if self.task.other:
            beside = f"line {found['other']:,} of {self.task.other.filename}"
            theirs = self._said(self.task.other, found["other"])
        else:
            beside, theirs = self._prompt(found["other"])
            ours = [turn for turn in ours if turn[0] not in SAID_FIRST][: len(theirs) or None]
        return Entry(found["line"], beside, found["similarity"], compared(ours, theirs))

    def _group(self, found: dict[str, Any], row: int) -> Entry:
        others = found["rows"][1:]
        shown = next((each for each in others if each[0] == row), others[0])
        first, other = (self._said(self.task.file, line) for line in (found["first"], shown[0]))
        listed = [(line, alike) for line, alike in others[:SHOWN_ROWS]]
        return Entry(
            found["first"], f"line {shown[0]:,}", shown[1], compared(first, other), found["size"], listed, shown[0]
        )

    def _said(self, file: DatasetFile, line: int) -> list[tuple[str, str]]:
        rows = jsonl.page(file.path, line, 1, self.indexes[file.pk])
        return said(rows[0][1]) if rows else []

    def _prompt(self, id_: str) -> tuple[str, list[tuple[str, str]]]:
        prompt = held_out.named(self.task.file.project, [id_]).get(id_)
        if prompt is None:
            return "a prompt that was deleted meanwhile", []
        return f"prompt {prompt.position + 1:,} of {prompt.prompt_set.name}", [
            turn for turn in said(prompt.ask) if turn[0] not in SAID_FIRST
        ]


def counts(task: FileTask, at_least: float) -> dict[Kind, dict[str, int]]:
    """Groups or pairs of each kind, and the rows of them that could go."""
    figures = task.figures
    told: dict[Kind, dict[str, int]] = {kind: dict(figures.get(kind, {"groups": 0, "rows": 0})) for kind in KINDS}
    told["near"]["goes"] = len(found.lines_to_drop(task.folder, ["near"], at_least))
    return told
