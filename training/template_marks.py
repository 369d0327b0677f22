"""Marks of chat templates that stand in a text: ChatML's, Llama 3's, Gemma's and Phi's. Base models of that family read
them as borders of turns, wherever they come from; others as plain text. Pure functions.

`[INST]` (Llama 2) is plain text, `<s>` more often HTML; both are left alone, and so is raw text, which has no turns.
"""

import re
from collections.abc import Iterator
from typing import Any

from training.engine.pairs import SPELLINGS

_MARK = (
    r"<\|(?:im_start|im_end|endoftext|begin_of_text|end_of_text|start_header_id|end_header_id|eot_id|eom_id|python_tag"
    r"|system|user|assistant|end)\|>|<(?:start|end)_of_turn>"
)
_MARKS = re.compile(_MARK)
_WITH_ROLES = re.compile(  # a turn's head goes with its role
    r"<\|im_start\|>(?:system|user|assistant|tool)\n"
    r"|<\|start_header_id\|>(?:system|user|assistant|tool|ipython)<\|end_header_id\|>\n{0,2}"
    rf"|<start_of_turn>(?:user|model)\n|{_MARK}"
)
TEXT_KEYS = ("prompt", "completion", "chosen", "rejected")  # where they are texts


def may_hold(line: bytes) -> bool:
    """Whether a line of JSON is worth a look."""
    return b"<|" in line or b"_of_turn>" in line or b"\\u003" in line


def first_in(row: dict[str, Any]) -> tuple[str, str, str] | None:
    """(the mark, the place of its text, what stands around it) of the first one in a sound row."""
    for place, text in _texts(row):
        if found := _MARKS.search(text):
            around = text[max(0, found.start() - 40) : found.end() + 40]
            return found.group(), place, around
    return None


def without(text: str) -> str:
    """A text that holds nothing else stays: an empty one would teach nothing."""
    short = _WITH_ROLES.sub("", text)
    return short if short.strip() else text


def _texts(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    given = row.get("input")
    lists: dict[str, Any] = {key: row.get(key) for key in ("messages", *(key for keys in SPELLINGS for key in keys))}
    lists["input.messages"] = given.get("messages") if isinstance(given, dict) else None
    for name, messages in lists.items():
        for at, message in enumerate(messages if isinstance(messages, list) else ()):
            content = message.get("content") if isinstance(message, dict) else None
            if isinstance(content, str):
                yield f"{name}[{at}].content", content
    for key in TEXT_KEYS:
        if isinstance(row.get(key), str):
            yield key, row[key]
