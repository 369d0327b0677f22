"""Repairs of messages: pure functions from a row to a row, which give the same object back where nothing is changed."""

from collections.abc import Callable
from typing import Any

from training.engine.pairs import SPELLINGS
from training.message_rules import is_text_part, meant_role, meant_weight
from training.rules import MESSAGE_KEYS, ROW_KEYS, Row

Message = dict[str, Any]
PART_BORDER = "\n"  # between text parts; vLLM joins them so, too
INPUT_KEYS = frozenset({"messages", "prompt"})  # where messages stand in a list
LIST_KEYS = INPUT_KEYS | {key for keys in SPELLINGS for key in keys[1:]}
SYSTEM_ROLES = ("system", "developer")
Change = Callable[[list[Any]], list[Any]]


# ---- where messages stand in a row ----


def over_messages(row: Row, change: Change, answers: bool = True) -> Row:
    """The row with each list of its messages changed: those of a chat, of a preference's input and of its answers."""
    changed: Row = {}
    for key, value in row.items():
        if isinstance(value, list) and key in (LIST_KEYS if answers else INPUT_KEYS):
            new = change(value)
            if new is not value:
                changed[key] = new
    given = row.get("input")
    if isinstance(given, dict) and isinstance(given.get("messages"), list):
        new = change(given["messages"])
        if new is not given["messages"]:
            changed["input"] = given | {"messages": new}
    return row | changed if changed else row


def each(change: Callable[[Message], Message]) -> Callable[[Row], Row]:
    """A repair of every message by itself."""

    def over(messages: list[Any]) -> list[Any]:
        new: list[Any] | None = None
        for at, message in enumerate(messages):
            if isinstance(message, dict) and (changed := change(message)) is not message:
                new = [*messages] if new is None else new
                new[at] = changed
        return messages if new is None else new

    return lambda row: over_messages(row, over)


def without(message: Message, *keys: str) -> Message:
    return {key: value for key, value in message.items() if key not in keys}


# ---- one message ----


def role_name(message: Message) -> Message:
    """human, gpt, bot, model, USER ... under the names that are known."""
    meant = meant_role(message.get("role"))
    return message | {"role": meant} if meant else message


def text_parts(message: Message) -> Message:
    """Content in text parts as one text, a line break between two parts."""
    content = message.get("content")
    if not isinstance(content, list) or not content or not all(map(is_text_part, content)):
        return message
    return message | {"content": PART_BORDER.join(part["text"] for part in content)}


def refusal(message: Message) -> Message:
    """An answer under "refusal" becomes the content, which is what is trained on."""
    said = message.get("refusal")
    calls = message.get("tool_calls") or message.get("function_call")
    if message.get("role") != "assistant" or message.get("content") is not None or calls or not isinstance(said, str):
        return message
    return without(message, "refusal") | {"content": said}


def weight_place(message: Message) -> Message:
    """A weight only where something is trained on."""
    if "weight" not in message or message.get("role") == "assistant":
        return message
    return without(message, "weight")


def weight_type(message: Message) -> Message:
    """true, "1" and the like as 0 or 1; null as no weight at all."""
    if message.get("role") != "assistant" or "weight" not in message:
        return message
    if message["weight"] is None:
        return without(message, "weight")
    meant = meant_weight(message["weight"])
    return message if meant is None else message | {"weight": meant}


def trailing_space(message: Message) -> Message:
    """An answer without the spaces and line breaks at its end; one of nothing else is an empty message."""
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, str) or not content.strip():
        return message
    short = content.rstrip()
    return message if short == content else message | {"content": short}


def unknown_fields(row: Row) -> Row:
    """Only fields that mean something; of chat rows, since others may be read by other programs."""
    if not isinstance(row.get("messages"), list):
        return row
    row = each(_known)(row)
    return row if row.keys() <= ROW_KEYS else {key: value for key, value in row.items() if key in ROW_KEYS}


def _known(message: Message) -> Message:
    return message if message.keys() <= MESSAGE_KEYS else without(message, *(message.keys() - MESSAGE_KEYS))


# ---- a conversation ----


def is_empty(message: Any) -> bool:
    """Says nothing and calls nothing; a tool may answer with nothing."""
    if not isinstance(message, dict) or message.get("role") in ("tool", "function"):
        return False
    content = message.get("content")
    silent = content is None or (isinstance(content, str) and not content.strip())
    return silent and not any(message.get(key) for key in ("tool_calls", "function_call", "refusal"))


def empty_messages(row: Row) -> Row | None:
    """Without empty messages, and without what an empty answer would have answered; None when no answer is left."""
    if not isinstance(row.get("messages"), list):
        return over_messages(row, _without_empty, answers=False)
    new = over_messages(row, _without_empty)
    if new is not row and not any(isinstance(m, dict) and m.get("role") == "assistant" for m in new["messages"]):
        return None
    return new


def _without_empty(messages: list[Any]) -> list[Any]:
    kept: list[Any] = []
    for message in messages:
        if not is_empty(message):
            kept.append(message)
        elif message.get("role") == "assistant":
            while kept and isinstance(kept[-1], dict) and kept[-1].get("role") == "user":
                kept.pop()
    return kept if len(kept) != len(messages) else messages


def system_prompt(text: str) -> Callable[[Row], Row]:
    """Puts this system message first where there is none."""

    def add(messages: list[Any]) -> list[Any]:
        there = any(isinstance(message, dict) and message.get("role") in SYSTEM_ROLES for message in messages)
        return messages if there or not messages else [{"role": "system", "content": text}, *messages]

    return lambda row: over_messages(row, add, answers=False)


def takes_system(row: Row) -> bool:
    """It has messages, before which a system message can stand; a prompt of text has none."""
    given = row.get("input")
    return any(isinstance(row.get(key), list) for key in INPUT_KEYS) or (
        isinstance(given, dict) and isinstance(given.get("messages"), list)
    )


def system_of(row: Row) -> str:
    """The first system message of a row; empty when it has none."""
    given = row.get("input")
    lists = (row.get("messages"), row.get("prompt"), given.get("messages") if isinstance(given, dict) else None)
    messages = next((each for each in lists if isinstance(each, list)), [])
    for message in messages:
        if isinstance(message, dict) and message.get("role") in SYSTEM_ROLES:
            content = message.get("content")
            return content if isinstance(content, str) else ""
    return ""
