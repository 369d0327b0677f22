"""A dataset's row as turns to draw, whatever its format and however broken it is."""

import json
from typing import Any

from training import jsonl
from training.engine.pairs import is_preference, spelling_of
from training.row_search import offered_tools

LONG_CALL = 200  # characters of a tool call that stand in one line
LONG_TEXT = 4000  # characters of a message shown before "show all"
MOST_TURNS = 200
MOST_FIELDS = 20
KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
Turn = dict[str, Any]


def turns_of(row: dict[str, Any] | None) -> list[Turn]:
    """Of a preference row: what both answers answer."""
    if row is None:
        return []
    if is_preference(row):
        given = row.get(spelling_of(row)[0])
        return _turns(given.get("messages") if isinstance(given, dict) else given, role="user", trained=False)
    if isinstance(row.get("messages"), list):
        return _turns(row["messages"])
    keys = [key for key in row if isinstance(row[key], str | list | dict)]
    names = {"prompt": "user", "completion": "assistant", "text": "assistant"}
    turns = [_turn({"role": names.get(key, key), "content": row[key], "name": key}) for key in keys[:MOST_FIELDS]]
    for turn in turns:
        if turn["name"] == "text":  # nobody says raw text
            turn |= {"role": "text", "known": True}
    return turns


def tools_of(row: dict[str, Any] | None) -> str:
    """The names of the tools that a row offers, in one line."""
    return ", ".join(filter(None, offered_tools(row or {})))[:LONG_TEXT]


def answers_of(row: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Both answers of a preference row, to stand side by side; none of any other row."""
    if row is None or not is_preference(row):
        return []
    _, preferred, other = spelling_of(row)
    return [
        {"label": "preferred", "preferred": True, "turns": _turns(row.get(preferred))},
        {"label": "not preferred", "preferred": False, "turns": _turns(row.get(other), trained=False)},
    ]


def _turns(value: Any, role: str = "assistant", trained: bool = True) -> list[Turn]:
    """Of a list of messages, or of a text said by `role`."""
    messages = value if isinstance(value, list) else [{"role": role, "content": value}]
    return [_turn(message, trained) for message in messages[:MOST_TURNS]]


def _turn(message: Any, trained: bool = True) -> Turn:
    if not isinstance(message, dict):
        message = {"role": "not a message", "content": message}
    role = message.get("role") if isinstance(message.get("role"), str) else "no role"
    content = message.get("content")
    calls = message.get("tool_calls") or message.get("function_call")
    silent = content is None and bool(calls)  # whoever calls need not say anything
    text = "" if silent else content if isinstance(content, str) else jsonl.pretty(content)
    masked = message.get("weight", 1) == 0
    return {
        "role": role,
        "known": role in KNOWN_ROLES,
        "name": message.get("name") or "",
        "text": text[:LONG_TEXT],
        "rest": text[LONG_TEXT:],
        "calls": _pretty_calls(calls) if calls else "",
        "masked": masked,
        "trained": trained and role == "assistant" and not masked,
    }


def _pretty_calls(calls: Any) -> str:
    """A line for each call, its tool and its arguments; as JSON where they are of another shape or long."""
    try:
        lines = [_call_line(call) for call in calls] if isinstance(calls, list) else [""]
        if all(0 < len(line) <= LONG_CALL for line in lines):
            return "\n".join(lines)
        return jsonl.pretty(_read(calls))
    except RecursionError:  # arguments nested without end
        return jsonl.pretty(calls)


def _call_line(call: Any) -> str:
    """Empty where it is no call of a function by name with its arguments in a text, as the format wants them."""
    called = call.get("function") if isinstance(call, dict) else None
    name, arguments = (called.get("name"), called.get("arguments")) if isinstance(called, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(arguments, str):
        return ""
    return f"{name} {json.dumps(_arguments(arguments), ensure_ascii=False)}"


def _read(value: Any) -> Any:
    """With the arguments of calls, which are JSON in a text, as JSON; what is none stays a text."""
    if isinstance(value, list):
        return [_read(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _arguments(each) if key == "arguments" else _read(each) for key, each in value.items()}


def _arguments(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
