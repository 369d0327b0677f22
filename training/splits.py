"""One file becomes two, to train on and to validate with. Which rows go where: splitting.py."""

import shutil
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any, Final

from accounts.errors import ApiError
from accounts.models import User
from training import file_tasks, home, jsonl, splitting, texts
from training.disk import disk_errors, sha256_of
from training.file_tasks import Progress
from training.files import arrived, clean_name
from training.models import DatasetFile, FileTask
from training.quotas import limits
from training.splitting import CannotSplit, Chosen, Plan

Status = DatasetFile.Status

AT_ONCE_BYTES: Final = 4 << 20  # as checks.CHECKED_AT_ONCE_BYTES; near-duplicates take longer
SHOWN_STRATA: Final = 50


def split(
    file: DatasetFile,
    *,
    share: float | None = None,
    count: int | None = None,
    seed: int = 0,
    stratify: str = "",
    group: str = "",
    user: User | None = None,
    progress: Progress | None = None,
) -> tuple[DatasetFile, DatasetFile]:
    """Two files, training and validation; the file itself stays. The seed decides which row goes where; `stratify` and
    `group` as in splitting.Plan. Raises ApiError.

    The same split made before is found again, so that reruns do not fill the list with twins.
    """
    plan = planned(file, share=share, count=count, seed=seed, stratify=stratify, group=group)
    limits.refuse_bytes(file.project, file.bytes, f"{file.filename} was not split")  # the parts together hold as much
    stem = PurePath(file.filename).stem
    pair = [
        DatasetFile(
            project=file.project,
            created_by=user,
            filename=clean_name(f"{stem}-{part}.jsonl"),
            parent=file,
            status=Status.UPLOADING,
            origin={"kind": "split", "words": words(file, plan, part), **asdict(plan)},
        )
        for part in ("train", "valid")
    ]
    try:
        with disk_errors(file.filename):
            for part in pair:
                home.file_folder(part.id).mkdir(parents=True, exist_ok=True)
            train, valid = (part.part_path for part in pair)
            _write(file, plan, train, valid, progress)
            for part in pair:
                part.bytes, part.sha256 = part.part_path.stat().st_size, sha256_of(part.part_path)
    except BaseException:
        _forget(pair)
        raise
    made_before = [
        DatasetFile.objects.filter(parent=file, sha256=part.sha256, status=Status.PROCESSED).first() for part in pair
    ]
    if made_before[0] and made_before[1]:
        _forget(pair)
        return made_before[0], made_before[1]
    return arrived(pair[0]), arrived(pair[1])


def planned(
    file: DatasetFile, *, share: float | None, count: int | None, seed: int = 0, stratify: str = "", group: str = ""
) -> Plan:
    """Raises ApiError where the file cannot be split so."""
    if file.status != Status.PROCESSED:
        raise ApiError(f"{file.filename} has problems; correct them before splitting it.", param="file")
    if texts.is_raw_text(file.path, file.filename):
        texts.refuse_to_tear(file.rows, file.filename)
        if stratify or group:
            raise ApiError("Documents of plain text have no fields to split them by.", param="stratify")
    valid_rows = count if count is not None else round(file.rows * (share or 0))
    if not 1 <= valid_rows < file.rows:
        text = f"{valid_rows} of {file.rows} rows cannot be split off: both parts need at least one row."
        raise ApiError(text, param="count" if count is not None else "share")
    return Plan(valid_rows, seed, stratify, group)


def words(file: DatasetFile, plan: Plan, part: str) -> str:
    """What the part is, as one sentence."""
    rows = plan.valid_rows if part == "valid" else file.rows - plan.valid_rows
    about = "About " if plan.group else ""
    return f"{about}{rows:,} of the {file.rows:,} rows of {file.filename}, {splitting.words(plan)}."


def _write(file: DatasetFile, plan: Plan, train: Path, valid: Path, progress: Progress | None) -> None:
    if plan.stratify or plan.group:
        chosen = _choose(file, plan, progress)
        splitting.write(file.path, chosen.valid_N, train, valid, progress)
        return
    write = texts.split if texts.is_raw_text(file.path, file.filename) else jsonl.split
    write(file.path, train, valid, rows=file.rows, valid_rows=plan.valid_rows, seed=plan.seed)


def _choose(file: DatasetFile, plan: Plan, progress: Progress | None) -> Chosen:
    """Raises ApiError."""
    work = home.file_folder(file.id) / "tasks" / f"split-{file_tasks.new_claim()}.work"
    try:
        return splitting.choose(file.path, plan, work, progress)
    except CannotSplit as error:
        raise ApiError(str(error), param="group" if plan.group else "stratify") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _forget(parts: list[DatasetFile]) -> None:
    for part in parts:
        shutil.rmtree(home.file_folder(part.id), ignore_errors=True)


# ---- as work on a file ----


def ask(file: DatasetFile, plan: Plan, *, make: bool, user: User | None = None) -> FileTask:
    """The counts of a split, or the split itself: its result has "train" and "valid" then. Raises ApiError."""
    large = file.bytes if plan.group == "near" or file.bytes > AT_ONCE_BYTES else 0
    key = "make" if make else "preview"
    asked = {"make": make, **asdict(plan)}
    return file_tasks.ask(file, "split", key=key, asked=asked, user=user, size=large, again=make)


def do(task: FileTask, progress: Progress) -> dict[str, Any]:
    asked = dict(task.asked)
    plan_of = {
        "share": None,
        "count": asked["valid_rows"],
        **{key: asked[key] for key in ("seed", "stratify", "group")},
    }
    if asked["make"]:
        train, valid = split(task.file, **plan_of, user=task.created_by, progress=progress)
        return {"train": train.pk, "valid": valid.pk, "rows": [train.rows, valid.rows]}
    plan = planned(task.file, **plan_of)
    if not plan.stratify and not plan.group:
        whole = {"name": "", "rows": task.file.rows, "valid": plan.valid_rows}
        return {"valid": plan.valid_rows, "train": task.file.rows - plan.valid_rows, "strata": [whole]}
    chosen = _choose(task.file, plan, progress)
    return {
        "valid": chosen.rows,
        "train": len(chosen.valid_N) - chosen.rows,
        "groups": chosen.groups if plan.group else 0,
        "largest_group": chosen.largest_group if plan.group else 0,
        "strata": [asdict(each) for each in chosen.strata[:SHOWN_STRATA]],
        "more_strata": max(0, len(chosen.strata) - SHOWN_STRATA),
    }
