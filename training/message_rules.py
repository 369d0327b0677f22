"""The rules of a message and of its tool calls: everything that makes it unfit for training. Pure functions.

What the rules of a row are is said in rules.py; `Found` and `kind_of` are shared by both. Each kind of trouble has a
title and, where a press can mend it, a repair in problem_kinds.py.
"""

import json
from itertools import islice
from typing import Any

Row = dict[str, Any]
Found = tuple[str, str, str, int, str]  # field, message, fix, turn, kind

MOST_OF_A_ROW = 1000  # errors that are told of one list: a row may hold three million of them in its 10 MiB
ROLES = ("system", "user", "assistant", "tool", "function", "developer")
# other programs' names of the three roles that everybody has
ROLE_NAMES = {
    "human": "user", "customer": "user", "prompter": "user", "question": "user",
    "gpt": "assistant", "bot": "assistant", "model": "assistant", "ai": "assistant", "chatgpt": "assistant",
    "chatbot": "assistant", "agent": "assistant", "answer": "assistant",
}  # fmt: skip
CALL_EXAMPLE = 'Write {"id": "...", "type": "function", "function": {"name": "...", "arguments": "{}"}}.'


# message and fix of what is allowed and teaches the model to be silent
EMPTY_ANSWER = ("An assistant message is empty", "The model learns to say nothing here; fill it in or remove the row.")


def is_empty_answer(message: Row) -> bool:
    """Of an assistant's message: it neither says nor calls anything."""
    content = message.get("content") or ""
    return not content.strip() and not message.get("tool_calls") and not message.get("function_call")


def kind_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {list: "a list", dict: "an object", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def message_errors(message: Any, index: int) -> list[Found]:
    where, turn = f"messages[{index}]", index + 1
    if not isinstance(message, dict):
        text = f"A message is {kind_of(message)}, not an object"
        return [(where, text, 'Write it as {"role": "user", "content": "..."}.', turn, "message_shape")]
    role = message.get("role")
    if "role" not in message:
        fix = 'Add "role": one of system, user, assistant, tool.'
        return [(f"{where}.role", "Discriminator 'role' is missing in value", fix, turn, "role_missing")]
    if role not in ROLES:
        return [_role_error(role, f"{where}.role", turn)]
    found = _content_errors(message, role, where, turn)
    found += _weight_errors(message, role, where, turn)
    if "name" in message and message["name"] is not None and not isinstance(message["name"], str):
        found.append(
            (f"{where}.name", f'"name" is {kind_of(message["name"])}, not a text', "Give a text.", turn, "name")
        )
    found += _tool_errors(message, role, where, turn)
    return found


def meant_role(role: Any) -> str:
    """The role that another program's name, or another spelling, stands for; empty when it is none."""
    if not isinstance(role, str) or role in ROLES:
        return ""
    plain = role.strip().lower()
    return ROLE_NAMES.get(plain) or (plain if plain in ROLES else "")


def _role_error(role: Any, place: str, turn: int) -> Found:
    if not isinstance(role, str):
        return place, f'"role" is {kind_of(role)}, not a text', f"Use one of {', '.join(ROLES)}.", turn, "role_unknown"
    likely = meant_role(role)
    fix = f'Write "{likely}".' if likely else f"Use one of {', '.join(ROLES)}."
    return place, f"The role {role[:60]!r} is not known", fix, turn, "role_name" if likely else "role_unknown"


def _content_errors(message: Row, role: str, where: str, turn: int) -> list[Found]:
    content, place = message.get("content"), f"{where}.content"
    if isinstance(content, str):
        return []
    if role == "assistant" and content is None and (message.get("tool_calls") or message.get("function_call")):
        return []
    if content is None and role == "assistant" and isinstance(message.get("refusal"), str):
        text = 'The answer stands in "refusal", which is not trained on'
        return [(place, text, 'Write it into "content".', turn, "refusal")]
    if content is None:
        fix = 'Add "content" with the text of the message.'
        return [(place, 'The message has no "content"', fix, turn, "no_content")]
    if isinstance(content, list):
        return [_parts_error(content, place, turn)]
    fix = "Put quotes around it; a JSON answer is written as a text too."
    return [(place, f'"content" is {kind_of(content)}, not a text', fix, turn, "content_type")]


def is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _parts_error(content: list[Any], place: str, turn: int) -> Found:
    others = {str(part.get("type")) for part in content if isinstance(part, dict)} - {"text"}
    if others:
        text = f'"content" holds parts of type {", ".join(sorted(others))[:200]}; only text can be trained on'
        return place, text, "Remove these parts or leave the row out.", turn, "other_parts"
    kind = "text_parts" if content and all(map(is_text_part, content)) else "content_type"
    return place, '"content" is a list of parts, not a text', "Join the text parts into one text.", turn, kind


def _weight_errors(message: Row, role: str, where: str, turn: int) -> list[Found]:
    if "weight" not in message:
        return []
    weight, place = message["weight"], f"{where}.weight"
    if role != "assistant":
        text = f'"weight" stands on a message of the role {role}; only assistant messages are trained on'
        return [(place, text, 'Remove "weight" here.', turn, "weight_place")]
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight not in (0, 1):
        fix = "Use 1 (train on this message) or 0 (leave it out)."
        kind = "weight_type" if meant_weight(weight) is not None else "weight_value"
        return [(place, f'"weight" is {json.dumps(weight)[:40]}; only 0 and 1 are possible', fix, turn, kind)]
    return []


def meant_weight(weight: Any) -> int | None:
    """0 or 1 written as another type; null stands for what is the case without a weight."""
    if weight is None:
        return 1
    if isinstance(weight, str):
        weight = {"0": False, "1": True, "false": False, "true": True}.get(weight.strip().lower())
    return int(weight) if isinstance(weight, bool) else None


# ---- tools ----


def tools_errors(row: Row, where: str = "") -> list[Found]:
    """Of what a row, or the input of a preference row, offers to call."""
    found: list[Found] = []
    for key in ("tools", "functions"):
        given, place = row.get(key), f"{where}{key}"
        if given is None:
            continue
        if not isinstance(given, list):
            found.append((place, f'"{key}" is {kind_of(given)}, not a list', f"Give a list of {key}.", 0, "tools"))
            continue
        wrong = (error for at, each in enumerate(given) if (error := _tool_error(each, key, f"{place}[{at}]")))
        found += islice(wrong, MOST_OF_A_ROW)
    if not isinstance(row.get("parallel_tool_calls", True), bool | None):
        text = f'"parallel_tool_calls" is {kind_of(row["parallel_tool_calls"])}, not true or false'
        found.append((f"{where}parallel_tool_calls", text, "Write true or false, or remove it.", 0, "tools"))
    return found


def _tool_error(tool: Any, key: str, place: str) -> Found | None:
    function = tool.get("function") if isinstance(tool, dict) and key == "tools" else tool
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        shape = '{"type": "function", "function": {"name": "..."}}' if key == "tools" else '{"name": "..."}'
        return place, "A tool has no function name", f"Write it as {shape}.", 0, "tool_shape"
    if not isinstance(function.get("parameters"), dict | None):
        text = f'"parameters" is {kind_of(function["parameters"])}, but must be a JSON schema'
        place += ".function.parameters" if key == "tools" else ".parameters"
        return place, text, 'Give an object, such as {"type": "object", "properties": {}}.', 0, "tool_shape"
    return None


def _tool_errors(message: Row, role: str, where: str, turn: int) -> list[Found]:
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        text, fix = 'A tool message has no "tool_call_id"', "Give the id of the tool call that it answers."
        return [(f"{where}.tool_call_id", text, fix, turn, "tool_call_id")]
    if role == "function" and not isinstance(message.get("name"), str):
        return [(f"{where}.name", 'A function message has no "name"', "Give the function's name.", turn, "name")]
    found: list[Found] = []
    if message.get("function_call") is not None:
        found += _function_errors(message["function_call"], role, f"{where}.function_call", turn)
    calls = message.get("tool_calls")
    if calls is None:
        return found
    if role != "assistant" or not isinstance(calls, list) or not calls:
        text = '"tool_calls" must be a list with at least one call, on an assistant message'
        kind = "no_calls" if calls == [] else "tool_calls"
        return [*found, (f"{where}.tool_calls", text, "Correct the list or remove it.", turn, kind)]
    for at, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        place = f"{where}.tool_calls[{at}]"
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            found.append((place, "A tool call has no function name", CALL_EXAMPLE, turn, "tool_calls"))
        else:
            found += _arguments_errors(function, f"{place}.function.arguments", turn)
        if len(found) >= MOST_OF_A_ROW:
            break
    return found


def _function_errors(call: Any, role: str, place: str, turn: int) -> list[Found]:
    if role != "assistant":
        text = '"function_call" stands on a message that is not from the assistant'
        return [(place, text, "Remove it here.", turn, "tool_calls")]
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        text, fix = "A function call has no name", 'Write {"name": "...", "arguments": "{}"}.'
        return [(place, text, fix, turn, "tool_calls")]
    return _arguments_errors(call, f"{place}.arguments", turn)


def _arguments_errors(function: Row, place: str, turn: int) -> list[Found]:
    """Arguments that are no JSON object in a text would be trained on as {}, as vLLM reads them."""
    given = function.get("arguments", "")
    if not isinstance(given, str):
        text = f'"arguments" is {kind_of(given)}, but must be a text that holds JSON'
        kind = "arguments_type" if isinstance(given, dict | None) else "arguments_json"
        return [(place, text, "Encode the arguments with json.dumps.", turn, kind)]
    if not given or isinstance(found := unpacked(given, 1), dict):
        return []
    if isinstance(unpacked(given), dict):
        text = '"arguments" is encoded twice: a JSON text within a JSON text'
        return [(place, text, "Encode the arguments once.", turn, "arguments_twice")]
    no_json = found is None and given.strip() != "null"
    what = "is not valid JSON" if no_json else f"holds {kind_of(found)}"
    text = f'"arguments" {what}, but must hold a JSON object'
    return [(place, text, 'Write an object, such as "{\\"city\\": \\"Berlin\\"}".', turn, "arguments_json")]


def unpacked(text: str, times: int = 5) -> Any:
    """What JSON in a text stands for, unpacked as long as it is a text again; None where it is not JSON."""
    value: Any = text
    for _ in range(times):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, str):
            break
    return value


def call_warnings(row: Row) -> list[tuple[str, str, str, str]]:
    """Of a sound chat row: calls that its tools do not offer, answers to no call; kind, message, fix, field."""
    tools = row.get("tools") or [{"function": function} for function in row.get("functions") or []]
    offered = {tool["function"]["name"] for tool in tools}
    called: set[str] = set()
    found = []
    for index, message in enumerate(row["messages"]):
        place = f"messages[{index}]"
        calls = message.get("tool_calls") or []
        for call in [*calls, *([{"function": message["function_call"]}] if message.get("function_call") else [])]:
            name = call["function"]["name"]
            if name not in offered:
                text = f"It calls {name[:60]!r}, which the row does not offer"
                fix = 'Give each row the "tools" that the model will have later.'
                found.append(("calls_without_tools", text, fix, place))
        called |= {call["id"] for call in calls if isinstance(call.get("id"), str)}
        if message["role"] == "tool" and message["tool_call_id"] not in called:
            text = "A tool message answers no call that stands before it"
            fix = 'Its "tool_call_id" is the "id" of a call of the assistant.'
            found.append(("answer_without_call", text, fix, f"{place}.tool_call_id"))
    return found
