"""Function calling in serving: the same words for tools, calls and results as in training (training.engine.tools)."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from training.engine import tools as tool_words
from training.engine.errors import EngineError
from training.engine.template import Template

TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


def parser_for(folder: Path) -> str:
    """Which of vLLM's parsers reads this model's calls; empty for a model that cannot chat."""
    template = template_of(folder)
    return template.style.parser if template else ""


def arrange(payload: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A chat body with its messages and tools as this model was trained to see them."""
    tools = tool_words.tools_of(payload)
    messages = [tool_words.in_template_words(message) for message in payload["messages"]]
    if tool_words.are_used(messages, tools):
        template = template_of(folder)
        messages = template.arrange(messages, tools) if template else messages
    body = {key: value for key, value in payload.items() if key not in ("functions", "function_call")}
    if "functions" in payload:  # the deprecated words
        body["tools"] = tools
        choice = payload.get("function_call")
        if choice is not None and "tool_choice" not in body:
            body["tool_choice"] = {"type": "function", "function": choice} if isinstance(choice, dict) else choice
    return body | {"messages": messages}


def template_of(folder: Path) -> Template | None:
    """None when there is none, or none that can be read (the gate then says so)."""
    stamps = tuple((folder / name).stat().st_mtime_ns if (folder / name).exists() else 0 for name in TEMPLATE_FILES)
    return _template(folder, stamps)


@lru_cache(maxsize=32)
def _template(folder: Path, stamps: tuple[int, ...]) -> Template | None:
    try:
        return Template.load(folder)
    except EngineError:
        return None
