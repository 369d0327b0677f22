"""The figures of an imported job: from its metrics events, and from its result file for steps that no event tells."""

import base64
import binascii
import csv
import io
import math
from collections.abc import Iterable, Mapping
from typing import Any

from training.endings import RESULT_COLUMNS
from training.models import Metric, TrainingJob

COLUMNS = {name: ours for name, ours in RESULT_COLUMNS.items() if name != "step"}  # in events and result files
NO_FIGURES = {"step", "total_steps", "epoch"}


def plain_csv(content: bytes) -> bytes:
    """A result file as text: since 2024 OpenAI sends them in base64."""
    if content.lstrip().startswith(b"step"):
        return content
    try:
        decoded = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        return content
    return decoded if decoded.lstrip().startswith(b"step") else content


def metrics(job: TrainingJob, events: Iterable[dict[str, Any]], result: bytes, n_epochs: int | None) -> list[Metric]:
    """A row for each step, ordered, with revisions from 1; not stored."""
    total = job.total_steps
    rows: dict[int, Metric] = {}
    for values in _csv_rows(result):
        _fill(rows, job, values, job.created_at.timestamp())
    for event in events:
        if event.get("type") == "metrics" and isinstance(event.get("data"), dict):
            _fill(rows, job, event["data"], float(event["created_at"]))
    for revision, step in enumerate(sorted(rows), start=1):
        rows[step].revision = revision
        rows[step].epoch = round(step * n_epochs / total, 4) if n_epochs and total else None
    return [rows[step] for step in sorted(rows)]


def total_steps(events: Iterable[dict[str, Any]], result: bytes) -> int:
    told = [_number(event["data"].get("total_steps")) for event in events if isinstance(event.get("data"), dict)]
    steps = [_number(values.get("step")) for values in _csv_rows(result)]
    return int(max((value for value in [*told, *steps] if value), default=0))


def _fill(rows: dict[int, Metric], job: TrainingJob, values: Mapping[str, Any], time: float) -> None:
    step = _number(values.get("step"))
    if not step or step < 1:
        return
    metric = rows.setdefault(int(step), Metric(job=job, step=int(step), time=time, more={}))
    metric.time = time
    for name, value in values.items():
        if (number := _number(value)) is None or name in NO_FIGURES:
            continue
        if name in COLUMNS:
            setattr(metric, COLUMNS[name], number)
        else:
            metric.more[name] = number


def _csv_rows(content: bytes) -> list[dict[str, str]]:
    """Nothing of a file that is no such table."""
    text = io.StringIO(content.decode(errors="replace"))
    reader = csv.DictReader(text)
    return list(reader) if "step" in (reader.fieldnames or ()) else []


def _number(value: Any) -> float | None:
    """A finite number that is one or is written as one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
