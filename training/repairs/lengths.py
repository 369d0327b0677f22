"""Rows that are longer than a base model is trained on: cut after a turn, split between turns, or left out.

A turn here is what a person says and everything until the person speaks again: calls, their answers, the answer. What
stands before the first turn (the system message) stays in front of every part.
"""

from collections.abc import Callable
from typing import Any, Literal

from training.engine.chat import ChatFormat
from training.engine.errors import EngineError
from training.engine.pairs import encode_sequences
from training.rules import Row, detect_format, row_errors

How = Literal["truncate", "split", "drop"]
Fits = Callable[[Row], bool]


def fits(chat: ChatFormat, max_length: int) -> Fits:
    """Whether the trainer would read the whole of a row; one that the template refuses is no matter of length."""

    def whole(row: Row) -> bool:
        try:
            return all(len(encoded.token_ids) <= max_length for encoded in encode_sequences(chat, row))
        except (EngineError, KeyError, TypeError, AttributeError):  # a row with other problems
            return True

    return whole


def shorten(row: Row, how: How, whole: Fits) -> list[Row]:
    """The same row alone where it fits. Where nothing of it fits, or it cannot be divided, nothing is left."""
    if whole(row):
        return [row]
    if how == "drop" or detect_format(row) != "chat" or row_errors(row, "chat"):
        return []
    head, turns = _divided(row["messages"])
    first = _most(row, head, turns, whole)
    if how == "truncate":
        return _trained([_with(row, head, turns[:first])] if first else [])
    parts: list[Row] = []
    while turns:
        count = _most(row, head, turns, whole)
        if count:
            parts.append(_with(row, head, turns[:count]))
        turns = turns[max(count, 1) :]  # a turn that does not fit by itself is left out
    return _trained(parts)


def why_left_out(row: Row, how: How, whole: Fits) -> str:
    """Of a row of which shorten leaves nothing: empty where that was asked for, else why it cannot be divided."""
    if how == "drop":
        return ""
    if detect_format(row) != "chat":
        return "turns"
    if row_errors(row, "chat"):
        return "problems"
    head, turns = _divided(row["messages"])
    tried = turns[:1] if how == "truncate" else turns
    return "answer" if any(whole(_with(row, head, [turn])) for turn in tried) else "first"


def _divided(messages: list[Any]) -> tuple[list[Any], list[list[Any]]]:
    head: list[Any] = []
    turns: list[list[Any]] = []
    before = ""
    for message in messages:
        if message["role"] == "user" and before != "user":
            turns.append([])
        if turns:
            turns[-1].append(message)
        elif message["role"] in ("system", "developer"):
            head.append(message)
        else:  # the assistant speaks first
            turns.append([message])
        before = message["role"]
    return head, turns


def _most(row: Row, head: list[Any], turns: list[list[Any]], whole: Fits) -> int:
    """How many of the first turns fit together; more turns never take fewer tokens."""
    low, high = 0, len(turns)
    while low < high:
        middle = (low + high + 1) // 2
        if whole(_with(row, head, turns[:middle])):
            low = middle
        else:
            high = middle - 1
    return low


def _with(row: Row, head: list[Any], turns: list[list[Any]]) -> Row:
    return row | {"messages": [*head, *(message for turn in turns for message in turn)]}


def _trained(rows: list[Row]) -> list[Row]:
    """Those that something can be learned from."""
    return [row for row in rows if not row_errors(row, "chat")]
