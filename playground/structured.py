"""Tools and answer formats as a person pastes them, and whether an answer keeps to its format. Pure functions.

Tools are a JSON array as OpenAI's API takes it. An answer format is a `response_format` of that API, or a bare JSON
schema, which becomes one. What is wrong is said with its place.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import validator_for
from referencing.exceptions import Unresolvable

from playground import patterns
from playground.patterns import TooSlow

MOST_TOOLS: Final = 64
FUNCTION_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
FORMATS: Final = ("text", "json_object", "json_schema")
LONGEST_FAULT: Final = 200  # characters; a fault quotes the part of the answer that is wrong
MOST_SLOW: Final = 2  # answers on which the patterns of a schema may take too long before it is given up
TOO_SLOW: Final = "a pattern of the schema takes too long. Write it without nested repetitions"
NOT_BOUNDED: Final = "patternProperties are not supported here. Name the properties"

_slow: Counter[str] = Counter()  # schema -> answers on which it took too long


def tools_from(value: Any) -> list[dict[str, Any]] | None:
    """None where there are none. Raises ValueError that says what is wrong and where."""
    tools = _parsed(value)
    if tools in (None, []):
        return None
    if not isinstance(tools, list):
        raise ValueError('must be a JSON array: [{"type": "function", "function": {...}}]')
    if len(tools) > MOST_TOOLS:
        raise ValueError(f"{len(tools)} are too many; at most {MOST_TOOLS}")
    names = [_tool_name(number, tool) for number, tool in enumerate(tools, 1)]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise ValueError(f"two of them are called '{twice}'")
    return tools


def _tool_name(number: int, tool: Any) -> str:
    """Its function's name. Raises ValueError."""
    if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
        raise ValueError(f'number {number} must look like {{"type": "function", "function": {{"name": ...}}}}')
    name, parameters = tool["function"].get("name"), tool["function"].get("parameters")
    if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
        raise ValueError(f"number {number} needs function.name: letters, digits, _ and -, at most 64")
    if parameters is not None:
        _check_schema(parameters, f"function.parameters of '{name}'")
    return name


def format_from(value: Any) -> dict[str, Any] | None:
    """A `response_format`, None for plain text. Raises ValueError that says what is wrong and where."""
    found = _parsed(value)
    if found in (None, {}):
        return None
    if not isinstance(found, dict):
        raise ValueError('must be a JSON schema or a response_format: {"type": "json_schema", ...}')
    if found.get("type") not in FORMATS:  # no JSON schema has one of these types
        found = {"type": "json_schema", "json_schema": {"name": "answer", "schema": found, "strict": True}}
    if found["type"] == "text":
        return None
    if found["type"] == "json_schema":
        inner = found.get("json_schema")
        if not isinstance(inner, dict) or not isinstance(inner.get("schema"), dict):
            raise ValueError("json_schema.schema is missing: the JSON schema itself")
        _check_schema(inner["schema"], "json_schema.schema")
        if not patterns.is_bounded(inner["schema"]):
            raise ValueError(NOT_BOUNDED)
        found = {**found, "json_schema": {"name": "answer", **inner}}
    return found


def _parsed(value: Any) -> Any:
    """Text as JSON; an empty one is None. Raises ValueError with line and column."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON, line {error.lineno}, column {error.colno}: {error.msg.lower()}") from error
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _check_schema(schema: Any, where: str) -> None:
    if not isinstance(schema, dict):
        raise ValueError(f"{where} must be a JSON schema (an object)")
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = _place(error.absolute_path)
        raise ValueError(f"{where}{f', at {place}' if place else ''}: {_short(error.message)}") from error


# ---- what came back ----


@dataclass(frozen=True)
class Checked:
    """An answer beside its format. `text` is its JSON, indented; an answer that is no JSON stays as it is."""

    text: str
    fault: str  # empty: it keeps to the format
    unknown: bool = False  # whether it keeps to it; `fault` says why

    @property
    def words(self) -> str:
        if self.unknown:
            return f"Not checked: {self.fault}"
        return f"Does not match the schema: {self.fault}" if self.fault else "Matches the schema"


def check(text: str, response_format: dict[str, Any] | None) -> Checked | None:
    """None where the answer was free."""
    if not response_format:
        return None
    try:
        found = json.loads(text)
        shown = json.dumps(found, indent=2, ensure_ascii=False)
    except json.JSONDecodeError as error:
        return Checked(text, f"not JSON, line {error.lineno}, column {error.colno}")
    except (ValueError, RecursionError):
        return Checked(text, "its JSON cannot be read")
    if response_format["type"] == "json_object":
        return Checked(shown, "" if isinstance(found, dict) else "not an object")
    return _checked(shown, json.dumps(response_format["json_schema"]["schema"]))


@lru_cache(maxsize=1024)  # pages ask again and again
def _checked(shown: str, schema: str) -> Checked:
    """`shown` and `schema` are JSON."""
    if _slow[schema] >= MOST_SLOW:
        return Checked(shown, TOO_SLOW, unknown=True)
    given = json.loads(schema)
    if not patterns.is_bounded(given):  # of before they were refused
        return Checked(shown, NOT_BOUNDED, unknown=True)
    try:
        with patterns.one_answer():
            errors = patterns.validator(given).iter_errors(json.loads(shown))
            faults = sorted(errors, key=lambda fault: [str(part) for part in fault.absolute_path])
    except TooSlow:
        _slow[schema] += 1
        return Checked(shown, TOO_SLOW, unknown=True)
    except (Unresolvable, RecursionError, regex.error) as error:
        return Checked(shown, f"it could not be checked ({type(error).__name__})", unknown=True)
    return Checked(shown, _said(faults) if faults else "")


def _said(faults: list[ValidationError]) -> str:
    place = _place(faults[0].absolute_path)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return f"{f'at {place}: ' if place else ''}{_short(faults[0].message)}{more}"


def _place(path: Iterable[Any]) -> str:
    """items[2].price"""
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return words.removeprefix(".")


def _short(message: str) -> str:
    return message if len(message) <= LONGEST_FAULT else message[:LONGEST_FAULT] + "…"


def pretty_arguments(arguments: str) -> str:
    """A call's arguments, indented where they are JSON."""
    try:
        return json.dumps(json.loads(arguments), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments
