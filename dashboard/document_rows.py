"""Raw text on a dataset's page: its documents as rows, searched, and a long one part by part."""

from dataclasses import dataclass
from typing import Any

from django.utils.http import urlencode

from dashboard.row_filters import Filters, pattern_of
from dashboard.row_tokens import Reader
from training.documents import PART_CHARACTERS, Index, Part, Search, beginnings, part_of, read_index
from training.engine.errors import EngineError
from training.models import DatasetFile
from training.row_search import words_of
from training.texts import SHOWN_DOCUMENTS

BEFORE_CHARACTERS = 300  # of what was found
EXCERPT_CHARACTERS = 2000
LOOK_SECONDS = 1.0


def last_document(file: DatasetFile, index: Index) -> int:
    """That can be paged to: all, or without an index those that are reached soon enough."""
    return file.rows if index.lengths is not None else min(file.rows, SHOWN_DOCUMENTS)


def page(file: DatasetFile, index: Index, first: int, count: int) -> list[Part]:
    """Nothing where the file cannot be read; the check says why."""
    found: list[Part] = []
    try:
        for part in beginnings(file.path, index, first):
            found.append(part)
            if len(found) == count:
                break
    except EngineError:
        return []
    return found


@dataclass(frozen=True)
class Looked:
    """How far a search has come; `next`: document and part."""

    hits: list[Part]
    last: int
    share: float
    next: tuple[int, int] | None


def search(file: DatasetFile, index: Index, filters: Filters, first: int, part: int, most: int) -> Looked:
    """Raises EngineError."""
    words, longer = words_of(filters.values.get("q", "")), int(filters.values.get("longer", 0))
    found = Search(file.path, index, words, longer).look(first, part, most=most, seconds=LOOK_SECONDS)
    return Looked(found.hits, found.last, found.share, found.next)


def row_of(part: Part, filters: Filters, whole: bool) -> dict[str, Any]:
    """As a row; unless `whole`, only what stands around the first that was searched for."""
    pattern = pattern_of(filters)
    hit = pattern.search(part.text) if pattern and not whole else None
    if hit is None:
        return {"text": part.text}
    begin = max(0, hit.start() - BEFORE_CHARACTERS) if len(part.text) > EXCERPT_CHARACTERS else 0
    text = part.text[begin : begin + EXCERPT_CHARACTERS]
    end = "…" if begin + len(text) < len(part.text) or not part.ends else ""
    return {"text": ("…" if begin or part.at else "") + text + end}


def link(tokens: Reader, document: int, part: int = 1) -> str:
    address = tokens.row_link(document)
    return address if part == 1 else f"{address}{'&' if '?' in address else '?'}{urlencode({'part': part})}"


def words_about(part: Part, index: Index) -> str:
    """Which part of a long document it is; nothing of one that is shown whole."""
    if part.ends and not part.at:
        return ""
    length = index.length(part.document)
    of = f" of {-(-length // PART_CHARACTERS):,}" if length else ""
    place = f"characters {part.at + 1:,} to {part.at + len(part.text):,}"
    return f"Part {part.number:,}{of}: {place}" + (f" of {length:,}" if length else "")


def one_part(file: DatasetFile, document: int, number: int) -> tuple[Part | None, Index]:
    index = read_index(file.path)
    try:
        return part_of(file.path, index, document, number), index
    except EngineError:
        return None, index
