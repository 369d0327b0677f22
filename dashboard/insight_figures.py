"""Figures of a dataset for the tab Insight: histograms, distributions and what its rows have in common."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dashboard.row_filters import address
from dashboard.row_tokens import Reader
from training import insight, token_index
from training.engine.spec import DataFacts
from training.models import DatasetFile
from training.row_search import system_key

BINS = 24
EXTREMES = 5
COLLECTED_AT_ONCE_BYTES = 4 << 20
ROLE_WORDS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool results"}


@dataclass(frozen=True)
class Bar:
    x: int
    y: float
    height: float  # per cent of the tallest
    first: int
    last: int
    rows: int

    @property
    def values(self) -> str:
        return f"{self.first:,}" if self.first == self.last else f"{self.first:,} to {self.last:,}"


@dataclass(frozen=True)
class Histogram:
    title: str
    unit: str  # of the values
    bars: list[Bar]
    spread: dict[str, float]
    note: str = ""


def histogram(title: str, unit: str, bins: list[tuple[int, int, int]], spread: dict[str, float], note: str = "") -> Any:
    """None where there is nothing to draw."""
    if not bins:
        return None
    tallest = max(rows for _, _, rows in bins)
    bars = [
        Bar(x, round(100 - 100 * rows / tallest, 2), round(100 * rows / tallest, 2), first, last, rows)
        for x, (first, last, rows) in enumerate(bins)
    ]
    return Histogram(title, unit, bars, spread, note)


def of_values(title: str, unit: str, values: Any, note: str = "") -> Any:
    return histogram(title, unit, token_index.histogram(values, BINS), token_index.distribution(values), note)


def of_counts(title: str, unit: str, counts: dict[str, int]) -> Any:
    """Of whole numbers with how often each occurs."""
    values = {int(value): count for value, count in counts.items()}
    if not values:
        return None
    low, high = min(values), max(values)
    width = max(1, -(-(high - low + 1) // BINS))
    bins = [
        (first, first + width - 1, sum(count for value, count in values.items() if first <= value < first + width))
        for first in range(low, high + 1, width)
    ]
    return histogram(title, unit, bins, insight.distribution(counts))


# ---- what is known of a file ----


def token_figures(file: DatasetFile, reader: Reader, facts: DataFacts) -> dict[str, Any]:
    """Of all rows where each was counted, else of the even sample that the totals keep."""
    unit = "document" if file.format == "text" else "row"
    records = token_index.read(token_index.path_of(file.id, reader.model.name)) if reader.model else None
    if records is None:
        sampled = len(facts.lengths) < facts.rows
        note = f"From an even sample of {len(facts.lengths):,} {unit}s." if sampled else ""
        lengths = np.array(facts.lengths, dtype="u4")
        return {"lengths": of_values(f"Tokens per {unit}", "tokens", lengths, note), "roles": [], "records": None}
    pairs = "The longer of both answers, with what it answers." if file.format == "preference" else ""
    longest, shortest = token_index.extremes(records, EXTREMES)
    by_role = [
        of_values(f"{ROLE_WORDS[role]}", "tokens", records[role][records[role] > 0])
        for role in token_index.ROLE_NAMES
        if records[role].any()
    ]
    spreads = [
        ("Tokens per row", token_index.distribution(records["tokens"])),
        ("Tokens trained on, per row", token_index.distribution(records["trained"])),
    ]
    return {
        "lengths": of_values("Tokens per row", "tokens", records["tokens"], pairs),
        "roles": by_role,
        "spreads": spreads,
        "longest": _rows(longest, reader),
        "shortest": _rows(shortest, reader),
        "extreme_unit": "tokens",
        "records": records,
    }


def _rows(found: list[Any], reader: Reader) -> list[tuple[int, int, str]]:
    """(figure, line, address of the row)"""
    return [(int(figure), int(line), reader.row_link(int(line))) for figure, line in found]


def common(file: DatasetFile, reader: Reader) -> dict[str, Any] | None:
    """What rows have in common, with links to them. None where nobody has read the rows yet."""
    found = insight.read(file.id)
    if found is None and file.format and file.bytes <= COLLECTED_AT_ONCE_BYTES and file.path.is_file():
        found = insight.write(file.id, insight.collect(file.path))
    if found is None:
        return None

    def linked(kind: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "link": address({kind: each["text"]}, {})} for each in entries]

    known = {system_key(each["text"]) for each in found["system"]}
    return {
        **found,
        "openings": linked("begins", found["openings"]),
        "endings": linked("ends", found["endings"]),
        "system": [{**each, "link": address({"system": system_key(each["text"])}, {})} for each in found["system"]],
        "more_system": max(0, found["different_system"] - len(known)),
        "without_link": address({"system": "none"}, {}),
        "tools": [{**each, "link": address({"tool": each["name"]}, {})} for each in found["tools"]],
        "turns": of_counts("Answers per row", "answers", found["turns"]),
        "messages": insight.distribution(found["messages"]),
        "longest": _rows(found["longest"][:EXTREMES], reader),
        "shortest": _rows(found["shortest"][:EXTREMES], reader),
    }
