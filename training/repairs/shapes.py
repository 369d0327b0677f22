"""Repairs of whole rows: another program's format, a prompt's last space, pairs that say nothing."""

from typing import Any

from training.engine.pairs import is_preference, spelling_of
from training.repairs.messages import SYSTEM_ROLES, Message, each, role_name
from training.rules import Row
from training.template_marks import TEXT_KEYS, without


def sharegpt(row: Row) -> Row:
    """{"conversations": [{"from", "value"}]} as messages with role and content; its "system" becomes the first."""
    turns = row.get("conversations")
    if "messages" in row or not isinstance(turns, list):
        return row
    messages = [_message(turn) for turn in turns]
    system = row.get("system")
    systems = any(isinstance(each, dict) and each.get("role") in SYSTEM_ROLES for each in messages)
    taken = isinstance(system, str) and bool(system.strip()) and not systems
    if taken:
        messages = [{"role": "system", "content": system}, *messages]
    left_out = {"conversations", "system"} if taken or system in ("", None) else {"conversations"}
    return {"messages": messages, **{key: value for key, value in row.items() if key not in left_out}}


def _message(turn: Any) -> Any:
    """A turn's other fields stay."""
    if not isinstance(turn, dict) or "role" in turn or "content" in turn:
        return turn
    names = {"from": "role", "value": "content"}
    return role_name({names.get(key, key): value for key, value in turn.items()})


def prompt_space(row: Row) -> Row:
    """The spaces at the end of a prompt stand at the start of its completion: tokens usually begin with them."""
    prompt, completion = row.get("prompt"), row.get("completion")
    if not isinstance(prompt, str) or not isinstance(completion, str) or not prompt.endswith(" "):
        return row
    short = prompt.rstrip(" ")
    spaces = "" if completion.startswith(" ") else prompt[len(short) :]
    return row | {"prompt": short, "completion": spaces + completion}


def same_answers(row: Row) -> Row | None:
    """A pair whose answers are the same says nothing about which is better."""
    if not is_preference(row):
        return row
    _, preferred, other = spelling_of(row)
    there = row.get(preferred) is not None
    return None if there and row.get(preferred) == row.get(other) else row


def template_marks(row: Row) -> Row:
    """Texts without <|im_end|> and the like, in messages, prompts and answers."""
    row = _unmarked(row)
    short = {key: without(row[key]) for key in TEXT_KEYS if isinstance(row.get(key), str)}
    return row if all(row[key] == text for key, text in short.items()) else row | short


def _unmarked_message(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, str) or (short := without(content)) == content:
        return message
    return message | {"content": short}


_unmarked = each(_unmarked_message)
