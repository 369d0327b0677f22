"""vLLM's words about a prompt that does not fit, as people are told them."""

import re
from typing import Final

INTERNAL_NOTE: Final = re.compile(r" ?\(parameter=\w+, value=[^)]*\)\.?$")  # vLLM's own name of the field


def is_too_long(message: str) -> bool:
    return "maximum context length" in message or "longer than the maximum" in message


def plain(message: str) -> str:
    """The limit, what was sent, what to do; a wording that is not known stays, without vLLM's names of fields."""
    message = INTERNAL_NOTE.sub("", message)
    context = re.search(r"maximum context length is (\d+)", message) if is_too_long(message) else None
    if context is None:
        return message
    limit = f"This model's maximum context length is {int(context[1]):,} tokens"
    if answer := re.search(r"requested (\d+) output tokens", message):
        return f"{limit}: the prompt and an answer of {int(answer[1]):,} tokens are more. Shorten one of them."
    size = re.search(r"contains (at least )?(\d+) (input tokens|characters)", message)
    has = f"has {size[1] or ''}{int(size[2]):,} {size[3].removeprefix('input ')}" if size else "is longer"
    return f"{limit}: your prompt {has}. Shorten it."
