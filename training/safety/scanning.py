"""Looking through a whole file for secrets and personal data: at once for a small one, in the worker for others.

Memory is flat: counts stand in the row, the first finds in `findings.jsonl` beside the file, masked.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from django.db import transaction
from django.utils import timezone

from training import home, notify
from training.engine.errors import EngineError
from training.models import DatasetFile
from training.safety import finders
from training.safety.models import SafetyScan
from training.safety.rows import Finding, Found, findings_of, rows_with_finds

log = logging.getLogger(__name__)
Status = SafetyScan.Status

AT_ONCE_BYTES = 4 << 20
LISTED = 10_000  # finds that are kept to be shown; all are counted, and decisions on a kind reach all
PROGRESS_SECONDS = 0.5
GIVEN_UP = timedelta(minutes=2)  # a look without a sign of life: its worker is gone


# ---- a file ----


def scan_or_start(file: DatasetFile) -> SafetyScan:
    """The look through this file, for a page: done now when the file is small, else by a worker that is woken here."""
    known = SafetyScan.objects.filter(file=file).first()
    if known is None:
        return start(file)
    if known.status in (Status.WAITING, Status.RUNNING):
        return known if known.changed_at > timezone.now() - GIVEN_UP else start(file)
    return start(file) if known.status == Status.DONE and known.finders != finders.VERSION else known


def start(file: DatasetFile) -> SafetyScan:
    """Another look, whatever there was before."""
    fresh = {"status": Status.WAITING, "share": 0.0, "trouble": "", "changed_at": timezone.now()}
    SafetyScan.objects.update_or_create(file=file, defaults=fresh)
    if file.bytes < AT_ONCE_BYTES:
        scan(file.pk)
    else:
        from training.tasks import look_for_secrets, wake

        transaction.on_commit(lambda: wake(look_for_secrets, file.pk))
    return SafetyScan.objects.get(file=file)


def scan(file_id: str) -> None:
    """Looks through the file and stores what it found. Safe to run twice; a file deleted meanwhile is left alone."""
    file = DatasetFile.objects.filter(pk=file_id).first()
    if file is None or not SafetyScan.objects.filter(file=file).update(
        status=Status.RUNNING, changed_at=timezone.now()
    ):
        return
    began = time.monotonic()
    try:
        figures = _look(file)
    except (FileNotFoundError, EngineError) as error:
        words = getattr(error, "message", "") or f"{file.filename} is gone from the disk. Upload it again."
        _store(file, status=Status.FAILED, trouble=words)
        return
    except Exception:
        log.exception("looking through %s failed", file_id)
        _store(file, status=Status.FAILED, trouble="The look itself failed; the reason stands in the server's log.")
        raise
    seconds = round(time.monotonic() - began, 3)
    _store(file, status=Status.DONE, share=1.0, finders=finders.VERSION, seconds=seconds, **figures)


def _look(file: DatasetFile) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    rows_by_kind: Counter[str] = Counter()
    rows = listed = last = 0
    seen: set[str] = set()  # kinds of the row that is read: one of raw text may come in pieces
    told = time.monotonic()
    part = findings_path(file).with_suffix(".part")
    with part.open("w", encoding="utf-8") as out:
        for line, share, found in rows_with_finds(file.path, file.filename, file.rows):
            kinds = [span.kind for _, spans in found for span in spans]
            counts.update(kinds)
            seen = seen if line == last else set()
            rows += bool(kinds and not seen)
            rows_by_kind.update(set(kinds) - seen)
            seen, last = seen | set(kinds), line
            if kinds and listed < LISTED:
                listed += _list(out, line, found, LISTED - listed)
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                _store(file, share=share)
    part.replace(findings_path(file))
    return {"counts": dict(counts), "rows_by_kind": dict(rows_by_kind), "rows": rows, "listed": listed}


def _list(out: TextIO, line: int, found: Found, most: int) -> int:
    written = 0
    for finding in islice(findings_of(line, found), most):
        out.write(json.dumps(asdict(finding), ensure_ascii=False) + "\n")
        written += 1
    return written


def _store(file: DatasetFile, **columns: Any) -> None:
    if SafetyScan.objects.filter(file=file).update(changed_at=timezone.now(), **columns):
        notify.project_changed(file.project_id)


# ---- what was found ----


def findings_path(file: DatasetFile) -> Path:
    return home.file_folder(file.pk) / "findings.jsonl"


def listed(file: DatasetFile) -> Iterator[Finding]:
    """The finds that are kept to be shown, in the order of the file."""
    try:
        with findings_path(file).open(encoding="utf-8") as lines:
            for line in lines:
                yield Finding(**json.loads(line))
    except FileNotFoundError:
        return
