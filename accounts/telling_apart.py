"""Things with the same name in one list: each says when it was made, and where that is not enough its short id."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

from django.utils import timezone

Row = TypeVar("Row")
SHORT_ID = 6  # last characters of an id that are enough to find it by


def tell_apart(rows: Iterable[Row], name: str = "name") -> list[Row]:
    """The same rows, each with `apart`: empty where no other in the list has its name, else words to put behind it.
    `name` is the attribute that a person reads, dots allowed."""
    found: list[Any] = list(rows)
    read = attrgetter(name)
    named = Counter(read(row) for row in found)
    made = Counter((read(row), _made(row.created_at)) for row in found)
    for row in found:
        when = _made(row.created_at)
        words = f"made {when}" if named[read(row)] > 1 else ""
        row.apart = words if made[read(row), when] < 2 else f"{words}, …{str(row.pk)[-SHORT_ID:]}"
    return found


def label(words: str, row: Any) -> str:
    """For a choice, which is one line of text."""
    return f"{words} · {row.apart}" if row.apart else words


def _made(at: datetime) -> str:
    """'3 Nov, 14:05'; of another year with it."""
    local = timezone.localtime(at)
    year = "" if local.year == timezone.localtime().year else f" {local.year}"
    return f"{local.day} {local:%b}{year}, {local:%H:%M}"
