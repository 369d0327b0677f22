"""What ninja cannot know of the API: which refusals an operation has, headers, streams, bodies that vLLM reads, HEAD.

`/v1/openapi.json`, the reference under /docs and schemathesis (proofs/openapi.py) all start from `complete`.
"""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any, Final

from pydantic import BaseModel

from dashboard import schemas, schemas_chat
from dashboard.forms import HINTS
from playground import asked

Described = dict[str, Any]

REFUSALS: Final = {
    "400": "A value that is wrong, or something that cannot be done as things stand: `param` and the message say what.",
    "401": "No key, a wrong or revoked one, or a header that names another project.",
    "403": "Not with this key's role or scopes.",
    "404": "Not there, or not in this project.",
    "409": "Something else needs it, or it is not ready yet.",
    "413": "The body, the file or a part of it is too large.",
    "416": "There is no such part: `Content-Range` says how large the whole is.",
    "429": "Too much at once, or the model is still being loaded: `Retry-After` says when to come again.",
    "500": "Our fault: the log has more under the `x-request-id`.",
    "502": "A server that Hone asks did not answer as it should.",
    "503": "The model cannot be served, or its server stopped.",
    "507": "The disk is full.",
}
HEADERS: Final = {
    "x-request-id": "A name of this request, as it stands in the log of the server.",
    "openai-version": "Always 2020-10-01.",
    "openai-organization": "HONE_ORG of this server.",
    "openai-processing-ms": "How long the server took, in milliseconds.",
}
RATE_HEADERS: Final = {  # docs/limits.md
    f"x-ratelimit-{what}-{of}": f"{words}, for this project and the model's family."
    for of in ("requests", "tokens")
    for what, words in (
        ("limit", f"How many {of} a minute may have"),
        ("remaining", f"How many {of} are left of this minute"),
        ("reset", f"When all {of} of a minute are there again, such as 12ms, 1s or 6m0s"),
    )
}
EVENT_STREAM: Final = "text/event-stream"
PASSED_ON: Final = {  # to vLLM: what is asked, the whole answer, a chunk of a streamed one
    "/v1/chat/completions": (asked.AskChat, schemas_chat.ChatCompletion, schemas_chat.ChatCompletionChunk),
    "/v1/completions": (asked.AskCompletion, schemas_chat.Completion, schemas_chat.Completion),
}


def complete(described: Described) -> None:
    """Fills in ninja's description, in place."""
    known = described["components"]["schemas"]
    explain_fields(known)
    reference(known, schemas.ErrorBody)
    for path, operations in described["paths"].items():
        if path in PASSED_ON:
            pass_on(known, operations["post"], *PASSED_ON[path])
        if "head" in operations:
            operations["head"] = without_content(operations["head"])
        for method, operation in operations.items():
            refuse(path, method, operation)
            for answer in operation["responses"].values():
                answer.setdefault("headers", {}).update(_headers(HEADERS))
            if path in PASSED_ON:
                for status in (200, "429"):
                    operation["responses"][status]["headers"].update(_headers(RATE_HEADERS))
    described["components"]["headers"] = {
        name: {"description": words, "required": name in HEADERS, "schema": {"type": "string"}}
        for name, words in (HEADERS | RATE_HEADERS).items()
    }


def explain_fields(known: Described) -> None:
    """The form's words for a field of the recipe are also the API's."""
    for title, names in schemas.PARTS_OF_RECIPE.items():
        for name, field in known.get(title, {}).get("properties", {}).items():
            if words := HINTS.get(names[name]):
                field.setdefault("description", words)


def reference(known: Described, model: type[BaseModel]) -> Described:
    """Adds the model and its parts to the known ones. Two different ones of one name would hide each other."""
    described = model.model_json_schema(ref_template="#/components/schemas/{model}")
    for name, part in {**described.pop("$defs", {}), model.__name__: described}.items():
        assert known.setdefault(name, part) == part, f"two schemas have the name {name}"
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}


def pass_on(
    known: Described, operation: Described, ask: type[BaseModel], whole: type[BaseModel], chunk: type[BaseModel]
) -> None:
    operation["requestBody"] = {"required": True, "content": {"application/json": reference(known, ask)}}
    reference(known, chunk)
    stream = {"type": "string", "description": f"Lines of `data: ` and a {chunk.__name__}, at last `data: [DONE]`."}
    operation["responses"][200] = {
        "description": "The answer; with `stream` its parts as they come",
        "content": {"application/json": reference(known, whole), EVENT_STREAM: {"schema": stream}},
    }


def _headers(names: Iterable[str]) -> Described:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def without_content(operation: Described) -> Described:
    """HEAD: as GET, but nothing but headers; ninja describes both as one."""
    alone = deepcopy(operation)
    alone["operationId"] = f"head_{operation['operationId']}"
    for answer in alone["responses"].values():
        answer.pop("content", None)
    return alone


def refuse(path: str, method: str, operation: Described) -> None:
    """Adds the refusals that this operation has."""
    statuses = {"400", "401", "403", "429", "500"}
    if "{" in path or path in PASSED_ON or operation["operationId"] in FINDS_BY_BODY:
        statuses.add("404")
    if method in {"post", "delete"}:
        statuses |= {"409", "507"}
    if "requestBody" in operation:
        statuses.add("413")
    if any(parameter["name"] == "Range" for parameter in operation["parameters"]):
        statuses |= {"409", "416"}
    if path in PASSED_ON:
        statuses.add("503")
    if path == "/v1/moderations":
        statuses.add("502")
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    for status in sorted(statuses):
        answer = {"description": REFUSALS[status], **({} if method == "head" else {"content": deepcopy(content)})}
        if status == "429":
            answer["headers"] = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "string"}}}
        operation["responses"].setdefault(status, answer)


FINDS_BY_BODY: Final = {"create_export", "create_job", "create_recipe"}  # a model or a file that may be gone
