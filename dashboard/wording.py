"""Validation errors in words: which field, what it may be, what came."""

import json
from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

from accounts.errors import ApiError

MISSING = object()
KEY = "[key]"  # pydantic's mark for an error in a key of an object
CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "greater_than": "number_below_min_value",
    "greater_than_equal": "number_below_min_value",
    "less_than": "number_above_max_value",
    "less_than_equal": "number_above_max_value",
    "string_too_long": "string_above_max_length",
    "string_too_short": "string_below_min_length",
    "too_long": "array_above_max_length",
    "too_short": "array_below_min_length",
}
ALLOWED = {
    "bool": "true or false",
    "dict": "an object",
    "enum": "one of {expected}",
    "finite_number": "a finite number",
    "float": "a number",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "int": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list": "a list",
    "literal_error": "{expected}",
    "model": "an object",
    "model_attributes": "an object",
    "string": "a string",
    "string_too_long": "at most {max_length} characters long",
    "string_too_short": "at least {min_length} characters long",
    "too_long": "at most {max_length} entries long",
    "too_short": "at least {min_length} entries long",
    "union_tag_invalid": "an object whose {discriminator} is one of {expected_tags}",
}
LONGEST_SHOWN = 80  # characters of what was sent
MOST_NAMED = 8  # of the other fields that are wrong
SOURCES = ("body", "query", "form", "file", "path", "header", "cookie")


def explain(errors: Sequence[dict[str, Any]], request: HttpRequest) -> ApiError:
    """The first field that is wrong, as a 400 with its full path as `param`; the message names the others too."""
    data = sent_json(request)
    found = [(locate(error, data), error) for error in errors]
    param = found[0][0]
    of_field = [error for path, error in found if path == param]
    kind, value = of_field[0]["type"], dig(data, param)
    if not param:
        return ApiError("The request body must be a JSON object.", code="invalid_type")
    others = _others(param, [path for path, _ in found])
    if kind == "missing":
        return ApiError(f"Missing required parameter: '{param}'.{others}", param=param, code=CODES[kind])
    if kind == "extra_forbidden":
        return ApiError(f"Unknown parameter: '{param}'.{others}", param=param, code=CODES[kind])
    if errors[0]["loc"][-1] == KEY:
        of_field, value = of_field[:1], errors[0]["loc"][-2]
        subject = "each of its keys"
    else:
        subject = "it"
    said = reason(of_field[0]) if kind == "value_error" else f"{subject} {sentence(of_field)}"
    message = f"Invalid '{param}': {said}"
    came = "" if value is MISSING else f" You sent {_shortened(json.dumps(value, ensure_ascii=False))}."
    code = next((CODES[error["type"]] for error in of_field if error["type"] in CODES), "invalid_value")
    return ApiError(message + came + others, param=param, code=code)


def _others(param: str, paths: list[str]) -> str:
    """What else is wrong, by name, so that all of it can be mended before the next try."""
    names = [f"'{path}'" for path in dict.fromkeys(paths) if path and path != param]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f" Also wrong: {', '.join(names[:MOST_NAMED])}{more}." if names else ""


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def reason(error: dict[str, Any]) -> str:
    """The words of a rule of ours, as a sentence."""
    return str(error["ctx"]["error"]).rstrip(".") + "."


def sentence(errors: Sequence[dict[str, Any]]) -> str:
    """What the field may be; a union such as `"auto"` or a number gives one error for each of its members."""
    if errors[0]["type"] == "value_error":
        return "cannot be used: " + reason(errors[0])
    kinds = dict.fromkeys(phrase(error) for error in errors)
    return "must be " + " or ".join(kinds) + "."


def phrase(error: dict[str, Any]) -> str:
    kind = error["type"]
    for ending in ("", "_type", "_parsing", "_from_float"):
        if kind.endswith(ending) and kind.removesuffix(ending) in ALLOWED:
            words = ALLOWED[kind.removesuffix(ending)].format(**error.get("ctx", {}))
            return words.replace("'", '"').replace(" 1 characters", " 1 character").replace(" 1 entries", " 1 entry")
    return str(error["msg"]).lower()


def sent_json(request: HttpRequest) -> Any:
    """The request's JSON body, if it has one and it was read as such."""
    if request.content_type != "application/json":
        return MISSING
    try:
        return json.loads(request.body)
    except ValueError:
        return MISSING


def locate(error: dict[str, Any], data: Any) -> str:
    """The path of the field as the caller wrote it: pydantic also names union members, which nobody sent."""
    place = list(error["loc"])
    source = place.pop(0) if place and place[0] in SOURCES else "body"
    if source != "body" or data is MISSING:
        return ".".join(str(part) for part in place)
    if place[-1] == KEY:
        place = place[:-2]  # the object, not the key that may be very long
    path: list[str] = []
    for part in place[1:]:  # the first is the name of our function's argument
        if isinstance(data, dict) and (part in data or (error["type"] == "missing" and part == place[-1])):
            data = data.get(part, MISSING)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(str(part))
    return ".".join(path)


def dig(data: Any, param: str) -> Any:
    """The value at this path of the sent JSON."""
    for part in param.split("."):
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            return MISSING
    return data
