"""Filters over a dataset's rows as an address holds them, as a search asks for them and as people read them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
from django.http import QueryDict
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from training import token_index
from training.models import DatasetFile
from training.problem_groups import of_problems, title_of
from training.row_search import Query, system_key, turns_range, words_of

FIELDS = (
    "q", "role", "tools", "tool", "turns", "longer", "tokens", "weight", "system", "begins", "ends", "problem", "show",
)  # fmt: skip
OF_DOCUMENTS = ("q", "longer")  # what can be asked of raw text
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TOOLS = {"offered": "offers tools", "called": "calls a tool", "none": "offers no tools"}
SHOWS = {
    "untrained": "nothing to train on",
    "cut": "cut by the longest row",
    "lost": "answers wholly cut away",
}
UNREADABLE = ("not_json", "not_object", "not_utf8", "line_too_long")
LONGEST_WORDS = 500


@dataclass
class Filters:
    """What an address asks for. `faults` are said above the rows; what they concern asks nothing."""

    values: dict[str, str]
    faults: list[str] = field(default_factory=list)

    @property
    def asks(self) -> bool:
        return bool(self.values)

    @property
    def needs_tokens(self) -> bool:
        """Whether rows must have been counted under the base model."""
        return bool(self.values.keys() & {"tokens", "show"})

    def without(self, name: str) -> dict[str, str]:
        return {key: value for key, value in self.values.items() if key != name}


def read(given: QueryDict, fields: tuple[str, ...] = FIELDS) -> Filters:
    filters = Filters({})
    for name in fields:
        value = given.get(name, "")[:LONGEST_WORDS]
        value = value if name in ("begins", "ends") else value.strip()
        if value:
            fault = _fault(name, value)
            if fault:
                filters.faults.append(fault)
            else:
                filters.values[name] = value
    return filters


def _fault(name: str, value: str) -> str:
    if name in ("longer", "tokens") and not (value.isdecimal() and len(value) < 10):
        return f"“{value}” is no number of {'characters' if name == 'longer' else 'tokens'}; give one such as 2000."
    if name == "turns":
        try:
            turns_range(value)
        except ValueError:
            return f"“{value}” is no number of answers; give 2, 3-5 or 3-."
    choices = {"tools": TOOLS, "role": ROLES, "show": SHOWS}.get(name)
    if choices is not None and value not in choices:
        return f"“{value}” is not among the choices of “{name}”: {', '.join(choices)}."
    return ""


def query_of(filters: Filters, file: DatasetFile, records: Any, max_length: int | None) -> Query:
    """`records` as token_index reads them; needed only where `needs_tokens`."""
    values = filters.values
    query = Query(
        words=words_of(values.get("q", "")),
        role=values.get("role", ""),
        tools=values.get("tools", ""),
        tool=values.get("tool", ""),
        turns=values.get("turns", ""),
        longer=int(values.get("longer", 0)),
        weight="weight" in values,
        system=values.get("system", ""),
        begins=values.get("begins", ""),
        ends=values.get("ends", ""),
        problem=values.get("problem", ""),
        format=file.format,
    )
    if "problem" in values and _warned_lines(file, query.problem) is not None:
        query = replace(query, problem="")
    lists = [lines for lines in _line_lists(filters, file, records, max_length) if lines is not None]
    if not lists:
        return query
    lines = lists[0]
    for more in lists[1:]:
        lines = np.intersect1d(lines, more)
    return replace(query, lines=lines)


def _line_lists(filters: Filters, file: DatasetFile, records: Any, max_length: int | None) -> Iterator[Any]:
    if "problem" in filters.values:
        lines = _warned_lines(file, filters.values["problem"])
        yield None if lines is None else np.array(lines, dtype=np.int64)
    if records is None:
        return
    if "tokens" in filters.values:
        yield token_index.cut(records, int(filters.values["tokens"]))
    show = filters.values.get("show")
    if show == "untrained":
        yield token_index.untrained(records)
    elif show and max_length is not None:
        yield {"cut": token_index.cut, "lost": token_index.lost}[show](records, max_length)


def _groups(file: DatasetFile) -> list[dict[str, Any]]:
    """Problems by kind, of those that concern rows that can be read."""
    groups = file.problem_groups or of_problems(file.problems)
    return [group for group in groups if group["lines"] and group["kind"] not in UNREADABLE]


def problem_kinds(file: DatasetFile) -> list[tuple[str, str]]:
    """(kind, its title) of what the check has found."""
    return [(group["kind"], title_of(group["kind"])) for group in _groups(file)]


def _warned_lines(file: DatasetFile, kind: str) -> list[int] | None:
    """The lines that are kept of a warning; None of an error, which every row is asked for."""
    group = next((group for group in _groups(file) if group["kind"] == kind), None)
    if group is None:
        return []
    return sorted(group["lines"]) if group["level"] == "warning" else None


# ---- in words ----


@dataclass(frozen=True)
class Chip:
    words: str
    remove: str  # the address without it


def chips(filters: Filters, file: DatasetFile, kept: dict[str, str]) -> list[Chip]:
    """Each filter in words, with the address that no longer asks it."""
    return [
        Chip(_words(name, value, file), address(filters.without(name), kept)) for name, value in filters.values.items()
    ]


def _words(name: str, value: str, file: DatasetFile) -> str:
    if name == "system":
        prompts = {system_key(each["text"]): each["text"] for each in file.statistics.get("system_prompts", [])}
        if value == "none":
            return "no system prompt"
        return f"system prompt “{prompts[value][:60]}…”" if value in prompts else f"system prompt {value}"
    if name == "problem":
        return title_of(value)
    said = {
        "q": f"says {value}",
        "role": f"role {value}",
        "tools": TOOLS.get(value, ""),
        "tool": f"calls {value}",
        "turns": f"{value} answers",
        "longer": f"over {value} characters",
        "tokens": f"over {value} tokens",
        "weight": "has a weight 0",
        "begins": f"an answer begins “{value}”",
        "ends": f"an answer ends “{value}”",
        "show": SHOWS.get(value, ""),
    }
    return said[name]


def address(values: dict[str, Any], kept: dict[str, str]) -> str:
    return "?" + urlencode({"tab": "rows", **kept, **values}) + "#rows"


# ---- marks ----


def pattern_of(filters: Filters) -> re.Pattern[str] | None:
    """Any of what was searched for."""
    parts = [re.escape(word) for word in words_of(filters.values.get("q", ""))]
    parts += [re.escape(filters.values[name]) for name in ("begins", "ends") if name in filters.values]
    return re.compile("|".join(sorted(parts, key=len, reverse=True)), re.IGNORECASE) if parts else None


def marker(filters: Filters) -> Callable[[str], SafeString]:
    """Escapes a text and marks in it what was searched for."""
    pattern = pattern_of(filters)
    if pattern is None:
        return lambda text: format_html("{}", text)

    def mark(text: str) -> SafeString:
        pieces, end = [], 0
        for hit in pattern.finditer(text):
            pieces.append((text[end : hit.start()], hit[0]))
            end = hit.end()
        return format_html("{}{}", format_html_join("", "{}<mark>{}</mark>", pieces), text[end:])

    return mark
