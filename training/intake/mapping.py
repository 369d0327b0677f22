"""Which columns of a table become which part of a training row.

Each part of a row is a template: text in which {column} stands for that row's cell, and {{ for a brace. A template that
is one column and nothing else takes the cell as it is, so that a list of messages stays one.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.intake.errors import IntakeError
from training.intake.known_names import ANSWERED, ASKED, CHOSEN, MESSAGES, REJECTED, SYSTEM, TAGS, TEXT
from training.intake.tables import Cells
from training.rules import Row

TARGETS = {"chat": "Chat", "completion": "Prompt and completion", "preference": "Preference", "text": "Raw text"}
# the parts of each target; the first ones that are needed, the others may stay empty
PARTS = {
    "chat": ("system", "user", "assistant", "messages", "tools", "tags"),
    "completion": ("prompt", "completion", "tags"),
    "preference": ("system", "prompt", "chosen", "rejected", "tags"),
    "text": ("text",),
}
NEEDED = {"completion": ("completion",), "preference": ("chosen", "rejected"), "text": ("text",)}
ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bot": "assistant",
    "model": "assistant", "ai": "assistant", "chatgpt": "assistant", "system": "system", "tool": "tool",
}  # fmt: skip
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_ONE_COLUMN = re.compile(r"^\{([^{}]+)\}$")
LONGEST_TEMPLATE = 20_000


class CannotMap(Exception):
    """Why one row gives nothing; the same words for all rows of a kind."""


@dataclass(frozen=True)
class Mapping:
    """`parts` by name; those that are empty are absent."""

    target: str
    parts: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return {"target": self.target, "parts": self.parts}


def mapping_of(target: str, parts: dict[str, str], columns: list[str]) -> Mapping:
    """Raises IntakeError where it names no known target or column, or lacks a part."""
    if not columns:
        raise IntakeError("This file has no columns", "Upload a table with at least one column.", kind="columns")
    if target not in TARGETS:
        raise IntakeError(f"{target!r} is no format", f"Choose one of {', '.join(TARGETS)}.")
    given = {name: parts[name] for name in PARTS[target] if parts.get(name, "").strip()}
    for name, template in given.items():
        if len(template) > LONGEST_TEMPLATE:
            raise IntakeError(f'The template of "{name}" is too long', f"At most {LONGEST_TEMPLATE:,} characters.")
        if lone := _lone_brace(template):
            fix = f"Close it, as in {{{columns[0]}}}; a brace that is meant as text is written twice: {lone}{lone}."
            raise IntakeError(f'A "{lone}" in "{name}" stands alone', fix)
        for column in _columns_of(template):
            if column not in columns:
                known = ", ".join(columns[:20])
                raise IntakeError(f'There is no column "{column[:80]}" (in "{name}")', f"The columns are: {known}.")
    if missing := _missing(target, given):
        raise IntakeError(f"Nothing is chosen for {missing}", f"Name a column, such as {{{columns[0]}}}.")
    return Mapping(target, given)


def _missing(target: str, given: dict[str, str]) -> str:
    if target == "chat":
        return "" if "messages" in given or {"user", "assistant"} <= given.keys() else "the messages"
    return next((f'"{name}"' for name in NEEDED[target] if name not in given), "")


def _columns_of(template: str) -> list[str]:
    return [match[1] for match in _PIECE.finditer(template) if match[1] is not None]


def _lone_brace(template: str) -> str:
    """A brace that belongs to no {column} and is not written twice; empty where there is none."""
    left = _PIECE.sub("", template)
    return next((brace for brace in "{}" if brace in left), "")


# ---- one row ----


def make_row(mapping: Mapping, cells: Cells) -> Row:
    """A row in the target's format; whether it is fit for training is for the check to say. Raises CannotMap."""
    parts = {name: _fill(template, cells) for name, template in mapping.parts.items()}
    row = {"chat": _chat, "completion": _completion, "preference": _preference, "text": _text}[mapping.target](parts)
    if tags := _tags(parts.get("tags")):
        row["tags"] = tags
    return row


def line_of(row: Row) -> bytes:
    """Raises CannotMap for what no JSON file can hold."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False, default=str).encode() + b"\n"
    except UnicodeEncodeError:
        raise CannotMap("The row holds half of a surrogate pair, which is not text") from None
    except (ValueError, RecursionError):
        raise CannotMap("The row holds a value that JSON has no word for") from None


def _fill(template: str, cells: Cells) -> Any:
    """The cell itself for one column alone; else text."""
    alone = _ONE_COLUMN.match(template.strip())
    if alone:
        return cells.get(alone[1])

    def piece(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else text_of(cells.get(match[1]))

    return _PIECE.sub(piece, template).strip()


def text_of(value: Any) -> str:
    """Of a cell; what is no text as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return str(value)


def _trimmed(value: Any) -> str:
    return text_of(value).strip()


def _chat(parts: dict[str, Any]) -> Row:
    system = _trimmed(parts.get("system"))
    if "messages" in parts:
        messages = messages_of(parts["messages"])
    else:
        user, answer = _trimmed(parts["user"]), _trimmed(parts["assistant"])
        if not user and not answer:
            raise CannotMap("The row holds nothing to learn")
        messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    if system and messages[0].get("role") != "system":
        messages = [{"role": "system", "content": system}, *messages]
    row: Row = {"messages": messages}
    if tools := _json_of(parts.get("tools")):
        row["tools"] = tools
    return row


def _completion(parts: dict[str, Any]) -> Row:
    prompt, completion = text_of(parts.get("prompt")), text_of(parts["completion"])
    if not prompt.strip() and not completion.strip():
        raise CannotMap("The row holds nothing to learn")
    return {"prompt": prompt, "completion": completion}


def _text(parts: dict[str, Any]) -> Row:
    text = text_of(parts["text"])
    if not text.strip():
        raise CannotMap("The row holds no text")
    return {"text": text}


def _preference(parts: dict[str, Any]) -> Row:
    """Answers may be texts, or conversations whose last message is the answer and whose others are what was asked."""
    before, chosen = _answer(parts["chosen"])
    _, rejected = _answer(parts["rejected"])
    asked = before
    if parts.get("prompt"):
        prompt = parts["prompt"]
        asked = messages_of(prompt) if _is_messages(prompt) else [{"role": "user", "content": _trimmed(prompt)}]
    if not asked:
        raise CannotMap("The row says nothing that the two answers would answer")
    system = _trimmed(parts.get("system"))
    if system and asked[0].get("role") != "system":
        asked = [{"role": "system", "content": system}, *asked]
    return {"input": {"messages": asked}, "preferred_output": [chosen], "non_preferred_output": [rejected]}


def _answer(value: Any) -> tuple[list[Row], Row]:
    """What stands before the answer, and the answer."""
    if _is_messages(value):
        messages = messages_of(value)
        if messages[-1].get("role") != "assistant":
            raise CannotMap("A conversation does not end with the assistant's answer")
        return messages[:-1], messages[-1]
    text = _trimmed(value)
    if not text:
        raise CannotMap("One of the two answers is empty")
    return [], {"role": "assistant", "content": text}


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("[{"))


def messages_of(value: Any) -> list[Row]:
    """Of a list, or of one written as JSON in a cell; ShareGPT's from and value are understood. Raises CannotMap."""
    found = _json_of(value)
    if not isinstance(found, list) or not found:
        raise CannotMap("The column with the messages holds no list of messages")
    return [_message(each) for each in found]


def _message(given: Any) -> Row:
    if not isinstance(given, dict):
        raise CannotMap("A message is no object")
    message = {key: value for key, value in given.items() if value is not None or key == "content"}
    if "from" in message and "role" not in message:
        message["role"] = message.pop("from")
    if "value" in message and "content" not in message:
        message["content"] = message.pop("value")
    role = message.get("role")
    if isinstance(role, str):
        message["role"] = ROLES.get(role.strip().lower(), role)
    first = {key: message.pop(key) for key in ("role", "content") if key in message}
    return first | message


def _json_of(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise CannotMap("A cell that should hold JSON does not") from None


def _tags(value: Any) -> list[str]:
    """A list, or texts with commas between them."""
    if value is None or value == "":
        return []
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [tag.strip() for tag in value.split(",") if tag.strip()]
    found = _json_of(value)
    return [text_of(tag) for tag in (found if isinstance(found, list) else [found])]


# ---- guesses ----


def guess(columns: list[str], rows: list[Cells]) -> Mapping:
    """What the names and the first rows suggest; a person sees it and changes what is wrong. Parts may be missing."""
    one = _Finder(columns)
    for suggest in (_guess_messages, _guess_preference, _guess_pair, _guess_question):
        if found := suggest(one, rows):
            parts = {name: template for name, template in found.parts.items() if template}
            if "tags" in PARTS[found.target] and (tags := one(TAGS)):
                parts["tags"] = tags
            return Mapping(found.target, parts)
    if text := one(TEXT):
        return Mapping("text", {"text": text})
    if len(columns) == 1:
        return Mapping("text", {"text": f"{{{columns[0]}}}"})
    return Mapping("chat", _guess_by_length(columns, rows, one(ASKED)) if columns else {})


def _guess_by_length(columns: list[str], rows: list[Cells], asked: str) -> dict[str, str]:
    """`asked`: the column that its name gives away, as a template, if there is one. "ticket" may be a number only, so
    it must also hold a good part of the text."""
    others = [column for column in columns if f"{{{column}}}" != asked]
    if asked and others:
        longest = max(others, key=lambda column: _letters(column, rows))
        if 4 * _letters(asked[1:-1], rows) >= _letters(longest, rows):
            return {"user": asked, "assistant": f"{{{longest}}}"}
    first, second = _longest_two(columns, rows)
    return {"user": f"{{{first}}}", "assistant": f"{{{second}}}"}


def _letters(column: str, rows: list[Cells]) -> int:
    return sum(len(text_of(row.get(column))) for row in rows)


def _longest_two(columns: list[str], rows: list[Cells]) -> tuple[str, str]:
    """The two columns with the most text in them, in the order of the table: what is asked and answered is long, what
    an id, a date or a topic says is short."""
    most = sorted(columns, key=lambda column: -_letters(column, rows))[:2]
    one, other = sorted(most, key=columns.index)
    return one, other


class _Finder:
    """The first column with one of these names, as a template; empty where there is none. "Question (de)" is a question
    where no column is called that alone."""

    def __init__(self, columns: list[str]) -> None:
        whole = {self._plain(column): column for column in reversed(columns)}
        self.by_name = {self._plain(re.sub(r"\([^)]*\)", "", column)): column for column in reversed(columns)} | whole

    @staticmethod
    def _plain(name: str) -> str:
        return re.sub(r"[\s-]+", "_", name.strip().lower())

    def __call__(self, names: tuple[str, ...]) -> str:
        return next((f"{{{self.by_name[name]}}}" for name in names if name in self.by_name), "")


Finder = Callable[[tuple[str, ...]], str]


def _guess_messages(one: Finder, rows: list[Cells]) -> Mapping | None:
    for name in MESSAGES:
        template = one((name,))
        if template and any(_is_messages(row.get(template[1:-1])) for row in rows):
            return Mapping("chat", {"messages": template, "system": one(SYSTEM), "tools": one(("tools",))})
    return None


def _guess_preference(one: Finder, rows: list[Cells]) -> Mapping | None:
    chosen, rejected = one(CHOSEN), one(REJECTED)
    if not chosen or not rejected:
        return None
    parts = {"system": one(SYSTEM), "prompt": one(ASKED), "chosen": chosen, "rejected": rejected}
    return Mapping("preference", parts)


def _guess_pair(one: Finder, rows: list[Cells]) -> Mapping | None:
    prompt, completion = one(("prompt",)), one(("completion",))
    return Mapping("completion", {"prompt": prompt, "completion": completion}) if prompt and completion else None


def _guess_question(one: Finder, rows: list[Cells]) -> Mapping | None:
    """Alpaca's instruction, input and output too; a text and its label."""
    answered = one(ANSWERED)
    asked = one(ASKED) or (one(TEXT) if answered else "")
    if not answered or not asked:
        return None
    more = one(("input", "context"))
    user = f"{asked}\n\n{more}" if more and more != asked else asked
    return Mapping("chat", {"system": one(SYSTEM), "user": user, "assistant": answered})
