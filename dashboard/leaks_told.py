"""What searches have found of leaks: of the files of a job's form, and of every file in the list of datasets."""

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Q

from accounts.models import Project, User
from playground import held_out
from playground.held_out import Kept
from training.files import validations
from training.models import DatasetFile, FileTask
from training.repeats import work

COMPARED_AT_ONCE_BYTES: Final = 256 << 10  # both files together: a tenth of a second
NAMED: Final = 3  # places in a sentence


@dataclass(frozen=True)
class Leak:
    """`file` has the tab that shows them, beside `other`."""

    file: DatasetFile
    other: DatasetFile
    exact: int
    near: int

    @property
    def words(self) -> str:
        many = self.exact + self.near
        rows = f"{many:,} row{'' if many == 1 else 's'} of {self.file.filename}"
        kinds = [f"{self.exact:,} exactly"] if self.exact else []
        kinds += [f"{self.near:,} nearly"] if self.near else []
        also = "also stands" if many == 1 else "also stand"
        text = f"{rows} {also} in {self.other.filename} ({' and '.join(kinds)})."
        return f"{text} Validation would look better than the model is."


def leak(asked: dict[str, Any]) -> Leak | None:
    """Of a form's values. Nothing is read but small files; of others what was found before is told."""
    file, other = asked.get("training_file"), asked.get("validation_file")
    if asked.get("validation") != "file" or not file or not other or file.pk == other.pk:
        return None
    task = _known(file, other)
    if task is None and file.bytes + other.bytes <= COMPARED_AT_ONCE_BYTES:
        task = work.compare(file, other) if work.searchable(file) and work.searchable(other) else None
    if task is None or not task.figures or task.other is None:
        return None
    found = Leak(task.file, task.other, task.figures["exact"]["rows"], task.figures["near"]["rows"])
    return found if found.exact + found.near else None


def _known(file: DatasetFile, other: DatasetFile) -> FileTask | None:
    """Whichever of the two was compared with the other."""
    either = Q(file=file, other=other) | Q(file=other, other=file)
    found = FileTask.objects.filter(either, kind="leaks", status=FileTask.Status.DONE).select_related("file", "other")
    return found.first()


# ---- prompts on which models are judged ----


@dataclass(frozen=True)
class Asks:
    """Rows of a file that ask prompts on which models are judged."""

    file: DatasetFile
    exact: int
    near: int
    names: list[str]  # of the places, those with most rows first

    @property
    def words(self) -> str:
        many = self.exact + self.near
        rows = f"{many:,} row{'' if many == 1 else 's'} of {self.file.filename}"
        asks = "asks" if many == 1 else "ask"
        more = f" and {len(self.names) - NAMED} more" if len(self.names) > NAMED else ""
        text = f"{rows} {asks} what models are judged on: {', '.join(self.names[:NAMED])}{more}."
        return f"{text} A model that was trained on it would look better there than it is."


def asks(asked: dict[str, Any]) -> Asks | None:
    """Of a form's values. Nothing is read but small files; of others what was found before is told."""
    file = asked.get("training_file")
    if not file or not work.searchable(file):
        return None
    places = held_out.kept(file.project, file)
    if file.bytes <= COMPARED_AT_ONCE_BYTES and held_out.looked_for(places):
        task: FileTask | None = compare_prompts(file, places)
    else:
        task = file.tasks.filter(kind="prompts", status=FileTask.Status.DONE).first()
    return known_asks(file, task, places)


@dataclass(frozen=True)
class Unsplit:
    """A file that is trained on whole, though rows were held out of it before, on which models are judged."""

    file: DatasetFile
    prompts: int
    names: list[str]

    @property
    def words(self) -> str:
        many = f"{self.prompts:,} prompt{'' if self.prompts == 1 else 's'}"
        more = f" and {len(self.names) - NAMED} more" if len(self.names) > NAMED else ""
        text = f"{self.file.filename} also holds the rows that were split off to validate with. Models are judged on"
        text = f"{text} {many} of them: {', '.join(self.names[:NAMED])}{more}. A model that was trained on these rows"
        return f"{text} would look better there than it is. Train on the other part of the split instead."


def unsplit(asked: dict[str, Any]) -> Unsplit | None:
    """Of a form's values; reads no file. A job that splits the file again holds rows out of it, too."""
    file = asked.get("training_file") if asked.get("validation") != "split" else None
    places = [each for each in held_out.kept(file.project, file) if each.held_out] if file else []
    many = sum(each.prompts for each in places)
    return Unsplit(file, many, [name for each in places for name in names(each)]) if many else None


def known_asks(file: DatasetFile, task: FileTask | None, places: Sequence[Kept]) -> Asks | None:
    """What a search found, in places that are still there."""
    if task is None or not task.figures.get("places"):
        return None
    counted = task.figures["places"]
    there = [each for each in places if each.key in counted and not each.own]
    there.sort(key=lambda each: -sum(counted[each.key].values()))
    exact, near = (  # a row may ask what stands in several places
        min(task.figures[kind]["rows"], sum(counted[each.key].get(kind, 0) for each in there))
        for kind in ("exact", "near")
    )
    return Asks(file, exact, near, [name for each in there for name in names(each)]) if exact + near else None


def names(place: Kept) -> list[str]:
    """What people know it by."""
    if place.campaigns:
        return [f"campaign {campaign.name}" for campaign in place.campaigns]
    words = {
        "set": f"prompt set {place.name}",
        "film": f"prompts pinned to {place.name}",
        "votes": "votes in the playground",
    }
    return [words[place.kind]]


def compare_prompts(
    file: DatasetFile, places: Sequence[Kept], user: User | None = None, again: bool = False
) -> FileTask:
    """Raises ApiError."""
    return work.compare_prompts(
        file, held_out.mark(places), lambda: held_out.prompts(file.project, places), user, again=again
    )


# ---- in a list ----


@dataclass
class Found:
    """What was found of a file, in rows; nothing where nobody has looked."""

    repeats: int = 0
    leaks: int = 0  # a row that stands in two other places is two
    of: str = ""  # the search that shows most of the leaks, as the tab's address says it
    told: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        return "; ".join(self.told)


def found(project: Project, files: Sequence[DatasetFile]) -> dict[str, Found]:
    """By file id, of those in which something was found. Shared rows are a leak where one of the two files is trained
    on and the other is validated with; asking what models are judged on is one of a file that is trained on."""
    tasks = FileTask.objects.filter(
        file__in=files, kind__in=("repeats", "leaks", "prompts"), status=FileTask.Status.DONE, asked__finder=work.FINDER
    ).select_related("file", "other")
    told = [task for task in tasks if _rows(task)]
    if not told:
        return {}
    validates = validations([file for task in told for file in (task.file, task.other) if file])
    places = held_out.keys(project) if any(task.kind == "prompts" for task in told) else set()
    made: defaultdict[str, Found] = defaultdict(Found)
    for task in sorted(told, key=_rows):
        one = made[task.file_id]  # type: ignore[attr-defined]
        rows = _rows(task)
        if task.kind == "repeats":
            one.repeats = rows
            continue
        if task.other and validates[task.file.pk] != validates[task.other.pk]:
            one.told.append(f"{rows:,} also in {task.other.filename}")
        elif not task.other and not validates[task.file.pk] and (rows := _rows_in(task, places)):
            one.told.append(f"{rows:,} asking what models are judged on")
        else:
            continue
        one.leaks, one.of = one.leaks + rows, task.key or "prompts"
    return {pk: one for pk, one in made.items() if one.repeats or one.leaks}


def _rows(task: FileTask) -> int:
    return sum(task.figures.get(kind, {}).get("rows", 0) for kind in ("exact", "near"))


def _rows_in(task: FileTask, places: Container[str]) -> int:
    """Those that ask prompts of places that are still there; a row may ask what stands in several."""
    counted = task.figures.get("places", {})
    return min(_rows(task), sum(sum(kinds.values()) for key, kinds in counted.items() if key in places))
