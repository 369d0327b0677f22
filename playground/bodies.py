"""A caller's body of /v1 in the words of the model and of its vLLM."""

import json
from pathlib import Path
from typing import Any

from accounts.errors import ApiError
from playground import deployments, tool_calls, top_logprobs
from playground.asked import DROPPED
from playground.deployments import Target
from training.models import Checkpoint

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
TEXT_PARTS = ("text", "refusal")


def parse(content: bytes) -> dict[str, Any]:
    """A caller's JSON body. Raises ApiError with OpenAI's words."""
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ApiError(
            f"We could not parse the JSON body of your request. It is not valid JSON: {error}", code="invalid_json"
        ) from error
    if not isinstance(payload, dict):
        raise ApiError("We could not parse the JSON body of your request: it must be an object.", code="invalid_json")
    if not isinstance(payload.get("model"), str) or not payload["model"]:
        raise ApiError("you must provide a model parameter", param="model")
    return payload


def chat_body(payload: dict[str, Any], target: Target) -> dict[str, Any]:
    """The caller's chat in the words of the model's template. Raises ApiError."""
    for place, message in enumerate(payload["messages"]):
        if message.get("role") not in ROLES:
            raise ApiError(
                f"Invalid value: {message.get('role')!r}. Supported values are: {', '.join(map(repr, ROLES))}.",
                param=f"messages.{place}.role",
                code="invalid_value",
            )
        _only_text(message.get("content"), f"messages.{place}.content")
    if not has_chat_template(target):
        raise ApiError(
            f"The model `{payload['model']}` has no chat template, so it cannot chat. Use /v1/completions with a "
            "prompt instead of messages.",
            param="model",
            code="no_chat_template",
        )
    try:
        return tool_calls.arrange(payload, template_folder(target))
    except (TypeError, KeyError, AttributeError) as error:
        raise ApiError(f"'messages' or 'tools' are not as the API has them: {error!r}", param="messages") from error


def _only_text(content: Any, where: str) -> None:
    """The models here read text; vLLM would say of a picture that the model `is not multimodal`, without its place."""
    for place, part in enumerate(content if isinstance(content, list) else []):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in TEXT_PARTS:
            raise ApiError(
                f"Invalid content type: {kind!r}. The models of this server read text: use a part of the type 'text'.",
                param=f"{where}.{place}.type",
                code="invalid_value",
            )


def completion_body(payload: dict[str, Any], target: Target) -> dict[str, Any]:
    """A text to continue needs no template."""
    return payload


def has_chat_template(target: Target) -> bool:
    return bool(deployments.base_of(target).facts_json.get("has_chat_template", True))


def template_folder(target: Target) -> Path:
    """Where its chat template lies; a checkpoint carries its base's."""
    if isinstance(target, Checkpoint):
        return target.base_model.path if target.base_model.is_present else target.path
    return target.path


def prepare(payload: dict[str, Any], served_name: str) -> dict[str, Any]:
    """The body for vLLM: its own model name, without what it does not know; null means absent."""
    body = {name: value for name, value in payload.items() if name not in DROPPED and value is not None}
    body["model"] = served_name
    if most := top_logprobs.asked(payload):
        body["top_logprobs"] = most + 1
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}  # it is always counted; who did not ask for it does not see it
    else:
        body.pop("stream_options", None)
    return body
