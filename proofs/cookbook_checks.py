"""What the checks of OpenAI's cookbook say of rows (the notebook Chat_finetuning_data_prep, as it stood in 2026), told
again in our own words so that ours can be set beside them.

By name: data_type, missing_messages_list, message_missing_key, message_unrecognized_key, unrecognized_role,
missing_content, example_missing_assistant_message. Then it counts the tokens of every value of a message as those of a
text, which ends it at the first value that is none.
"""

from collections.abc import Iterator
from typing import Any

KNOWN_KEYS = ("role", "content", "name", "function_call", "weight")
KNOWN_ROLES = ("system", "user", "assistant", "function")


def findings(rows: list[Any]) -> list[str]:
    """The names of what it finds, each once, in the order it looks; then how it breaks, if it does."""
    found: dict[str, None] = {}
    try:
        for row in rows:
            for name in _of_row(row):
                found[name] = None
        for row in rows:
            _count_tokens(row["messages"])
    except (TypeError, KeyError, AttributeError) as error:
        found[f"breaks ({type(error).__name__})"] = None
    return list(found)


def _of_row(row: Any) -> Iterator[str]:
    """Nothing is guarded here that is not guarded there."""
    if not isinstance(row, dict):
        yield "data_type"
        return
    messages = row.get("messages")
    if not messages:
        yield "missing_messages_list"
        return
    for message in messages:
        if not all(key in message for key in ("role", "content")):
            yield "message_missing_key"
        if not all(key in KNOWN_KEYS for key in message):
            yield "message_unrecognized_key"
        if message.get("role") not in KNOWN_ROLES:
            yield "unrecognized_role"
        content = message.get("content")
        if not isinstance(content, str) or not (content or message.get("function_call")):
            yield "missing_content"
    if "assistant" not in [message.get("role") for message in messages]:
        yield "example_missing_assistant_message"


def _count_tokens(messages: Any) -> None:
    """Not the count, only what it asks of a message: every value is a text."""
    for message in messages:
        for key, value in message.items():
            if not isinstance(value, str):
                raise TypeError(f"{key} is no text")
