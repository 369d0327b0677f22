"""A chat template that shows tools, made of one that shows none: for software that renders by itself. No torch.

Before the model's own template stands a part that writes tools, calls and results out as tools.py does it, in Jinja;
what it makes are plain messages, which the model's own text then renders. Offered only where both say the same of
conversations that use everything (`with_tools`).
"""

import json
from typing import Any, Final

import jinja2

from training.engine import tools
from training.engine.errors import EngineError
from training.engine.template import Template

# `arguments` may be an object or JSON text; of a function, `description` and `parameters` may be left out.
HEAD: Final = """\
{#- Tools as text, as this model was trained with them; after it stands the template of its base model. -#}
{%- set hone = namespace(plain=[], results=[], text='') -%}
{%- for message in messages -%}
  {%- if message.role == 'tool' -%}
    {%- set hone.results = hone.results + ['<tool_response>\\n' ~ message.content ~ '\\n</tool_response>'] -%}
    {%- if loop.last or messages[loop.index].role != 'tool' -%}
      {%- set hone.plain = hone.plain + [{'role': 'user', 'content': hone.results | join('\\n')}] -%}
      {%- set hone.results = [] -%}
    {%- endif -%}
  {%- elif message.tool_calls -%}
    {%- set hone.results = [message.content] if message.content else [] -%}
    {%- for call in message.tool_calls -%}
      {%- set called = call.function if call.function else call -%}
      {%- set given = called.arguments if called.arguments else '{}' -%}
      {%- set given = given if given is string else given | tojson -%}
      {%- set hone.text = '{"name": ' ~ (called.name | tojson) ~ ', "arguments": ' ~ given ~ '}' -%}
      {%- set hone.results = hone.results + ['<tool_call>\\n' ~ hone.text ~ '\\n</tool_call>'] -%}
    {%- endfor -%}
    {%- set hone.plain = hone.plain + [{'role': message.role, 'content': hone.results | join('\\n')}] -%}
    {%- set hone.results = [] -%}
  {%- else -%}
    {%- set hone.plain = hone.plain + [message] -%}
  {%- endif -%}
{%- endfor -%}
{%- if tools -%}
  {%- for tool in tools -%}
    {%- set shown = tool.function if tool.function else tool -%}
    {%- set given = {'name': shown.name, 'description': none, 'parameters': none} -%}
    {%- if shown.description is defined -%}
      {%- set given = dict(given, description=shown.description) -%}
    {%- endif -%}
    {%- if shown.parameters is defined -%}
      {%- set given = dict(given, parameters=shown.parameters) -%}
    {%- endif -%}
    {%- if shown.strict is defined and shown.strict is not none -%}
      {%- set given = dict(given, strict=shown.strict) -%}
    {%- endif -%}
    {%- set hone.results = hone.results + [{'type': 'function', 'function': given} | tojson] -%}
  {%- endfor -%}
  {%- set hone.text = INTRODUCTION_BEFORE ~ (hone.results | join('\\n')) ~ INTRODUCTION_AFTER -%}
  {%- if hone.plain and hone.plain[0].role == 'system' -%}
    {%- set first = {'role': 'system', 'content': hone.plain[0].content ~ '\\n\\n' ~ hone.text} -%}
    {%- set hone.plain = [first] + hone.plain[1:] -%}
  {%- elif SYSTEM or not hone.plain -%}
    {%- set hone.plain = [{'role': 'system', 'content': hone.text}] + hone.plain -%}
  {%- else -%}
    {%- set first = dict(hone.plain[0], content=hone.text ~ '\\n\\n' ~ hone.plain[0].content) -%}
    {%- set hone.plain = [first] + hone.plain[1:] -%}
  {%- endif -%}
{%- endif -%}
{%- set messages = hone.plain -%}
{%- set tools = none %}
"""


def with_tools(own: Template) -> str | None:
    """None where the template shows tools by itself, or where the longer one would not say the same."""
    if own.style.native:
        return None
    before, _, after = tools.INTRODUCTION.format(functions="\0").partition("\0")
    values = {"INTRODUCTION_BEFORE": before, "INTRODUCTION_AFTER": after, "SYSTEM": own.style.system}
    head = HEAD
    for name, value in values.items():
        head = head.replace(name, str(value).lower() if isinstance(value, bool) else json.dumps(value))
    longer = head + own.text
    return longer if _says_the_same(own, longer) else None


CALL: Final = {"type": "function", "function": {"name": "hone_a", "arguments": {"key": "ü", "n": [1, 2.5, None]}}}
ASKED: Final[list[dict[str, Any]]] = [
    {"role": "user", "content": "hone_question"},
    {"role": "assistant", "content": "hone_before", "tool_calls": [CALL, CALL]},
    {"role": "tool", "tool_call_id": "1", "content": "hone_result"},
    {"role": "tool", "tool_call_id": "2", "content": "hone_other"},
    {"role": "assistant", "content": "hone_answer"},
    {"role": "user", "content": "hone_again"},
]
FUNCTION: Final = {"name": "hone_a", "description": "Looks <it> up.", "parameters": {"type": "object"}}
SHOWN: Final[list[tools.Tool]] = [
    {"type": "function", "function": FUNCTION},
    {"type": "function", "function": {**FUNCTION, "strict": True}},
    {"type": "function", "function": {"name": "hone_b"}},
]


def _says_the_same(own: Template, longer: str) -> bool:
    system = [{"role": "system", "content": "hone_system"}] if own.style.system else []
    for messages in (ASKED[:1], ASKED, [*system, *ASKED], [*system, *ASKED[:2]], [*system, *ASKED[:4]]):
        for shown in (None, SHOWN):
            try:
                template = Template(longer, own.special_tokens)
                expected = own.render(messages, True, tools.tools_of({"tools": shown}))
                if template.as_given(messages, shown, True) != expected:
                    return False
            except (EngineError, jinja2.TemplateError):
                return False
    return True
