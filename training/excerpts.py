"""What stands at a place of a row, cut short, to be shown beside what is wrong with it. Pure functions."""

import json
import re
from typing import Any

LONGEST = 120  # characters
LONGEST_ROW = 3_000
_step = re.compile(r"\[(\d+)\]|[^.\[\]]+")


def at(row: Any, place: str) -> str:
    """The value at a place such as `messages[1].content`; where it is missing, what it is missing in."""
    value = row
    for step in _step.finditer(place):
        number, key = step.group(1), step.group()
        if number is not None and isinstance(value, list) and int(number) < len(value):
            value = value[int(number)]
        elif number is None and isinstance(value, dict) and key in value:
            value = value[key]
        else:
            break
    return of(value)


def of(value: Any) -> str:
    """As JSON, so that spaces and types can be seen; of a long text both ends."""
    if isinstance(value, str) and len(value) > LONGEST:
        value = f"{value[: LONGEST // 2]} … {value[-LONGEST // 2 :]}"
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "nested too deeply to be shown"
    return text if len(text) <= LONGEST + 10 else f"{text[:LONGEST]} …"


def beginning(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest].rstrip()} …"


def of_line(line: bytes, longest: int = LONGEST) -> str:
    """Of a line that is no row: its beginning."""
    return beginning(line[: 4 * longest].decode("utf-8", "replace").strip(), longest)


def of_row(row: Any) -> str:
    """A whole row, indented; of a very long one the beginning."""
    try:
        text = json.dumps(row, ensure_ascii=False, indent=2)
    except RecursionError:
        return "nested too deeply to be shown"
    return beginning(text, LONGEST_ROW)
