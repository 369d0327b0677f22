"""Another version of a dataset without the rows that a search found."""

from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, BinaryIO, Final

import numpy as np

from accounts.errors import ApiError
from accounts.models import User
from training import file_tasks, jsonl, versions
from training.file_tasks import Progress
from training.models import DatasetFile, FileTask
from training.repeats.asked import lines_asking
from training.repeats.found import KINDS, Kind, Side, lines_to_drop

SHOWN_LINES: Final = 12
WORDS: Final[dict[Kind, str]] = {"exact": "exact", "near": "near", "prompt": "of the same prompt"}


@dataclass(frozen=True)
class Removal:
    """What is to go: rows of these kinds, near ones from `at_least` on, of the file or of the one it was compared
    with. Of repeats within a file the first of each group stays. `place`: only rows that ask what stands there."""

    kinds: tuple[Kind, ...]
    at_least: float = 0.8
    side: Side = "rows"
    place: str = ""


@dataclass(frozen=True)
class Preview:
    """What a removal would do."""

    file: DatasetFile
    goes: int
    by_kind: dict[str, int]  # a row counts once, by its strongest kind
    lines: list[int]  # the first that go

    @property
    def stays(self) -> int:
        return max(0, self.file.rows - self.goes)


def preview(task: FileTask, removal: Removal) -> Preview:
    lines = _lines(task, removal)
    by_kind, counted = {}, 0
    kinds = [kind for kind in KINDS if kind in removal.kinds]
    for at, kind in enumerate(kinds, start=1):
        so_far = len(_lines(task, replace(removal, kinds=tuple(kinds[:at]))))
        by_kind[kind], counted = so_far - counted, so_far
    return Preview(_target(task, removal), len(lines), by_kind, [int(line) for line in islice(lines, SHOWN_LINES)])


def remove(task: FileTask, removal: Removal, user: User | None = None) -> FileTask:
    """The work that makes the version; its result is {"file": id}. Raises ApiError when there is nothing to remove."""
    if not task.figures:
        raise ApiError("The search is not done yet.", param="task")
    if not len(_lines(task, removal)):
        raise ApiError("There is nothing to remove: no row is of these kinds.", param="kinds")
    asked = {"search": task.pk, "found": task.finished_at.isoformat() if task.finished_at else "", **asdict(removal)}
    asked["kinds"] = list(removal.kinds)
    return file_tasks.ask(_target(task, removal), "remove", key=task.pk, asked=asked, user=user, again=True)


def do(task: FileTask, progress: Progress) -> dict[str, Any]:
    search = FileTask.objects.filter(pk=task.asked["search"], file__project=task.file.project_id).first()
    if search is None or not search.figures:
        raise ApiError("What was found is gone meanwhile. Look for repeats again.")
    wanted = task.asked
    removal = Removal(tuple(wanted["kinds"]), wanted["at_least"], wanted["side"], wanted.get("place", ""))
    goes = _lines(search, removal)

    def write(out: BinaryIO) -> None:
        _without(task.file, goes, out, progress)

    made = versions.new_version(
        task.file,
        kind="deduplicated",
        words=_words(search, removal, len(goes)),
        user=task.created_by,
        write=write,
        removed=len(goes),
    )
    return {"file": made.pk, "removed": len(goes)}


def _without(file: DatasetFile, goes: np.ndarray, out: BinaryIO, progress: Progress) -> None:
    """Every other line as it is."""
    at, done, size = 0, 0, max(1, file.bytes)
    with file.path.open("rb") as source:
        for number, line in jsonl.lines(source):
            while at < len(goes) and goes[at] < number:
                at += 1
            if line is None:
                continue
            done += len(line)
            progress(done / size)
            if at == len(goes) or goes[at] != number:
                out.write(line if line.endswith(b"\n") else line + b"\n")


def _words(search: FileTask, removal: Removal, many: int) -> str:
    kinds = " and ".join(WORDS[kind] for kind in removal.kinds)
    near = f" (alike by {100 * removal.at_least:.0f} % or more)" if "near" in removal.kinds else ""
    rows = f"{many:,} row{'' if many == 1 else 's'}"
    if search.kind == "prompts":
        return f"{rows} that ask a prompt kept for judging removed: {kinds}{near}."
    if search.other is None:
        return f"{rows} that repeat another removed: {kinds}{near}. The first of each group stayed."
    where = search.other if removal.side == "rows" else search.file
    return f"{rows} that stand in {where.filename} removed: {kinds}{near}."


def _target(task: FileTask, removal: Removal) -> DatasetFile:
    return task.other if removal.side == "other" and task.other else task.file


def _lines(task: FileTask, removal: Removal) -> np.ndarray:
    if removal.place:
        return lines_asking(task.folder, removal.kinds, removal.place, removal.at_least)
    return lines_to_drop(task.folder, removal.kinds, removal.at_least, removal.side)
