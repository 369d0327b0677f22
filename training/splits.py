"""One file becomes two, to train on and to validate with."""

import shutil
from pathlib import PurePath

from accounts.errors import ApiError
from accounts.models import User
from training import home, jsonl, texts
from training.disk import disk_errors, sha256_of
from training.files import arrived, clean_name
from training.models import DatasetFile

Status = DatasetFile.Status


def split(
    file: DatasetFile, *, share: float | None = None, count: int | None = None, seed: int = 0, user: User | None = None
) -> tuple[DatasetFile, DatasetFile]:
    """Two files, training and validation; the file itself stays. The seed decides which row goes where.

    The same split made before is found again, so that reruns do not fill the list with twins.
    """
    if file.status != Status.PROCESSED:
        raise ApiError(f"{file.filename} has problems; correct them before splitting it.", param="file")
    raw = texts.is_raw_text(file.path, file.filename)
    if raw:
        texts.refuse_to_tear(file.rows, file.filename)
    valid_rows = count if count is not None else round(file.rows * (share or 0))
    if not 1 <= valid_rows < file.rows:
        text = f"{valid_rows} of {file.rows} rows cannot be split off: both parts need at least one row."
        raise ApiError(text, param="count" if count is not None else "share")
    stem = PurePath(file.filename).stem
    pair = [
        DatasetFile(
            project=file.project,
            created_by=user,
            filename=clean_name(f"{stem}-{part}.jsonl"),
            parent=file,
            status=Status.UPLOADING,
        )
        for part in ("train", "valid")
    ]
    try:
        with disk_errors(file.filename):
            for part in pair:
                home.file_folder(part.id).mkdir(parents=True, exist_ok=True)
            train, valid = (part.part_path for part in pair)
            (texts if raw else jsonl).split(file.path, train, valid, rows=file.rows, valid_rows=valid_rows, seed=seed)
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


def _forget(parts: list[DatasetFile]) -> None:
    for part in parts:
        shutil.rmtree(home.file_folder(part.id), ignore_errors=True)
