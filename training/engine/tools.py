"""Tools, calls and their results, as chat templates know them; written out where a template knows none. No torch.

Training and serving pass through here, so that a model meets in serving what it was trained on.

A template that shows tools, calls and results by itself is left to it ("native"); which of vLLM's parsers reads its
calls is told from what it writes for one. Every other template gets tools as text, in the words of Hermes and Qwen 2.5
(docs/tools.md): the functions at the end of the system message, a call as <tool_call>{"name", "arguments"}</tool_call>
in the answer, a result as <tool_response> in a user message.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from training.engine.errors import EngineError

Message = dict[str, Any]
Tool = dict[str, Any]
Render = Callable[[list[Message], list[Tool] | None], str]  # raises EngineError when the template refuses

WRITTEN_OUT_PARSER = "hermes"
INTRODUCTION = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{functions}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""

# What a call looks like in a template's own words -> vLLM's parser for it. The first that fits.
PARSERS = [
    (r"<tool_call>\s*<function=", "qwen3_coder"),
    (r"<tool_call>\s*\{", "hermes"),
    (r"<tool_call>\s*\w+\s*<arg_key>", "glm45"),
    (r"\[TOOL_CALLS\]", "mistral"),
    (r"<\|tool_call\|>.*<\|/tool_call\|>", "phi4_mini_json"),
    (r"<\|tool_call\|>", "granite"),
    (r"<｜tool▁calls▁begin｜>", "deepseek_v3"),
    (r"<\|tool_calls_section_begin\|>", "kimi_k2"),
    (r"<start_function_call>", "functiongemma"),
    (r"<\|tool_call_start\|>", "lfm2"),
    (r'\{"name": ?"[^"]+", ?"parameters":', "llama3_json"),
    (r"\[hone_probe\(", "pythonic"),
]


@dataclass(frozen=True)
class Style:
    """How a template deals with tools."""

    native: bool
    parser: str  # vLLM's name for what reads the calls
    system: bool = True  # it takes a system message


# ---- a row or a request in one spelling ----


def tools_of(row: dict[str, Any]) -> list[Tool]:
    """`tools`, or the deprecated `functions`, as vLLM hands them to templates: the same keys in the same order."""
    given = row.get("tools") or [{"type": "function", "function": function} for function in row.get("functions") or []]
    return [_as_served(tool) for tool in given]


def _as_served(tool: Tool) -> Tool:
    function = tool.get("function")
    if not isinstance(function, dict):
        return tool
    known = {key: function.get(key) for key in ("name", "description", "parameters")}
    strict = {"strict": function["strict"]} if function.get("strict") is not None else {}
    return {"type": tool.get("type", "function"), "function": known | strict}


def in_template_words(message: Message) -> Message:
    """A message as templates know it: plain text, no training weight, today's words for system and function calls."""
    kept = {key: value for key, value in message.items() if key != "weight"}
    content = kept.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and "text" in part for part in content):
        kept["content"] = "".join(part["text"] for part in content)
    if kept.get("role") == "developer":
        kept["role"] = "system"
    if kept.get("role") == "function":
        kept |= {"role": "tool", "tool_call_id": kept.get("name", "")}
    call = kept.pop("function_call", None)
    calls = kept.pop("tool_calls", None) or ([{"type": "function", "function": call}] if call else [])
    if calls:
        kept["tool_calls"] = calls
    if calls and kept.get("content") is None:  # as vLLM has it; templates join texts
        kept["content"] = ""
    return kept


def with_parsed_arguments(message: Message) -> Message:
    """Arguments as an object: templates write them as JSON themselves."""
    if not message.get("tool_calls"):
        return message
    calls = [call | {"function": call["function"] | {"arguments": arguments(call)}} for call in message["tool_calls"]]
    return message | {"tool_calls": calls}


def arguments(call: dict[str, Any]) -> dict[str, Any]:
    """Of a call; what is no object is {}, as in vLLM."""
    given = call["function"].get("arguments")
    try:
        found = json.loads(given) if isinstance(given, str) and given else given
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def are_used(messages: list[Message], tools: list[Tool] | None) -> bool:
    return bool(tools) or any(message.get("tool_calls") or message.get("role") == "tool" for message in messages)


# ---- written out ----


def write_out(messages: list[Message], tools: list[Tool] | None, style: Style) -> list[Message]:
    """The same conversation in plain messages. `messages` are in template words."""
    plain: list[Message] = []
    for is_result, group in groupby(messages, lambda message: message.get("role") == "tool"):
        if is_result:
            results = [f"<tool_response>\n{message['content']}\n</tool_response>" for message in group]
            plain.append({"role": "user", "content": "\n".join(results)})
        else:
            plain += [_with_calls_written(message) for message in group]
    return _introduced(plain, tools, style.system) if tools else plain


def _with_calls_written(message: Message) -> Message:
    calls = message.get("tool_calls") or []
    kept = {key: value for key, value in message.items() if key not in ("tool_calls", "tool_call_id")}
    if calls:
        texts = [message["content"]] if message.get("content") else []
        kept["content"] = "\n".join([*texts, *map(call_text, calls)])
    return kept


def call_text(call: dict[str, Any]) -> str:
    written = json.dumps({"name": call["function"]["name"], "arguments": arguments(call)}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"


def _introduced(messages: list[Message], tools: list[Tool], system: bool) -> list[Message]:
    """The functions at the end of the system message; before the first message where a template takes none."""
    text = INTRODUCTION.format(functions="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if messages and messages[0].get("role") == "system":
        first = messages[0]
        return [first | {"content": f"{first['content']}\n\n{text}"}, *messages[1:]]
    if system or not messages:
        return [{"role": "system", "content": text}, *messages]
    return [messages[0] | {"content": f"{text}\n\n{messages[0].get('content', '')}"}, *messages[1:]]


# ---- which of both ----

PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "hone_probe",
        "description": "Looks something up.",
        "parameters": {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]},
    },
}
PROBE_CALL = {
    "id": "call00001",  # nine letters and digits, as Mistral's templates want it
    "type": "function",
    "function": {"name": "hone_probe", "arguments": {"key": "hone_value"}},
}


def style_of(render: Render) -> Style:
    """Native when the template shows a tool, a call and a result, and vLLM has a parser for how it writes the call."""
    question = [{"role": "user", "content": "hone_question"}]
    answered = [
        *question,
        {"role": "assistant", "content": "", "tool_calls": [PROBE_CALL]},
        {"role": "tool", "tool_call_id": "call00001", "name": "hone_probe", "content": "hone_result"},
    ]
    try:
        without, shown = render(question, None), render(question, [PROBE_TOOL])
        called, whole = render(answered[:2], [PROBE_TOOL]), render(answered, [PROBE_TOOL])
    except EngineError:
        return _written_out(render)
    call = called[_shared(shown, called) :]
    shows_all = (
        "hone_probe" in shown and "hone_probe" not in without and "hone_value" in call and "hone_result" in whole
    )
    parser = next((name for pattern, name in PARSERS if re.search(pattern, call, re.DOTALL)), "")
    return Style(True, parser) if shows_all and parser else _written_out(render)


def _written_out(render: Render) -> Style:
    messages = [{"role": "system", "content": "hone_system"}, {"role": "user", "content": "hone_question"}]
    try:
        return Style(False, WRITTEN_OUT_PARSER, "hone_system" in render(messages, None))
    except EngineError:
        return Style(False, WRITTEN_OUT_PARSER, False)


def _shared(left: str, right: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
