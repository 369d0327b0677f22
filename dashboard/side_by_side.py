"""Two rows beside each other, turn by turn, with the words that only one of them has marked."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

from dashboard.turns import answers_of, turns_of
from playground.differences import Part, difference

LONG_TEXT = 4000  # characters of a message that are compared and shown
MOST_TURNS = 30
Said = tuple[str, str]  # role and text


@dataclass(frozen=True)
class Turn:
    """What both rows say at one place; a side that says nothing there has no parts."""

    role: str
    one: tuple[Part, ...]
    other: tuple[Part, ...]
    same: bool
    cut: bool  # one of them is longer than what is shown


def said(row: dict[str, Any] | None) -> list[Said]:
    """Role and text of every turn, of both answers of a preference row too."""
    found = [(turn["role"], _text(turn)) for turn in turns_of(row)]
    for answer in answers_of(row):
        found += [(answer["label"], _text(turn)) for turn in answer["turns"]]
    return found


def _text(turn: dict[str, Any]) -> str:
    return "\n".join(part for part in (turn["text"] + turn["rest"], turn["calls"]) if part)


def compared(one: list[Said], other: list[Said]) -> list[Turn]:
    """Turns of one role stand beside each other: a system message that only one row has shifts nothing."""
    one, other = one[:MOST_TURNS], other[:MOST_TURNS]
    alike = SequenceMatcher(None, [role for role, _ in one], [role for role, _ in other], autojunk=False)
    return [
        _turn(ours, theirs)
        for _, begin, end, from_, to in alike.get_opcodes()
        for ours, theirs in zip_longest(one[begin:end], other[from_:to], fillvalue=("", ""))
    ]


def _turn(one: Said, other: Said) -> Turn:
    before, now = one[1][:LONG_TEXT], other[1][:LONG_TEXT]
    role = one[0] if one[0] == other[0] else " / ".join(role for role in (one[0], other[0]) if role)
    cut = len(one[1]) > LONG_TEXT or len(other[1]) > LONG_TEXT
    if before == now:
        same = (Part("same", before),)
        return Turn(role, same, same, True, cut)
    return Turn(role, _seen_from(now, before), _seen_from(before, now), False, cut)


def _seen_from(other: str, text: str) -> tuple[Part, ...]:
    """The text letter by letter, with the words marked that the other one lacks."""
    return tuple(part for part in difference(other, text).parts if part.kind != "removed")
