"""Tools and calls in training's text: a template's own way against transformers, the written-out way word for word."""

import json
from pathlib import Path
from typing import Any

import pytest

from playground import tool_calls
from tests.factories import CHATML_TEMPLATE, tiny_model
from training.engine import tools
from training.engine.chat import ChatFormat
from training.engine.template import Template
from training.engine.tools_template import with_tools

HEAD = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
TAIL = "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
SHOWN = (
    "{% if tools %}{{ '<|im_start|>system\nTools: ' }}{% for t in tools %}{{ t | tojson }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}"
)


def native(call: str) -> str:
    """A template that shows tools and results, and writes each call as this says."""
    calls = "{% if m.tool_calls %}{% for c in m.tool_calls %}" + call + "{% endfor %}{% endif %}{{ m.content }}"
    return SHOWN + HEAD + calls + TAIL


HERMES = native("{{ '<tool_call>\n' + (c.function | tojson) + '\n</tool_call>' }}")
LLAMA = native(
    "{{ '{\"name\": \"' + c.function.name + '\", \"parameters\": ' + (c.function.arguments | tojson) + '}' }}"
)
MISTRAL = native("{{ '[TOOL_CALLS][' + (c.function | tojson) + ']' }}")
GRANITE = native("{{ '<|tool_call|>[' + (c.function | tojson) + ']' }}")
XML = native("{{ '<tool_call>\n<function=' + c.function.name + '>' + (c.function.arguments | tojson) }}")
UNKNOWN = native("{{ 'CALL ' + (c.function | tojson) }}")
NO_RESULT = HERMES.replace("{{ m.content }}", "{% if m.role != 'tool' %}{{ m.content }}{% endif %}")
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML_TEMPLATE

WEATHER = {
    "type": "function",
    "function": {"parameters": {"type": "object", "properties": {"city": {"type": "string"}}}, "name": "weather"},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Köln?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
    {"role": "assistant", "content": "Rain."},
]
WRITTEN = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'
ROW = {"messages": MESSAGES, "tools": [WEATHER]}


def trained(chat: ChatFormat, row: dict[str, Any]) -> str:
    encoded = chat.encode_row(row)
    return chat.decode([token for token, weight in zip(encoded.token_ids, encoded.weights, strict=True) if weight])


@pytest.mark.parametrize(
    ("template", "style"),
    [
        (HERMES, (True, "hermes")),
        (LLAMA, (True, "llama3_json")),
        (MISTRAL, (True, "mistral")),
        (GRANITE, (True, "granite")),
        (XML, (True, "qwen3_coder")),
        (UNKNOWN, (False, "hermes")),
        (NO_RESULT, (False, "hermes")),
        (CHATML_TEMPLATE, (False, "hermes")),
        (NO_SYSTEM, (False, "hermes")),
    ],
)
def test_what_a_template_knows_is_told_from_what_it_writes(template: str, style: tuple[bool, str]) -> None:
    found = Template(template, {}).style
    assert (found.native, found.parser) == style


def test_a_template_that_knows_tools_is_left_to_it_as_transformers_does(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = tiny_model(tmp_path / "tiny", HERMES)
    chat = ChatFormat.load(folder)
    given = [message | {"content": message["content"] or ""} for message in MESSAGES]
    given[2] = given[2] | {"tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Köln"}}}]}
    served = {"type": "function", "function": {"name": "weather", "description": None} | WEATHER["function"]}
    expected = AutoTokenizer.from_pretrained(folder).apply_chat_template(given, tools=[served], return_dict=False)
    assert chat.encode_row(ROW).token_ids == expected
    assert trained(chat, ROW) == f"{WRITTEN}<|im_end|>Rain.<|im_end|>"


def test_a_template_without_tools_gets_them_written_out(tmp_path: Path) -> None:
    chat = ChatFormat.load(tiny_model(tmp_path / "tiny", CHATML_TEMPLATE))
    shown = json.dumps({"type": "function", "function": {"name": "weather", "description": None} | WEATHER["function"]})
    text = chat.render(MESSAGES, tools=tools.tools_of(ROW))
    assert text == (
        f"<|im_start|>system\nBe brief.\n\n{tools.INTRODUCTION.format(functions=shown)}<|im_end|>\n"
        "<|im_start|>user\nKöln?<|im_end|>\n"
        f"<|im_start|>assistant\n{WRITTEN}<|im_end|>\n"
        "<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\nRain.<|im_end|>\n"
    )
    assert trained(chat, ROW) == f"{WRITTEN}<|im_end|>Rain.<|im_end|>"


def test_the_deprecated_words_give_the_same_tokens(tmp_path: Path) -> None:
    chat = ChatFormat.load(tiny_model(tmp_path / "tiny", CHATML_TEMPLATE))
    old = [dict(message) for message in MESSAGES]
    old[0]["role"] = "developer"
    old[2] = {"role": "assistant", "content": None, "function_call": CALL["function"]}
    old[3] = {"role": "function", "name": "weather", "content": "rain"}
    assert chat.encode_row({"messages": old, "functions": [WEATHER["function"]]}) == chat.encode_row(ROW)


def test_two_calls_and_their_results_share_a_turn() -> None:
    second = CALL | {"function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    messages = [MESSAGES[1], {"role": "assistant", "content": "Both.", "tool_calls": [CALL, second]}]
    messages += [{"role": "tool", "tool_call_id": "1", "content": text} for text in ("rain", "sun")]
    plain = Template(CHATML_TEMPLATE, {}).arrange(messages, None)
    assert [message["role"] for message in plain] == ["user", "assistant", "user"]
    assert plain[1]["content"].count("<tool_call>") == 2 and plain[1]["content"].startswith("Both.\n")
    assert plain[2]["content"] == "<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response>"


def test_a_template_without_system_messages_gets_the_tools_before_the_question() -> None:
    text = Template(NO_SYSTEM, {}).render(MESSAGES[1:2], tools=tools.tools_of(ROW))
    assert text.index("# Tools") < text.index("Köln?") and text.startswith("<|im_start|>user\n# Tools")


def test_serving_arranges_a_request_as_training_renders_a_row(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    for name, template in (("native", HERMES), ("written", CHATML_TEMPLATE)):
        folder = tiny_model(tmp_path / name, template)
        chat = ChatFormat.load(folder)
        body = tool_calls.arrange({"model": "m", "messages": MESSAGES[:4], "tools": [WEATHER]}, folder)
        seen = list(map(tools.with_parsed_arguments, body["messages"]))  # what vLLM does with it
        tokenizer = AutoTokenizer.from_pretrained(folder)
        asked = tokenizer.apply_chat_template(
            seen, tools=tools.tools_of(body), add_generation_prompt=True, return_dict=False
        )
        assert chat.encode_row(ROW).token_ids[: len(asked)] == asked
        assert tool_calls.parser_for(folder) == "hermes"


def test_the_deprecated_words_of_a_request_become_todays(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny", CHATML_TEMPLATE)
    asked = {"messages": MESSAGES[:2], "functions": [WEATHER["function"]], "function_call": {"name": "weather"}}
    body = tool_calls.arrange(asked, folder)
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["tools"][0]["function"]["name"] == "weather"
    assert not {"functions", "function_call"} & set(body)


@pytest.mark.parametrize("template", [CHATML_TEMPLATE, NO_SYSTEM, "\n  " + CHATML_TEMPLATE])
def test_the_template_that_is_handed_out_shows_tools_as_training_wrote_them(tmp_path: Path, template: str) -> None:
    """By plain transformers, whole and as a question."""
    from transformers import AutoTokenizer

    folder = tiny_model(tmp_path / "tiny", template)
    chat = ChatFormat.load(folder)
    own = Template.load(folder)
    assert own
    longer = with_tools(own)
    assert longer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = longer
    messages = MESSAGES if own.style.system else MESSAGES[1:]
    for asked, question in ((messages, False), (messages[:-1], True), (messages[:1], True)):
        for shown in ([WEATHER], None):
            seen = tokenizer.apply_chat_template(
                asked, tools=shown, add_generation_prompt=question, return_dict=False, tokenize=False
            )
            assert seen == chat.render(asked, question, tools.tools_of({"tools": shown})), seen
    assert Template(longer, own.special_tokens).style == tools.Style(True, "hermes")


@pytest.mark.parametrize("template", [HERMES, LLAMA])
def test_a_template_that_shows_tools_is_handed_out_as_it_is(template: str) -> None:
    assert with_tools(Template(template, {})) is None


def test_a_template_that_would_say_something_else_is_not_handed_out() -> None:
    """Here the name of a variable of the part before it stands in the template's own way."""
    assert with_tools(Template("{% if hone is defined %}spoilt{% endif %}" + CHATML_TEMPLATE, {})) is None
