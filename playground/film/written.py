"""Pinned prompts as people and programs write them: a line of the form, an entry of `pinned_prompts` in the API, in a
configuration file and in a stage of a recipe. An entry is a text, or an object {"messages", "tools"?} or {"prompt"},
either with what is `expected`."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from training.json_words import plainly

MOST: Final = 12
LONGEST: Final = 8_000  # characters of what is asked
FIELDS: Final = ("messages", "tools", "functions", "prompt", "expected")
ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
JSON_BEGINS: Final = ("{", "[")
AS_TEXT: Final = "To ask it as a text, write it in double quotes, as a JSON string."
Entry = str | dict[str, Any]
Ask = dict[str, Any]


def fault(entry: Entry) -> str:
    """Why nobody could be asked this; empty when all is well."""
    if isinstance(entry, str):
        if entry.strip() and len(entry) <= LONGEST:
            return ""
        return f"a pinned prompt has 1 to {LONGEST:,} characters; this one has {len(entry.strip()):,}"
    unknown = [name for name in entry if name not in FIELDS]
    if unknown:
        return f"a pinned prompt has no field {unknown[0]}; leave it out. Its fields are {', '.join(FIELDS)}"
    if ("prompt" in entry) == ("messages" in entry):
        return "give it either messages (a conversation) or prompt (the beginning of a text), one of the two"
    if not isinstance(entry.get("expected", ""), str):
        return "expected must be a text in quotes"
    asked = entry.get("prompt", entry.get("messages"))
    if "messages" in entry and not (isinstance(asked, list) and asked and all(map(_is_message, asked))):
        return f"messages must be a list of objects, each with content and a role, one of {', '.join(ROLES)}"
    if "prompt" in entry and not (isinstance(asked, str) and asked.strip()):
        return "prompt must be a text that is not empty"
    if any(not isinstance(entry.get(name, []), list) for name in ("tools", "functions")):
        return "tools must be a list"
    size = len(json.dumps(entry))
    return "" if size <= 4 * LONGEST else f"it is longer than {4 * LONGEST:,} characters; shorten it"


def _is_message(message: Any) -> bool:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        return False
    content = message.get("content") or ""
    return isinstance(content, str) or (isinstance(content, list) and all(isinstance(part, dict) for part in content))


def _checked(entry: Entry) -> Entry:
    if problem := fault(entry):
        raise ValueError(problem)
    return entry


PinnedPrompts = Annotated[list[Annotated[Entry, AfterValidator(_checked)]], Field(max_length=MOST)]


def ask_of(entry: Entry, bare: bool) -> tuple[Ask, str]:
    """The part of a request body that asks, and what is expected. `bare`: a text is asked as one, not as a chat."""
    if isinstance(entry, str):
        return ({"prompt": entry} if bare else {"messages": [{"role": "user", "content": entry}]}), ""
    return {name: value for name, value in entry.items() if name != "expected"}, entry.get("expected", "")


def entry_of(ask: Ask, expected: str, bare: bool) -> Entry:
    """The shortest entry that asks this."""
    text = ask.get("prompt") if bare else ask.get("messages", [{}])[-1].get("content")
    if not expected and isinstance(text, str) and ask_of(text, bare) == (ask, ""):
        return text
    return {**ask, **({"expected": expected} if expected else {})}


# ---- lines of the form ----


def entries(text: str) -> list[Entry]:
    """A prompt a line. A line of JSON is an object as above, or a text that no line could say as it is: one of several
    lines, or one that begins like JSON. Any other line is what it says; ask `line_fault` first."""
    return [_entry(line.strip()) for line in text.splitlines() if line.strip()]


def line_fault(text: str) -> str:
    """The first line that begins like JSON and is none, and what is wrong with it; empty when all can be read. Such a
    line is a mistake in a conversation far more often than a text, which a JSON string says as well."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith(JSON_BEGINS):
            try:
                json.loads(line)
            except json.JSONDecodeError as error:
                place = f"at character {error.colno}, {plainly(error)}"
                return f"Line {number} begins like JSON but is not valid JSON: {place}. {AS_TEXT}"
            except RecursionError:
                return f"Line {number} begins like JSON but is nested too deeply to be read. {AS_TEXT}"
    return ""


def _entry(line: str) -> Entry:
    try:
        read = json.loads(line) if line[0] in '{"' else None
    except (ValueError, RecursionError):
        return line
    if isinstance(read, dict) and ("messages" in read or "prompt" in read):
        return read
    return read if isinstance(read, str) and ("\n" in read or read.lstrip().startswith(JSON_BEGINS)) else line


def lines(written: Sequence[Entry]) -> str:
    """`entries` the other way round."""
    return "\n".join(_line(entry) for entry in written)


def _line(entry: Entry) -> str:
    plain = isinstance(entry, str) and _entry(entry) == entry and len(entry.splitlines()) == 1
    return str(entry) if plain and not line_fault(str(entry)) else json.dumps(entry, ensure_ascii=False)
