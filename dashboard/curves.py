"""A job's metric rows as curves: whole, or reduced so that a long run draws at once and no spike is lost."""

import csv
import math
from collections.abc import Iterator
from typing import Any, Final

from django.core.cache import cache
from django.db.models import Avg, Count, F, Max, Min, Q, QuerySet

from training.models import Metric, TrainingJob

ROW_FIELDS: Final = (
    "revision", "step", "time", "epoch", "train_loss", "train_accuracy", "learning_rate", "grad_norm",
    "trained_tokens", "tokens_per_second", "memory_bytes", "valid_loss", "valid_accuracy", "full_valid_loss",
    "full_valid_accuracy", "more",
)  # fmt: skip
CURVES: Final = ("train_loss", "train_accuracy", "learning_rate", "grad_norm", "tokens_per_second")
RISING: Final = ("time", "epoch", "trained_tokens")  # never fall from one step to the next
SPARSE: Final = ("valid_loss", "valid_accuracy", "full_valid_loss", "full_valid_accuracy")
REWARDS: Final = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
OWN: Final = {  # curves that only one method has, out of Metric.more
    "dpo": (*REWARDS, *(f"{part}_{name}" for part in ("valid", "full_valid") for name in REWARDS[2:])),
}
COLUMNS: Final = ("step", *RISING, *CURVES, "train_loss_mean", "train_accuracy_mean", *SPARSE)
DEFAULT_POINTS: Final = 2000
MOST_POINTS: Final = 20_000
SPARKLINE_POINTS: Final = 40


def short(value: Any) -> Any:
    """A float with six significant digits (a unix time with milliseconds), so that the payload stays small; with nine
    where six end in a 5, which the page's own rounding would take for a tie: 2.522503 is 2.523, and 2.5225 is not."""
    if isinstance(value, dict):
        return {name: short(each) for name, each in value.items()}
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None  # JSON has no such number; a gap in the curve
    if value > 1e8:
        return round(value, 3)
    text = f"{value:.6g}"
    return float(f"{value:.9g}" if text.endswith("5") else text)


def row_values(metric: tuple[Any, ...]) -> list[Any]:
    return [short(value) for value in metric]


def rows_after(job_id: str, revision: int, limit: int) -> list[list[Any]]:
    """The rows written or rewritten since that revision, in the order they were written."""
    found = Metric.objects.filter(job_id=job_id, revision__gt=revision).order_by("revision")
    return [row_values(row) for row in found.values_list(*ROW_FIELDS)[:limit]]


def series(
    job: TrainingJob, *, points: int = DEFAULT_POINTS, first: int | None = None, last: int | None = None
) -> dict[str, Any]:
    """Columns of equal length, ordered by step, of about `points` values each, for the steps `first`..`last`.

    `revision` is read before the rows: a socket that asks for what came after it misses nothing.
    """
    revision = job.metrics.aggregate(top=Max("revision"))["top"] or 0
    rows = job.metrics.all()
    if first is not None:
        rows = rows.filter(step__gte=first)
    if last is not None:
        rows = rows.filter(step__lte=last)
    extent = rows.aggregate(count=Count("pk"), low=Min("step"), high=Max("step"))
    points = max(20, min(points, MOST_POINTS))
    whole = extent["count"] <= points
    columns = _whole(rows) if whole else _reduced(rows, extent["low"], extent["high"], points)
    columns |= _own(rows, columns["step"], OWN.get(job.recipe.method, ()))
    return {"revision": revision, "rows": extent["count"], "whole": whole, "columns": columns}


def finished_series(job: TrainingJob) -> dict[str, Any]:
    """The usual reduction of a job that has ended; kept, because reducing 100,000 rows takes a third of a second."""
    key = f"curves:{job.id}:{job.revision}"
    kept: dict[str, Any] | None = cache.get(key)
    if kept is None:
        kept = series(job)
        if not kept["whole"]:
            cache.set(key, kept, 3600)
    return kept


def _whole(rows: QuerySet[Metric]) -> dict[str, list[Any]]:
    names = ("step", *RISING, *CURVES, *SPARSE)
    table = list(rows.order_by("step").values_list(*names))
    columns = {name: [short(row[index]) for row in table] for index, name in enumerate(names)}
    columns["train_loss_mean"], columns["train_accuracy_mean"] = columns["train_loss"], columns["train_accuracy"]
    return columns


def _own(rows: QuerySet[Metric], steps: list[int], names: tuple[str, ...]) -> dict[str, list[Any]]:
    """The method's own figures at these steps; of a reduced run they are those of the steps that are drawn."""
    if not names:
        return {}
    found = dict(rows.filter(step__in=steps).values_list("step", "more"))
    return {name: [short(found.get(step, {}).get(name)) for step in steps] for name in names}


def _reduced(rows: QuerySet[Metric], low: int, high: int, points: int) -> dict[str, list[Any]]:
    """Two points a bucket of steps: the lowest and the highest value, so every spike stays.

    The database does the work. Within a bucket the order of the two is the one that continues the line; the exact
    step of an extreme is known again after zooming in.
    """
    buckets = _buckets(rows, low, high, points)
    table: dict[int, dict[str, Any]] = {}
    before: dict[str, float] = {}
    for bucket in buckets:
        start, end = table.setdefault(bucket["step_min"], {}), table.setdefault(bucket["step_max"], {})
        for name in RISING:
            start[name], end[name] = bucket[f"{name}_min"], bucket[f"{name}_max"]
        for name in CURVES:
            bottom, top = bucket[f"{name}_min"], bucket[f"{name}_max"]
            if bottom is None:
                continue
            falling = name in before and abs(before[name] - top) < abs(before[name] - bottom)
            start[name], end[name] = (top, bottom) if falling else (bottom, top)
            before[name] = end[name]
        start["train_loss_mean"], start["train_accuracy_mean"] = bucket["train_loss_avg"], bucket["train_accuracy_avg"]
    for row in _sparse_rows(rows, low, high, points):
        table.setdefault(row["step"], {}).update({k: v for k, v in row.items() if v is not None})
    steps = sorted(table)
    columns = {name: [short(table[step].get(name)) for step in steps] for name in COLUMNS if name != "step"}
    return {"step": steps, **columns}


def _buckets(rows: QuerySet[Metric], low: int, high: int, points: int) -> Any:
    width = math.ceil((high - low + 1) / (points // 2))
    wanted: dict[str, Any] = {"step_min": Min("step"), "step_max": Max("step")}
    for name in (*RISING, *CURVES):
        wanted[f"{name}_min"], wanted[f"{name}_max"] = Min(name), Max(name)
    wanted["train_loss_avg"], wanted["train_accuracy_avg"] = Avg("train_loss"), Avg("train_accuracy")
    by_bucket = rows.annotate(bucket=(F("step") - low) / width).order_by().values("bucket")
    return by_bucket.annotate(**wanted).order_by("bucket")


def _sparse_rows(rows: QuerySet[Metric], low: int, high: int, points: int) -> list[dict[str, Any]]:
    """Validation figures as they are; sampled batches are thinned only when there are very many."""
    full = rows.filter(full_valid_loss__isnull=False)
    sampled = rows.filter(~Q(valid_loss=None), full_valid_loss=None)
    names = ("step", *RISING, *SPARSE)
    found = list(full.order_by("step").values(*names)[:points])
    batches = list(sampled.order_by("step").values(*names))
    keep = max(1, math.ceil(len(batches) / (points // 2)))
    for start in range(0, len(batches), keep):
        group = batches[start : start + keep]
        found += {row["step"]: row for row in (min(group, key=_valid), max(group, key=_valid))}.values()
    return found


def _valid(row: dict[str, Any]) -> float:
    return float(row["valid_loss"])


def sparkline(job: TrainingJob) -> str:
    """The training loss as the points of an SVG polyline in a 100 by 24 box; empty with fewer than two rows."""
    key = f"sparkline:{job.id}:{job.revision}"
    points: str | None = cache.get(key)
    if points is None:
        points = _polyline(_evenly_spaced_losses(job))
        cache.set(key, points, 3600)
    return points


def _evenly_spaced_losses(job: TrainingJob) -> list[float]:
    """A few look-ups by the index on (job, step) instead of a scan of every row."""
    if job.step < 2:
        return []
    steps = {round(1 + i * (job.step - 1) / (SPARKLINE_POINTS - 1)) for i in range(SPARKLINE_POINTS)}
    found = job.metrics.filter(step__in=steps).exclude(train_loss=None).order_by("step")
    return [value for value in found.values_list("train_loss", flat=True) if math.isfinite(value)]


def _polyline(values: list[float]) -> str:
    if len(values) < 2:
        return ""
    low, spread = min(values), max(max(values) - min(values), 1e-9)
    across = 100 / (len(values) - 1)
    return " ".join(f"{i * across:.1f},{22 - (value - low) / spread * 20:.1f}" for i, value in enumerate(values))


CSV_FIELDS: Final = tuple(name for name in ROW_FIELDS if name not in ("revision", "more"))


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line


def csv_lines(job: TrainingJob) -> Iterator[str]:
    """Every row, header first; empty cells where nothing was computed."""
    writer, own = csv.writer(_Echo()), OWN.get(job.recipe.method, ())
    yield writer.writerow([*CSV_FIELDS, *own])
    for *row, more in job.metrics.order_by("step").values_list(*CSV_FIELDS, "more").iterator(chunk_size=5000):
        values = [*row, *(more.get(name) for name in own)]
        yield writer.writerow(["" if value is None else value for value in values])
