"""Repairs of tool calls; as in messages.py, the same object comes back where nothing is changed."""

import json
from typing import Any

from training.message_rules import unpacked
from training.repairs.messages import Message, without


def arguments(message: Message) -> Message:
    """Arguments of calls as a text that holds a JSON object: written out where they are an object, unpacked where they
    were encoded twice. What is no object at all is left."""
    changed: Message = {}
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        new = [_call(call) for call in calls]
        if any(a is not b for a, b in zip(new, calls, strict=True)):
            changed["tool_calls"] = new
    old = message.get("function_call")
    if isinstance(old, dict) and (function := _function(old)) is not old:
        changed["function_call"] = function
    return message | changed if changed else message


def _call(call: Any) -> Any:
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        return call
    function = _function(call["function"])
    return call if function is call["function"] else call | {"function": function}


def _function(function: dict[str, Any]) -> dict[str, Any]:
    if "arguments" not in function:
        return function
    given = function["arguments"]
    if given is None or isinstance(given, dict):
        return function | {"arguments": json.dumps(given or {}, ensure_ascii=False)}
    if isinstance(given, str) and not isinstance(unpacked(given, 1), dict) and isinstance(unpacked(given), dict):
        while not isinstance(once := unpacked(given, 1), dict):
            given = once
        return function | {"arguments": given}
    return function


def no_calls(message: Message) -> Message:
    """Without an empty list of calls, on a message that says something."""
    if message.get("tool_calls") != [] or not isinstance(message.get("content"), str):
        return message
    return without(message, "tool_calls")
