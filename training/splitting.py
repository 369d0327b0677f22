"""Which rows of a file go to a validation set: by a share or a count, evenly over strata, groups kept whole. Pure.

Whether a row is chosen depends on the seed, on its place (or, with groups, on what its group has in common) and on
the sizes; never on a library's random numbers. In memory: about 60 bytes a row. N = rows.
"""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from training import jsonl
from training.repeats import within
from training.repeats.sketch import Progress
from training.repeats.words import SAID_FIRST, first_question, row_hash, said
from training.rules import ROW_KEYS, Row

MOST_STRATA: Final = 200
NO_VALUE: Final = "(none)"
FIELD: Final = "field:"
LOOKED_AT: Final = 500  # rows whose fields are offered
KNOWN_FIELDS: Final = {*ROW_KEYS, "prompt", "completion", "text", "input", "chosen", "rejected", "metadata"}
SHOWN: Final = 80  # characters of a stratum's name
GOLDEN: Final = 0x9E3779B97F4A7C15


class CannotSplit(Exception):
    """Why, for people."""


@dataclass(frozen=True)
class Plan:
    """`stratify`: "", "system", "turns" or "field:NAME"; `group`: "", "first" (the first thing that the user says),
    "near" (near-duplicates) or "field:NAME". A field stands in the row itself or in its "metadata"."""

    valid_rows: int
    seed: int = 0
    stratify: str = ""
    group: str = ""


@dataclass(frozen=True)
class Stratum:
    name: str
    rows: int
    valid: int

    @property
    def train(self) -> int:
        return self.rows - self.valid


@dataclass(frozen=True)
class Chosen:
    """The rows that go to the validation set, and how that came out."""

    valid_N: np.ndarray  # bool
    strata: list[Stratum]  # the largest first
    groups: int
    largest_group: int

    @property
    def rows(self) -> int:
        return int(self.valid_N.sum())


def choose(path: Path, plan: Plan, work: Path | None = None, progress: Progress | None = None) -> Chosen:
    """Raises CannotSplit. `work` is a folder for what is needed meanwhile, where groups are near-duplicates."""
    if plan.group == "near" and work is None:
        raise ValueError("near-duplicates need a folder to work in")
    strata_N, names = _strata(path, plan.stratify)
    many = len(strata_N)
    if not 1 <= plan.valid_rows < many:
        raise CannotSplit(f"{plan.valid_rows:,} of {many:,} rows cannot be split off: both parts need at least one.")
    if plan.group == "near" and work is not None:
        roots_N = within.roots(path, work, progress)
        if len(roots_N) != many:
            raise CannotSplit("The file was changed while it was read. Try it again.")
        groups_N = roots_N.astype(np.uint64)
    else:
        groups_N = _groups(path, plan.group) if plan.group else np.arange(many, dtype=np.uint64)
    valid_N, count, largest = _valid(strata_N, groups_N, _quotas(strata_N, len(names), plan.valid_rows), plan.seed)
    found = int(valid_N.sum())
    if not 0 < found < many:
        text = f"The groups are too large: the largest has {largest:,} of {many:,} rows, and none fits into the part."
        raise CannotSplit(f"{text} Split off more rows, or keep other rows together.")
    return Chosen(valid_N, _told(strata_N, valid_N, names), count, largest)


def fields_of(path: Path) -> list[str]:
    """Names of the fields of single values that the first rows have besides what is trained on, the commonest first;
    to stratify or to group by."""
    seen: dict[str, int] = {}
    for _, (_, row) in zip(range(LOOKED_AT), jsonl.iterate(path), strict=False):
        inner = row.get("metadata")
        for name, value in [*row.items(), *(inner.items() if isinstance(inner, dict) else [])]:
            if isinstance(value, str | int | float | bool) and name not in KNOWN_FIELDS and len(name) <= 60:
                seen[name] = seen.get(name, 0) + 1
    return sorted(seen, key=lambda name: (-seen[name], name))[:40]


# ---- what a row belongs to ----


def _strata(path: Path, by: str) -> tuple[np.ndarray, list[str]]:
    """(N,) of int32, and the name of each stratum."""
    found, numbers = array("i"), {}
    for row in _rows(path):
        name = _stratum(row, by)
        if name not in numbers and len(numbers) == MOST_STRATA:
            text = f"There are more than {MOST_STRATA} different values: choose another to spread evenly."
            raise CannotSplit(f"{text} To keep rows with the same value together, group by it instead.")
        found.append(numbers.setdefault(name, len(numbers)))
    return np.array(found, dtype=np.int32), list(numbers)


def _stratum(row: Row, by: str) -> str:
    if by == "system":
        text = "\n".join(text for role, text in said(row) if role in SAID_FIRST)
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({row_hash(text):016x})"
    if by == "turns":
        answers = sum(role == "assistant" for role, _ in said(row))
        return f"{answers} answer{'' if answers == 1 else 's'}"
    return _value(row, by.removeprefix(FIELD)) if by else ""


def _groups(path: Path, by: str) -> np.ndarray:
    """(N,) of uint64: the same for rows that stay together. A row without the field is a group of its own."""
    found = array("Q")
    for at, row in enumerate(_rows(path)):
        key = first_question(row) if by == "first" else _value(row, by.removeprefix(FIELD))
        found.append(row_hash([key]) if key not in ("", NO_VALUE) else row_hash([key, at]))
    return np.array(found, dtype=np.uint64)


def _value(row: Row, name: str) -> str:
    inner = row.get("metadata")
    value = row.get(name, inner.get(name) if isinstance(inner, dict) else None)
    if value in (None, "", [], {}):
        return NO_VALUE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({row_hash(text):016x})"


def _rows(path: Path) -> Iterator[Row]:
    return (row for _, row in jsonl.iterate(path))


# ---- choosing ----


def _quotas(strata_N: np.ndarray, many: int, valid_rows: int) -> list[int]:
    """How many rows of each stratum: in proportion, what is left over to the largest remainders."""
    rows_S = np.bincount(strata_N, minlength=many)
    exact_S = rows_S * (valid_rows / len(strata_N))
    quota_S = np.floor(exact_S + 1e-9).astype(np.int64)
    for stratum in np.argsort(quota_S - exact_S, kind="stable")[: valid_rows - int(quota_S.sum())]:
        quota_S[stratum] += 1
    return [int(quota) for quota in quota_S]


def _valid(strata_N: np.ndarray, groups_N: np.ndarray, quotas: list[int], seed: int) -> tuple[np.ndarray, int, int]:
    """(N,) of bool, how many groups there are, and the rows of the largest. A group counts for the stratum of its
    first row. It is taken where it still fits, and a last one where that comes nearer to the quota."""
    keys_G, first_G, of_N, size_G = np.unique(groups_N, return_index=True, return_inverse=True, return_counts=True)
    order_G = np.argsort(_mixed(keys_G, seed), kind="stable")
    stratum_G = strata_N[first_G]
    taken_G = np.zeros(len(keys_G), dtype=bool)
    for stratum, quota in enumerate(quotas):
        ours = order_G[stratum_G[order_G] == stratum]
        sums = np.cumsum(size_G[ours])
        whole = int(np.searchsorted(sums, quota, "right"))
        taken_G[ours[:whole]] = True
        left = quota - (int(sums[whole - 1]) if whole else 0)
        for group in ours[whole:] if left else ():
            if size_G[group] <= left:
                taken_G[group] = True
                left -= int(size_G[group])
                if not left:
                    break
        rest = ours[~taken_G[ours] & (size_G[ours] < 2 * left)]
        taken_G[rest[:1]] = True  # a little too many is nearer than too few
    return taken_G[of_N], len(keys_G), int(size_G.max())


def _mixed(keys_G: np.ndarray, seed: int) -> np.ndarray:
    """A number for each key and seed that looks like chance (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = keys_G.astype(np.uint64) + np.uint64((seed + 1) * GOLDEN % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _told(strata_N: np.ndarray, valid_N: np.ndarray, names: list[str]) -> list[Stratum]:
    rows_S = np.bincount(strata_N, minlength=len(names))
    valid_S = np.bincount(strata_N[valid_N], minlength=len(names))
    found = [Stratum(name, int(rows), int(valid)) for name, rows, valid in zip(names, rows_S, valid_S, strict=True)]
    return sorted(found, key=lambda each: (-each.rows, each.name))


def write(path: Path, valid_N: np.ndarray, train: Path, valid: Path, progress: Progress | None = None) -> None:
    """Every line unchanged to one of two files."""
    at, many = 0, max(1, len(valid_N))
    with path.open("rb") as source, train.open("wb") as train_file, valid.open("wb") as valid_file:
        for number, line in jsonl.lines(source):
            if line is None or line.isspace():
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            (valid_file if valid_N[at] else train_file).write(line.rstrip(b"\r\n") + b"\n")
            at += 1
            if progress and at % 1000 == 0:
                progress(at / many)


def words(plan: Plan) -> str:
    """How it was split, as the end of a sentence."""
    parts = []
    if by := plan.stratify:
        named = {"system": "the system prompts", "turns": "the numbers of answers"}
        parts.append(f"spread evenly over {named.get(by) or by.removeprefix(FIELD)}")
    if by := plan.group:
        named = {"near": "near-duplicates", "first": "rows with the same first question"}
        parts.append(f"{named.get(by) or f'rows with the same {by.removeprefix(FIELD)}'} kept together")
    return ", ".join([*parts, f"seed {plan.seed}"])
