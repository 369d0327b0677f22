"""What a row says, whatever its format: the parts that are compared."""

import json
import re
import unicodedata
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

from training.engine.pairs import is_preference, spelling_of
from training.rules import MESSAGE_KEYS, ROW_KEYS, Row

COMPARED_CHARACTERS: Final = 200_000  # of a row, from its beginning: near-duplicates beyond that are told by it
NO_PROMPT: Final = 0
SAID_FIRST: Final = ("system", "developer")

# A word is a run of letters, digits and underscores; in scripts without spaces every sign is one.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """Without case, punctuation and the ways to write one letter."""
    text = text[:COMPARED_CHARACTERS]
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.casefold())


# ---- hashes ----


def meaning_hash(row: Row) -> int:
    """The same for rows that train the same: key order, white space of the JSON, other spellings of the arguments of
    calls and fields that nobody reads make no difference. 64 bits: two of 10 million different rows agree once in
    370,000 such files."""
    return row_hash(_meaning(row))


def prompt_hash(row: Row) -> int:
    """Of what comes before the last answer, whatever its case and spacing; NO_PROMPT where nothing does."""
    asked = [[role, " ".join(text.casefold().split())] for role, text in _prompt(row)]
    return row_hash(asked) if any(role not in SAID_FIRST and text for role, text in asked) else NO_PROMPT


def row_hash(value: Any) -> int:
    """Of any JSON value, whatever the order of its keys."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


def _meaning(row: Row) -> Any:
    if is_preference(row):
        asked, preferred, other = spelling_of(row)
        given = row.get(asked)
        tools = given.get("tools") if isinstance(given, dict) else row.get("tools")
        before = given.get("messages") if isinstance(given, dict) else given
        return ["pair", _messages(before), tools or None, _messages(row.get(preferred)), _messages(row.get(other))]
    if "messages" in row:
        known = {key: value for key, value in row.items() if key in ROW_KEYS and value not in (None, [])}
        return {**known, "messages": _messages(row["messages"])}
    for keys in (("prompt", "completion"), ("text",)):
        if keys[0] in row:
            return [row.get(key) for key in keys]
    return row


def _messages(value: Any) -> Any:
    return [_message(each) for each in value] if isinstance(value, list) else value


def _message(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    known = {key: value for key, value in message.items() if key in MESSAGE_KEYS and value not in (None, [], "")}
    if known.get("weight") == 1:
        del known["weight"]
    if isinstance(known.get("tool_calls"), list):
        known["tool_calls"] = [_call(call) for call in known["tool_calls"]]
    if "function_call" in known:
        known["function_call"] = _read_arguments(known["function_call"])
    return known


def _call(call: Any) -> Any:
    return {**call, "function": _read_arguments(call.get("function"))} if isinstance(call, dict) else call


def _read_arguments(function: Any) -> Any:
    """With the arguments as what they mean; what is no JSON stays a text."""
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return function
    try:
        return {**function, "arguments": json.loads(function["arguments"])}
    except (ValueError, RecursionError):
        return function


# ---- texts ----


def row_words(row: Row) -> list[str]:
    """All that is said but the system prompt, which many rows share; that alone where nothing else is said."""
    turns = list(said(row))
    found = words_of("\n".join(text for role, text in turns if role not in SAID_FIRST))
    return found or words_of("\n".join(text for _, text in turns))


def question_words(row: Row) -> list[list[str]]:
    """What is asked, without the system prompt: the whole conversation before the last answer, and its last message
    where there are several."""
    asked = [(role, text) for role, text in _prompt(row) if role not in SAID_FIRST]
    whole = words_of("\n".join(text for _, text in asked))
    last = next((words_of(text) for role, text in reversed(asked) if role == "user"), []) if len(asked) > 1 else []
    return [found for found in (whole, last) if found]


def first_question(row: Row) -> str:
    """The first thing that the user says, whatever its case and spacing."""
    return next((" ".join(text.casefold().split()) for role, text in said(row) if role == "user"), "")


def asked_text(ask: Row) -> str:
    """Of what is asked of a model, {"messages"} or {"prompt"}: its text without the system prompt."""
    return "\n".join(text for role, text in said(ask) if role not in SAID_FIRST)


def said(row: Row) -> Iterator[tuple[str, str]]:
    """Role and text of everything in the row, in order."""
    if is_preference(row):
        asked, preferred, other = spelling_of(row)
        given = row.get(asked)
        yield from _turns(given.get("messages") if isinstance(given, dict) else given, "user")
        yield from _turns(row.get(preferred), "assistant")
        yield from _turns(row.get(other), "assistant")
    elif "messages" in row:
        yield from _turns(row["messages"], "user")
    else:
        for key, role in (("prompt", "user"), ("completion", "assistant"), ("text", "text")):
            yield from _turns(row.get(key), role)


def _prompt(row: Row) -> list[tuple[str, str]]:
    """Role and text of what comes before the last answer; nothing of raw text, nor where there is no answer."""
    if is_preference(row):
        given = row.get(spelling_of(row)[0])
        return list(_turns(given.get("messages") if isinstance(given, dict) else given, "user"))
    if "messages" not in row:
        return list(_turns(row.get("prompt"), "user"))
    turns = list(_turns(row["messages"], "user"))
    answers = [at for at, (role, _) in enumerate(turns) if role == "assistant"]
    return turns[: answers[-1]] if answers else []


def _turns(value: Any, role: str) -> Iterator[tuple[str, str]]:
    """Of a list of messages, or of a text said by `role`. Arguments of calls count as text."""
    if isinstance(value, str):
        yield role, value
    for message in value if isinstance(value, list) else []:
        if isinstance(message, dict):
            calls = [call.get("function") for call in _list(message.get("tool_calls")) if isinstance(call, dict)]
            called = [call for call in (*calls, message.get("function_call")) if isinstance(call, dict)]
            told = [str(call.get(key) or "") for call in called for key in ("name", "arguments")]
            yield str(message.get("role") or role), "\n".join([_text(message.get("content")), *told]).rstrip("\n")


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in _list(content) if isinstance(part, dict)]
    return "\n".join(part for part in parts if isinstance(part, str))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
