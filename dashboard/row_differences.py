"""A row before and after a repair, side by side with what changed marked. Pure functions.

Unlike playground.differences, which compares what two answers say, spaces count here: they are what some repairs are
about.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final

from playground.differences import Part
from training import jsonl

TOKENS: Final = re.compile(r"\w+|\s|[^\w\s]")
MOST_CHARACTERS: Final = 50_000  # of the changed middle of both; a longer one is marked as a whole
MOST_TOKENS: Final = 3_000  # the same
CONTEXT: Final = 160  # characters shown of a long part that is the same, on each side of a change
MOST_SHOWN: Final = 3_000  # characters of one changed part


def sides(before: str, after: str) -> tuple[list[Part], list[Part]]:
    """The parts of both; what is the same is cut short around the changes."""
    parts = list(_parts(before, after))
    return _shown(parts, "added"), _shown(parts, "removed")


def as_text(rows: list[dict[str, Any]]) -> str:
    return "\n".join(map(jsonl.pretty, rows))


def _parts(before: str, after: str) -> Iterator[Part]:
    """Without the beginning and the end that both share, only the middle is compared."""
    head = _shared(before, after)
    rest_before, rest_after = before[head:], after[head:]
    tail = _shared(rest_before[::-1], rest_after[::-1])
    if head:
        yield Part("same", before[:head])
    yield from _middle(rest_before[: len(rest_before) - tail], rest_after[: len(rest_after) - tail])
    if tail:
        yield Part("same", rest_before[len(rest_before) - tail :])


def _shared(before: str, after: str) -> int:
    """How many characters both begin with, up to the end of a word."""
    shared, high = 0, min(len(before), len(after))
    while shared < high:  # by halves, since a row may have ten million characters
        middle = (shared + high + 1) // 2
        if before[shared:middle] == after[shared:middle]:
            shared = middle
        else:
            high = middle - 1
    while 0 < shared < max(len(before), len(after)) and before[shared - 1].isalnum():
        shared -= 1
    return shared


def _middle(before: str, after: str) -> Iterator[Part]:
    long = len(before) + len(after) > MOST_CHARACTERS
    old, new = ([before], [after]) if long else (TOKENS.findall(before), TOKENS.findall(after))
    if long or len(old) + len(new) > MOST_TOKENS:
        steps = [("replace", 0, len(old), 0, len(new))]
    else:
        steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    for kind, old_from, old_to, new_from, new_to in steps:
        if kind == "equal":
            yield Part("same", "".join(old[old_from:old_to]))
            continue
        if old_from < old_to:
            yield Part("removed", "".join(old[old_from:old_to]))
        if new_from < new_to:
            yield Part("added", "".join(new[new_from:new_to]))


def _shown(parts: list[Part], other: str) -> list[Part]:
    kept = [part for part in parts if part.kind != other]
    last = len(kept) - 1
    return [
        Part(part.kind, _short(part.text, part.kind, first=at == 0, last=at == last)) for at, part in enumerate(kept)
    ]


def _short(text: str, kind: str, first: bool, last: bool) -> str:
    if kind != "same":
        return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]} …"
    if len(text) <= 2 * CONTEXT + 40:
        return text
    before, after = ("" if first else text[:CONTEXT]), ("" if last else text[-CONTEXT:])
    return f"{before} … {after}"
