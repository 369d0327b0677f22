"""A model's chat template: its own Jinja text in a sandbox, given messages and tools in words it knows. No torch."""

import datetime
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

from training.engine import tools as tool_words
from training.engine.errors import InvalidTrainingFile, ModelProblem

Message = dict[str, Any]


class Template:
    """Renders a conversation as transformers' apply_chat_template and vLLM do it."""

    def __init__(self, text: str, special_tokens: dict[str, str]) -> None:
        self._template = _environment().from_string(text)
        self.text, self.special_tokens = text, special_tokens

    @classmethod
    def load(cls, folder: Path) -> "Template | None":
        """Of a model folder; None when it has none. Raises ModelProblem when it cannot be read."""
        text = _text(folder)
        try:
            return cls(text, read_special_tokens(folder)) if text is not None else None
        except jinja2.TemplateError as error:
            raise ModelProblem(f"The chat template in {folder} cannot be read: {error}") from error

    def render(
        self, messages: list[Message], add_generation_prompt: bool = False, tools: list[Any] | None = None
    ) -> str:
        """Raises InvalidTrainingFile when the template refuses the conversation."""
        arranged = self.arrange(messages, tools)
        return self._render(list(map(tool_words.with_parsed_arguments, arranged)), tools, add_generation_prompt)

    def arrange(self, messages: list[Message], tools: list[Any] | None) -> list[Message]:
        """The messages to give to the template, tools and calls written out when it knows none."""
        known = [tool_words.in_template_words(message) for message in messages]
        if not tool_words.are_used(known, tools) or self.style.native:
            return known
        return tool_words.write_out(known, tools, self.style)

    @cached_property
    def style(self) -> tool_words.Style:
        return tool_words.style_of(self._render)

    def as_given(self, messages: list[Message], tools: list[Any] | None, add_generation_prompt: bool = False) -> str:
        """As software renders that arranges nothing: the template alone says what becomes of tools and calls."""
        return self._render(messages, tools, add_generation_prompt)

    def _render(self, messages: list[Message], tools: list[Any] | None, add_generation_prompt: bool = False) -> str:
        try:
            return self._template.render(
                messages=messages,
                tools=tools or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self.special_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise InvalidTrainingFile(f"The model's chat template refuses this conversation: {error}") from error


# ---- reading a model folder ----


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise ModelProblem(f"{path} is not valid JSON: {error}") from error


def _text(folder: Path) -> str | None:
    """From chat_template.jinja, else tokenizer_config.json (one template, or several of which `default` is meant)."""
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    found = read_json(folder / "tokenizer_config.json").get("chat_template")
    found = found or read_json(folder / "chat_template.json").get("chat_template")
    if isinstance(found, list):
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return found or None


def read_special_tokens(folder: Path) -> dict[str, str]:
    """bos_token, eos_token and so on, as templates use them."""
    merged = {**read_json(folder / "special_tokens_map.json"), **read_json(folder / "tokenizer_config.json")}
    tokens = {}
    for name, value in merged.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens[name] = text
    return tokens


# ---- the sandbox, with what Hugging Face templates may use ----


class _Generation(jinja2.ext.Extension):
    """Accepts {% generation %} ... {% endgeneration %}, which only marks; the text inside is written as it is."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.datetime.now().strftime(layout)
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML; templates mean plain JSON."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)
