"""Searches for repeats as work on files: which there are, and what each does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from accounts.errors import ApiError
from accounts.models import User
from training import file_tasks, home, texts
from training.disk import disk_errors
from training.file_tasks import Progress
from training.models import DatasetFile, FileTask
from training.repeats import asked, leaks, within

FINDER: Final = 4  # raise it when the finders find otherwise: what was found before is looked for anew


def searchable(file: DatasetFile) -> bool:
    """Rows of JSONL that passed their check and are still there."""
    usable = file.status == DatasetFile.Status.PROCESSED and file.path.is_file()
    return usable and not texts.is_raw_text(file.path, file.filename)


def search(file: DatasetFile, user: User | None = None, again: bool = False) -> FileTask:
    """What repeats within the file. Raises ApiError."""
    _refuse(file)
    return file_tasks.ask(file, "repeats", asked={"finder": FINDER}, user=user, again=again)


def compare(file: DatasetFile, other: DatasetFile, user: User | None = None, again: bool = False) -> FileTask:
    """Which rows of the file stand in the other. Raises ApiError."""
    _refuse(file)
    _refuse(other)
    if file.pk == other.pk:
        raise ApiError("A file cannot be compared with itself; what repeats within it is told above.", param="other")
    size = file.bytes + other.bytes
    return file_tasks.ask(
        file, "leaks", key=other.pk, asked={"finder": FINDER}, other=other, user=user, size=size, again=again
    )


def compare_prompts(
    file: DatasetFile,
    mark: str,
    prompts: Callable[[], list[asked.Asked]],
    user: User | None = None,
    again: bool = False,
) -> FileTask:
    """Which rows of the file ask one of these prompts. They are read only where the file was not compared with them
    before, which `mark`, the same for the same prompts, tells. Raises ApiError."""
    _refuse(file)
    wanted = {"finder": FINDER, "prompts": mark}
    known = file.tasks.filter(kind="prompts", key="").first()
    if known and (known.is_busy or (known.asked == wanted and not again)):
        return known
    told = json.dumps([[each.id, each.ask, each.stands] for each in prompts()])
    path = _prompts_path(file, mark)
    with disk_errors("the list of prompts"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told)
    return file_tasks.ask(file, "prompts", asked=wanted, user=user, again=again)


def _refuse(file: DatasetFile) -> None:
    if not searchable(file):
        text = f"{file.filename} has no rows to compare: it is not there, has problems, or is no JSONL."
        raise ApiError(text, param="file")


# ---- in the worker ----


def find_repeats(task: FileTask, progress: Progress) -> dict[str, Any]:
    return _search(task, lambda work: within.find(task.file.path, work, task.folder, progress))


def find_leaks(task: FileTask, progress: Progress) -> dict[str, Any]:
    other = task.other
    if other is None:
        raise ApiError("The other file is gone.")
    return _search(task, lambda work: leaks.find(task.file.path, other.path, work, task.folder, progress))


def find_prompts(task: FileTask, progress: Progress) -> dict[str, Any]:
    path = _prompts_path(task.file, task.asked["prompts"])
    try:
        read = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ApiError("The list of prompts is gone meanwhile. Look again.") from None
    prompts = [asked.Asked(id_, ask, tuple(stands)) for id_, ask, stands in read]
    done = _search(task, lambda work: asked.find(task.file.path, prompts, task.folder, progress))
    path.unlink(missing_ok=True)
    return done


def _search(task: FileTask, find: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """With a folder for what is needed meanwhile; raises ApiError for a disk that is full."""
    work = task.folder.with_name(f"{task.pk}.work")
    try:
        with disk_errors(f"what the search through {task.file.filename} needs"):
            return find(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _prompts_path(file: DatasetFile, mark: str) -> Path:
    """Where they wait to be looked for."""
    return home.file_folder(file.pk) / "tasks" / f"prompts-{mark}.json"
