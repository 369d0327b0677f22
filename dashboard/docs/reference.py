"""The reference under /docs/reference: the served OpenAPI, put in words for a page. Nothing is written by hand here."""

import json
import re
from functools import cache
from typing import Any, Final

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from dashboard.docs.rendering import as_html, codes

Schema = dict[str, Any]
LIMITS: Final = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "maxProperties": "at most {} pairs",
    "pattern": "matches {}",
}
DEEPEST: Final = 3
OWN: Final = "Hone's own"


@cache
def tags() -> list[dict[str, Any]]:
    """Each tag with its operations, in the order in which they are served."""
    from dashboard.api import api

    # through JSON, as a client gets it
    described = json.loads(json.dumps(api.get_openapi_schema(path_prefix="v1/"), default=str))
    found: dict[str, list[dict[str, Any]]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            if method != "head":
                tag = operation.get("tags", ["other"])[0]
                found.setdefault(tag, []).append(_operation(described, path, method.upper(), operation))
    return [{"name": tag, "id": tag.replace(" ", "-"), "operations": each} for tag, each in found.items()]


def _operation(described: Schema, path: str, method: str, operation: Schema) -> dict[str, Any]:
    body = _body(described, operation)
    answers = operation["responses"]
    good = {status: answer for status, answer in answers.items() if status.startswith("2")}
    return {
        "id": operation["operationId"],
        "method": method,
        "path": path,
        "words": as_html(operation.get("description", "")).html,
        "parameters": [_parameter(described, each) for each in operation.get("parameters", [])],
        "body": body,
        "body_fields": fields(described, body["schema"]) if body else [],
        "answers": [_answer(described, status, answer) for status, answer in good.items()],
        "refusals": [
            {"status": status, "words": inline(answer["description"])}
            for status, answer in answers.items()
            if not status.startswith("2")
        ],
        "example": _example(described, path, method, body),
    }


def inline(words: str) -> SafeString:
    """A sentence whose backticks mark code."""
    return mark_safe(re.sub("`([^`]+)`", r"<code>\1</code>", escape(words)))


def _body(described: Schema, operation: Schema) -> dict[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {})
    for kind, held in content.items():
        return {"kind": kind, "schema": held["schema"]}
    return None


def _parameter(described: Schema, given: Schema) -> dict[str, Any]:
    return {
        "name": given["name"],
        "where": given["in"],
        "required": given.get("required", False),
        "words": inline(given.get("description", "")),
        **_kind(described, given["schema"]),
    }


def _answer(described: Schema, status: str, answer: Schema) -> dict[str, Any]:
    content = answer.get("content", {})
    kinds = ", ".join(content)
    first = next(iter(content.values()), {}).get("schema", {})
    return {"status": status, "kinds": kinds, "words": answer["description"], "fields": fields(described, first)}


def resolved(described: Schema, schema: Schema) -> Schema:
    """Without `$ref`, and without the null of a field that may be left out."""
    while "$ref" in schema:
        schema = {**described["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], **_beside(schema)}
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) == 1:
        return {**resolved(described, kinds[0]), **_beside(schema)}
    return schema


def _beside(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in ("description", "default")}


def fields(described: Schema, schema: Schema, prefix: str = "", depth: int = 1) -> list[dict[str, Any]]:
    """One line for each field, those of objects within under their path."""
    whole = resolved(described, schema)
    found = []
    for name, given in whole.get("properties", {}).items():
        field = resolved(described, given)
        place = f"{prefix}{name}"
        words = field.get("description", "") if "description" in given or "properties" not in field else ""
        found.append(
            {
                "name": place,
                "required": name in whole.get("required", ()),
                "words": inline(words),
                **_kind(described, given),
            }
        )
        inner = resolved(described, field.get("items", field)) if field.get("type") == "array" else field
        if "properties" in inner and depth < DEEPEST:
            found += fields(described, inner, f"{place}.", depth + 1)
    return found


def _kind(described: Schema, given: Schema) -> dict[str, Any]:
    """`type`, `limits` and `default` in words."""
    field = resolved(described, given)
    kinds = [resolved(described, kind) for kind in field.get("anyOf", field.get("oneOf", [field]))]
    shown = [_name(described, kind) for kind in kinds if kind.get("type") != "null"]
    limits = [words.format(kind[key]) for kind in kinds for key, words in LIMITS.items() if key in kind]
    default = field.get("default")
    return {
        "type": " or ".join(dict.fromkeys(shown)),
        "limits": ", ".join(limits),
        "default": "" if default is None else json.dumps(default, ensure_ascii=False),
        "nullable": any(kind.get("type") == "null" for kind in given.get("anyOf", [])),
    }


def _name(described: Schema, kind: Schema) -> str:
    if "enum" in kind:
        return ", ".join(str(value) for value in kind["enum"])
    if "const" in kind:
        return str(kind["const"])
    if kind.get("type") == "array":
        return f"list of {_name(described, resolved(described, kind.get('items', {})))}"
    if kind.get("format") == "binary":
        return "bytes"
    return {"integer": "whole number", "boolean": "true, false"}.get(kind.get("type", ""), kind.get("type", "anything"))


EXAMPLES: Final[dict[str, Any]] = {
    "model": "SmolLM2-135M-Instruct",
    "training_file": "file-abc123",
    "messages": [{"role": "user", "content": "Where is my parcel?"}],
    "prompt": "Once upon a time",
    "purpose": "fine-tune",
    "filename": "train.jsonl",
    "bytes": 1024,
    "mime_type": "text/jsonl",
    "part_ids": ["part_abc123"],
    "project_ids": ["proj_abc123"],
    "input": "What a lovely day",
    "name": "Our receiver",
    "url": "https://example.com/hooks",
    "event_types": ["fine_tuning.job.succeeded"],
    "event_type": "fine_tuning.job.succeeded",
    "stages": [{"training_file": "file-abc123"}],
}


def _example(described: Schema, path: str, method: str, body: dict[str, Any] | None) -> str:
    """The call with what it must have, by curl."""
    lines = [f'curl "$OPENAI_BASE_URL{path.removeprefix("/v1")}"', '-H "Authorization: Bearer $OPENAI_API_KEY"']
    if method not in ("GET", "POST") or (method == "POST" and body is None):
        lines.insert(1, f"-X {method}")
    if body and body["kind"] == "multipart/form-data":
        required = resolved(described, body["schema"]).get("required", [])
        lines += [
            f"-F {name}=@train.jsonl" if name in ("file", "data") else f"-F {name}={EXAMPLES.get(name, '')}"
            for name in required
        ]
    elif body:
        required = resolved(described, body["schema"]).get("required", [])
        sent = json.dumps({name: EXAMPLES.get(name, "...") for name in required})
        lines += ['-H "Content-Type: application/json"', f"-d '{sent}'"]
    return codes([{"language": "bash", "name": "curl", "code": " \\\n  ".join(lines)}])
