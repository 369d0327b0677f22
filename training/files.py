"""Files of a project: take them in, check them, count them, split them, remove them.

On disk each file has a folder of its own (training.home): `content.part` while it arrives, `content` when it is
complete, `lines.idx` with the place of every thousandth line.
"""

import fcntl
import hashlib
import io
import logging
import os
import shutil
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.errors import ApiError, is_disk_full
from accounts.models import Project, User
from training import datasets, home, jsonl, texts
from training.engine.pairs import encode_sequences
from training.engine.spec import DataFacts
from training.engine.text import count_text_tokens
from training.models import BaseModel, DatasetFile, TrainingJob
from training.rules import METHOD_FORMATS, OPENAI_FORMATS, OPENAI_METHODS, Problem

logger = logging.getLogger(__name__)
Status = DatasetFile.Status

CHUNK_BYTES = 8 << 20
CHECKED_AT_ONCE_BYTES = 4 << 20
COUNTED_AT_ONCE_BYTES = 1 << 20
KEPT_LENGTHS = 2000
SPARE_BYTES = 64 << 20  # left free on the disk for everything else
PROGRESS_SECONDS = 0.5
STALE_UPLOAD = timedelta(days=7)
SAMPLES = Path(__file__).parent / "samples"
SAMPLE_TASKS = ("ticket", "tone", "steer", "pairs")


# ---- taking files in ----


def create_file(
    project: Project,
    user: User | None,
    filename: str,
    purpose: str,
    source: BinaryIO | bytes,
    expires_after: dict[str, Any] | int | None = None,
) -> DatasetFile:
    """A whole file at once. Small ones are checked before this returns, larger ones by the worker."""
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    file = DatasetFile(
        project=project,
        created_by=user,
        filename=clean_name(filename),
        purpose=purpose,
        status=Status.UPLOADING,
        expires_at=_expiry(expires_after),
    )
    folder = home.file_folder(file.id)
    try:
        with _disk_errors(file.filename):
            folder.mkdir(parents=True, exist_ok=True)
            file.bytes, file.sha256 = _write(stream, file.part_path, file.filename)
        file.save()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return _arrived(file)


def begin_upload(
    project: Project, user: User | None, filename: str, size: int, modified: int = 0, purpose: str = "fine-tune"
) -> DatasetFile:
    """A row that grows by `append_chunk`. A file begun before (same name, size and time) goes on where it was."""
    filename = clean_name(filename)
    if size <= 0:
        raise ApiError(f"{filename} is empty. Choose a file with one JSON object on each line.", param="bytes")
    _refuse_too_large(size, filename)
    uploading = DatasetFile.objects.of(project).filter(status=Status.UPLOADING, filename=filename, bytes=size)
    for file in uploading:
        if file.statistics.get("modified", 0) == modified and file.part_path.exists():
            return file
    free = free_bytes()
    if free < size + SPARE_BYTES:
        raise _disk_full(filename, size)
    file = DatasetFile.objects.create(
        project=project,
        created_by=user,
        filename=filename,
        purpose=purpose,
        bytes=size,
        status=Status.UPLOADING,
        statistics={"modified": modified},
    )
    with _disk_errors(filename):
        home.file_folder(file.id).mkdir(parents=True, exist_ok=True)
        file.part_path.touch()
    _changed(file)
    return file


class WrongOffset(ApiError):
    """The client and the server differ about how much has arrived; `size` is the server's answer."""

    def __init__(self, size: int) -> None:
        super().__init__(
            f"{size} bytes have arrived; go on from there.", status=409, param="offset", code="wrong_offset"
        )
        self.size = size


def append_chunk(file: DatasetFile, offset: int, data: bytes) -> int:
    """Returns the size now. Raises WrongOffset when the chunk does not continue what has arrived."""
    if file.status != Status.UPLOADING:
        raise ApiError(f"{file.filename} is complete already.", status=409, code="upload_complete")
    try:
        with _disk_errors(file.filename), file.part_path.open("r+b", buffering=0) as part:
            fcntl.flock(part, fcntl.LOCK_EX)  # two tabs with the same file take turns
            size = part.seek(0, os.SEEK_END)
            if offset != size:
                raise WrongOffset(size)
            if size + len(data) > file.bytes:
                raise ApiError(f"{file.filename} was announced with {file.bytes} bytes; this is more.", param="offset")
            _write_all(part, data)
            return size + len(data)
    except FileNotFoundError:
        raise ApiError("This upload was cancelled. Choose the file again.", status=404, code="upload_gone") from None
    except ApiError as error:
        if error.code == "disk_full":
            shutil.rmtree(home.file_folder(file.id), ignore_errors=True)  # first: the database needs room, too
            _remove(file)
        raise


def received_bytes(file: DatasetFile) -> int:
    return file.part_path.stat().st_size if file.part_path.exists() else 0


def finish_upload(file: DatasetFile) -> DatasetFile:
    """All bytes are here: give the file its place and have it checked."""
    if file.status != Status.UPLOADING:
        return file  # asked twice
    size = received_bytes(file)
    if size != file.bytes:
        raise WrongOffset(size)
    if size < CHECKED_AT_ONCE_BYTES:
        file.sha256 = _sha256(file.part_path)
    file.statistics = {}
    return _arrived(file)


def _arrived(file: DatasetFile) -> DatasetFile:
    """The part file becomes the content; datasets are checked now or by the worker."""
    if file.purpose != "fine-tune":
        file.status = Status.PROCESSED
        file.sha256 = file.sha256 or _sha256(file.part_path)
    else:
        file.status = Status.UPLOADED
    file.part_path.replace(file.path)
    try:
        file.save()
    except Exception:  # not known to the database, so not there yet: finishing it can be tried again
        file.path.replace(file.part_path)
        raise
    _changed(file)
    if file.status == Status.UPLOADED:
        have_checked(file)
    return file


def clean_name(filename: str) -> str:
    """The last part of a path, printable, at most 200 characters."""
    name = PurePath(filename.replace("\\", "/")).name
    name = "".join(letter for letter in name if letter.isprintable()).strip()
    return name[-200:] or "dataset.jsonl"


def _expiry(expires_after: dict[str, Any] | int | None) -> Any:
    if not expires_after:
        return None
    seconds = expires_after["seconds"] if isinstance(expires_after, dict) else expires_after
    return timezone.now() + timedelta(seconds=int(seconds))


def _write(stream: BinaryIO, path: Path, filename: str) -> tuple[int, str]:
    """Returns size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb", buffering=0) as part:
        while block := stream.read(1 << 20):
            size += len(block)
            _refuse_too_large(size, filename)
            digest.update(block)
            _write_all(part, block)
        os.fsync(part.fileno())
    return size, digest.hexdigest()


def _write_all(part: Any, data: bytes) -> None:
    """An unbuffered write may take only a part, just before the disk is full."""
    left = memoryview(data)
    while left:
        left = left[part.write(left) :]


def _sha256(path: Path) -> str:
    """Of a folder's shards: over their names, sizes and times, since they may be far too large to be read for this."""
    if path.is_dir():
        return texts.folder_sha256(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_too_large(size: int, filename: str) -> None:
    limit = int(settings.HONE_MAX_FILE_GB * 1e9)
    if size > limit:
        raise ApiError(
            f"{filename} is larger than this server takes ({limit / 1e9:g} GB). Split it, or raise HONE_MAX_FILE_GB.",
            status=413,
            param="file",
            code="file_too_large",
        )


def free_bytes() -> int:
    """On the disk that holds HONE_HOME."""
    return shutil.disk_usage(home.home()).free


def _disk_full(filename: str, needed: int | None = None) -> ApiError:
    wants = f" It needs {needed / 1e6:,.0f} MB." if needed else ""
    return ApiError(
        f"The disk of this server is full: {filename} was not stored, and nothing of it was kept."
        f"{wants} {free_bytes() / 1e6:,.0f} MB are free under HONE_HOME. Delete files or jobs, then try again.",
        status=507,
        type="server_error",
        code="disk_full",
    )


@contextmanager
def _disk_errors(filename: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise _disk_full(filename) from error
        raise


# ---- checking ----


def check(file_id: str) -> None:
    """Reads the whole file and stores what was found. Safe to run twice; a file deleted meanwhile is left alone."""
    file = DatasetFile.objects.filter(pk=file_id, status__in=[Status.UPLOADED, Status.PROCESSED, Status.ERROR]).first()
    if file is None:
        return
    try:
        look = texts if texts.is_raw_text(file.path, file.filename) else datasets
        report = look.check(file.path, _CheckProgress(file))
        sha256 = file.sha256 or _sha256(file.path)
        _write_index(file, report.line_index)
    except FileNotFoundError:
        if DatasetFile.objects.filter(pk=file_id).exists():
            _store(file, status=Status.ERROR, status_details="The file is gone from the disk. Upload it again.")
        return
    except Exception:
        logger.exception("checking %s failed", file_id)
        details = "The check itself failed; the reason stands in the worker's log. Press Check again."
        _store(file, status=Status.ERROR, status_details=details)
        raise
    _store(file, sha256=sha256, **_as_columns(report))


class _CheckProgress:
    """Writes the progress of a check to its row, twice a second at most."""

    def __init__(self, file: DatasetFile) -> None:
        self.file, self.next = file, time.monotonic() + PROGRESS_SECONDS

    def __call__(self, share: float) -> None:
        if time.monotonic() < self.next or share >= 1:
            return
        self.next = time.monotonic() + PROGRESS_SECONDS
        _store(self.file, check_share=share)


def _store(file: DatasetFile, **columns: Any) -> None:
    if DatasetFile.objects.filter(pk=file.pk).update(**columns):
        _changed(file)


def _as_columns(report: datasets.Report) -> dict[str, Any]:
    shown = [*report.problems[: datasets.KEPT_PROBLEMS], *report.warnings]
    return {
        "status": Status.PROCESSED if report.usable else Status.ERROR,
        "status_details": "" if report.usable else _first_words(report.problems[0], report.problem_count),
        "check_share": 1.0,
        "format": report.format,
        "rows": report.rows,
        "problems": [problem.as_row() for problem in shown],
        "problem_count": report.problem_count,
        "warning_count": len(report.warnings),
        "statistics": report.statistics,
        "token_facts": {},
    }


def _first_words(problem: Problem, count: int) -> str:
    place = f"Line {problem.line}: " if problem.line else ""
    more = f" ({count - 1:,} more problems)" if count > 1 else ""
    return f"{place}{problem.message}. {problem.fix}{more}"


def _write_index(file: DatasetFile, line_index: array) -> None:
    with (home.file_folder(file.id) / "lines.idx").open("wb") as index:
        line_index.tofile(index)


def read_index(file: DatasetFile) -> array:
    """Byte offsets of lines 1, 1001, 2001, ...; empty when the file was not checked."""
    index = array("Q")
    path = home.file_folder(file.id) / "lines.idx"
    if path.exists():
        index.frombytes(path.read_bytes())
    return index


def check_again(file: DatasetFile) -> None:
    """On a person's wish: after the file was restored on disk, or when no worker came."""
    if not file.path.exists():
        raise ApiError(f"{file.filename} is gone from the disk. Upload it again.", status=404, code="file_gone")
    file.status, file.check_share = Status.UPLOADED, 0.0
    file.save(update_fields=["status", "check_share"])
    have_checked(file)


def have_checked(file: DatasetFile) -> None:
    """Small files now, larger ones by the worker."""
    if file.bytes < CHECKED_AT_ONCE_BYTES:
        check(file.id)
        file.refresh_from_db()
        return
    from training.tasks import check_file

    def send() -> None:
        check_file.send(file.id)

    transaction.on_commit(send)


def ensure_checked(file: DatasetFile) -> DatasetFile:
    """Checks it here and now if nobody has yet."""
    if file.status == Status.UPLOADED:
        check(file.id)
        file.refresh_from_db()
    return file


def refusal(
    file: DatasetFile, *, method: str = "sft", rows_needed: int = datasets.MIN_JOB_ROWS, name: str = "training"
) -> ApiError | None:
    """Why a job by this method cannot use this checked file, in OpenAI's words; None when it can."""
    param = f"{name}_file"
    if not file.path.exists():
        text = f"The job failed due to an invalid {name} file. {file.filename} is gone from the disk; upload it again."
        return ApiError(text, param=param, code=f"invalid_{name}_file")
    errors = [problem for problem in file.problems if problem["level"] == "error"]
    if errors:
        problem = Problem(**{**errors[0], "lines": ()})
        return ApiError(datasets.job_error(problem, name), param=param, code=f"invalid_{name}_file")
    if file.status == Status.ERROR:
        text = f"The job failed due to an invalid {name} file. {file.status_details}"
        return ApiError(text, param=param, code=f"invalid_{name}_file")
    if file.format not in METHOD_FORMATS[method]:
        text = (
            f"The job failed due to an invalid {name} file. Invalid file format. Input file {file.id} is in the "
            f"{OPENAI_FORMATS.get(file.format, file.format)} format, but the specified fine-tuning job is not using "
            f"'{OPENAI_METHODS[method_for(file)]}' as the training method (provided method={OPENAI_METHODS[method]})."
        )
        return ApiError(text, param=param, code=f"invalid_{name}_file")
    if file.rows < (1 if method == "pretrain" else rows_needed):
        return ApiError(datasets.too_few_rows(file.rows), param=param, code="invalid_n_examples")
    return None


def method_for(file: DatasetFile) -> str:
    """The method that trains on this file's format; supervised where none does."""
    return next((method for method, formats in METHOD_FORMATS.items() if file.format in formats), "sft")


# ---- tokens ----


@lru_cache(maxsize=8)
def _chat_format(folder: Path, changed: float) -> Any:
    from training.engine.chat import ChatFormat

    return ChatFormat.load(folder)


def chat_format(base_model: BaseModel) -> Any:
    """The tokenizer and chat template of a model on disk, kept in memory."""
    return _chat_format(base_model.path, (base_model.path / "config.json").stat().st_mtime)


def token_facts(file: DatasetFile, base_model: BaseModel) -> DataFacts:
    """Counts every row with the trainer's own encoding, once for each base model; the result is kept."""
    known = file.facts_for(base_model)
    if known:
        return known
    count = count_text_tokens if file.format == "text" else count_tokens
    facts = count(file.path, chat_format(base_model))
    with transaction.atomic():
        fresh = DatasetFile.objects.select_for_update().get(pk=file.pk)
        fresh.token_facts[base_model.name] = facts.model_dump()
        fresh.save(update_fields=["token_facts"])
    file.token_facts = fresh.token_facts
    return facts


def facts_or_start(file: DatasetFile, base_model: BaseModel) -> DataFacts | None:
    """For a page: small files are counted at once; for larger ones the worker is asked and None returned."""
    if known := file.facts_for(base_model):
        return known
    if file.bytes <= COUNTED_AT_ONCE_BYTES:
        return token_facts(file, base_model)
    from django.core.cache import cache

    from training.tasks import count_file_tokens

    if cache.add(f"counting:{file.id}:{base_model.pk}", 1, timeout=600):  # asked once, not by every refresh
        count_file_tokens.send(file.id, base_model.pk)
    return None


def count_in_worker(file_id: str, base_model_id: int) -> None:
    """Body of the actor that counts large files."""
    file = DatasetFile.objects.filter(pk=file_id).first()
    base_model = BaseModel.objects.filter(pk=base_model_id).first()
    if file and base_model and base_model.is_present and file.path.exists():
        token_facts(file, base_model)
        _changed(file)


def count_tokens(path: Path, format_: Any) -> DataFacts:
    """Exact totals; `lengths` are those of evenly spaced rows once there are more than 2,000. Of a preference row both
    answers count, each with the input before it."""
    rows = tokens = trained = longest = 0
    lengths: list[int] = []
    every = 1
    for _, row in jsonl.iterate(path):
        sequences = encode_sequences(format_, row)
        row_lengths = [len(encoded.token_ids) for encoded in sequences]
        if rows % every == 0:
            lengths += row_lengths
            if len(lengths) > KEPT_LENGTHS:
                lengths, every = _every_second(lengths, len(sequences)), every * 2
        rows += 1
        tokens += sum(row_lengths)
        trained += sum(encoded.trained_tokens for encoded in sequences)
        longest = max(longest, *row_lengths)
    return DataFacts(rows=rows, tokens=tokens, trained_tokens=trained, longest_tokens=longest, lengths=lengths)


def _every_second(lengths: list[int], sequences: int) -> list[int]:
    """Of rows that have so many sequences each."""
    return [length for at, length in enumerate(lengths) if at // sequences % 2 == 0]


# ---- splitting, renaming, deleting ----


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
        with _disk_errors(file.filename):
            for part in pair:
                home.file_folder(part.id).mkdir(parents=True, exist_ok=True)
            train, valid = (part.part_path for part in pair)
            (texts if raw else jsonl).split(
                file.path, train, valid, rows=file.rows, valid_rows=valid_rows, seed=seed
            )
            for part in pair:
                part.bytes, part.sha256 = part.part_path.stat().st_size, _sha256(part.part_path)
    except BaseException:
        _forget(pair)
        raise
    made_before = [
        DatasetFile.objects.filter(parent=file, sha256=part.sha256, status=Status.PROCESSED).first() for part in pair
    ]
    if made_before[0] and made_before[1]:
        _forget(pair)
        return made_before[0], made_before[1]
    return _arrived(pair[0]), _arrived(pair[1])


def _forget(parts: list[DatasetFile]) -> None:
    for part in parts:
        shutil.rmtree(home.file_folder(part.id), ignore_errors=True)


def rename(file: DatasetFile, filename: str) -> DatasetFile:
    if not filename.strip():
        raise ApiError("A file needs a name.", param="filename")
    file.filename = clean_name(filename)
    file.save(update_fields=["filename"])
    _changed(file)
    return file


def jobs_using(file: DatasetFile) -> QuerySet[TrainingJob]:
    return TrainingJob.objects.of(file.project).filter(Q(training_file=file) | Q(validation_file=file))


def delete(file: DatasetFile) -> None:
    """Removes the row and its bytes. Refused while a job that has not ended needs the file."""
    waiting = list(jobs_using(file).unfinished()[:3])
    if waiting:
        names = ", ".join(job.display_name for job in waiting)
        raise ApiError(
            f"{file.filename} is needed by a job that has not ended ({names}). Cancel it or wait for its end.",
            status=409,
            param="file_id",
            code="file_in_use",
        )
    _remove(file)


def _remove(file: DatasetFile) -> None:
    folder = home.file_folder(file.id)
    project_id = file.project_id
    DatasetFile.objects.filter(pk=file.pk).delete()
    transaction.on_commit(lambda: shutil.rmtree(folder, ignore_errors=True))
    _project_changed(project_id)


def remove_stale() -> int:
    """Uploads nobody went on with for a week, and files past their expiry; returns how many went."""
    now = timezone.now()
    stale = DatasetFile.objects.filter(
        Q(status=Status.UPLOADING, created_at__lt=now - STALE_UPLOAD) | Q(expires_at__lt=now)
    )
    gone = 0
    for file in stale:
        if not jobs_using(file).unfinished().exists():
            _remove(file)
            gone += 1
    return gone


# ---- sample data ----


def ensure_samples(project: Project) -> list[DatasetFile]:
    """The sample tasks as files of this project, those that are missing are made; train and valid of each task."""
    there = {(file.sample_task, file.filename): file for file in project.files.exclude(sample_task="")}
    files = []
    for task in reversed(SAMPLE_TASKS):  # the newest stands first in lists: ticket
        for part in ("valid", "train"):  # the training file last, so that it stands first in the list
            name = f"{task}-{part}.jsonl"
            file = there.get((task, name))
            if file is None:
                with (SAMPLES / task / f"{part}.jsonl").open("rb") as source:
                    file = create_file(project, None, name, "fine-tune", source)
                file.sample_task = task
                file.save(update_fields=["sample_task"])
            files.append(file)
    return files


# ---- news ----


def _changed(file: DatasetFile) -> None:
    _project_changed(file.project_id)


def _project_changed(project_id: str) -> None:
    """Tell open pages; without the live layer they find out by asking."""
    try:
        from training.notify import project_changed
    except ImportError:
        return
    project_changed(project_id)
