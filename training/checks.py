"""What a file of a project is and whether a job may use it: checked once, by reading all of it, and stored in its row.

How a file is read and judged: datasets.py for JSONL, texts.py for raw text.
"""

import logging
import time
from array import array
from typing import Any

from django.db import transaction

from accounts.errors import ApiError
from training import datasets, home, notify, texts
from training.disk import sha256_of
from training.intake import tables
from training.intake.errors import IntakeError
from training.intake.packed import packed_kind
from training.models import DatasetFile
from training.rules import METHOD_FORMATS, OPENAI_FORMATS, OPENAI_METHODS, Problem

logger = logging.getLogger(__name__)
Status = DatasetFile.Status

CHECKED_AT_ONCE_BYTES = 4 << 20
PROGRESS_SECONDS = 0.5


def check(file_id: str) -> None:
    """Reads the whole file and stores what was found. Safe to run twice; a file deleted meanwhile is left alone."""
    file = DatasetFile.objects.filter(pk=file_id, status__in=[Status.UPLOADED, Status.PROCESSED, Status.ERROR]).first()
    if file is None:
        return
    try:
        report = _report(file)
        if report is None:
            return
        sha256 = file.sha256 or sha256_of(file.path)
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


def _report(file: DatasetFile) -> datasets.Report | None:
    """Of its content, unpacked first where that is packed. None: another process is unpacking it, and will check it."""
    from training.intake import arriving

    progress = _CheckProgress(file)
    try:
        if not (arriving.unpack_content(file, progress) and arriving.rewrite_as_utf8(file, progress)):
            return None
    except IntakeError as error:
        return datasets.refused(error.message, error.fix, error.kind, error.line)
    except ApiError as error:  # no room on the disk
        return datasets.refused(error.message.removesuffix("."), "Then press Check again.", "disk_full")
    if tables.table_kind(file.path, file.filename):
        return tables.check(file.path, file.filename, progress)
    look = texts if texts.is_raw_text(file.path, file.filename) else datasets
    return look.check(file.path, progress)


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
        notify.project_changed(file.project_id)


def _as_columns(report: datasets.Report) -> dict[str, Any]:
    shown = [*report.problems[: datasets.KEPT_PROBLEMS], *report.warnings]
    return {
        "status": Status.PROCESSED if report.usable else Status.ERROR,
        "status_details": "" if report.usable else _why_not(report),
        "check_share": 1.0,
        "format": report.format,
        "rows": report.rows,
        "problems": [problem.as_row() for problem in shown],
        "problem_groups": report.groups,
        "problem_count": report.problem_count,
        "warning_count": len(report.warnings),
        "statistics": report.statistics,
        "token_facts": {},
    }


def _why_not(report: datasets.Report) -> str:
    return _first_words(report.problems[0], report.problem_count) if report.problems else tables.TO_MAP


def _first_words(problem: Problem, count: int) -> str:
    place = f"Line {problem.line}: " if problem.line else ""
    more = f" ({count - 1:,} more problem{'' if count == 2 else 's'})" if count > 1 else ""
    return f"{place}{problem.message.rstrip('.')}. {problem.fix}{more}"


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
    """Small files now; larger ones, and packed ones, which may hold anything, by the worker."""
    if file.bytes < CHECKED_AT_ONCE_BYTES and not packed_kind(file.path):
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
        left = file.problem_count - 1
        more = f" ({left:,} more problem{'' if left == 1 else 's'} in {file.filename})" if left > 0 else ""
        return ApiError(datasets.job_error(problem, name) + more, param=param, code=f"invalid_{name}_file")
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
