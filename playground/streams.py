"""One column's answer: from a model that may still have to load, through the gateway, to text and figures."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from channels.db import database_sync_to_async

from accounts.errors import ApiError
from playground import comparisons, deployments, gateway
from playground.comparisons import Answer
from playground.deployments import Target
from playground.models import Deployment, Turn

logger = logging.getLogger(__name__)
WAIT_SECONDS = 15 * 60  # for a model that has to be loaded; the page shows how far it is


async def answer_turn(turn: Turn, column: int, answer: Answer, say: Callable[[str], None]) -> Deployment | None:
    """Fills `answer` while text arrives and says each piece; a failure ends up in `answer.error`.

    Cancelling keeps what has come so far. Returns the deployment that answered, with its proof.
    """
    deployment = None
    try:
        target, payload = await database_sync_to_async(_question)(turn, column)
        deployment = await gateway.ready(
            target, WAIT_SECONDS
        )  # apart from the answer: loading is no time to first token
        await _read(target, payload, answer, say)
    except asyncio.CancelledError:
        answer.stop_reason = "stopped"
    except ApiError as error:
        answer.error = error.message
    except Exception as error:
        logger.exception("column %s of turn %s", column, turn.pk)
        answer.error = f"The model server broke off ({type(error).__name__}). Retry; the server's log says more."
    return deployment


def _question(turn: Turn, column: int) -> tuple[Target, dict[str, Any]]:
    """What is asked, and the body: a chat, or for a base model without a chat template the bare text."""
    comparison = turn.comparison
    target = deployments.find_target(comparison.project, comparison.columns[column]["model"])
    body = comparisons.sampling_of(comparison, column).model_dump(exclude_none=True)
    messages = comparisons.messages_for(turn, column)
    if gateway.has_chat_template(target):
        return target, {**body, "messages": messages}
    return target, {**body, "prompt": "\n\n".join(message["content"] for message in messages)}


async def _read(target: Target, payload: dict[str, Any], answer: Answer, say: Callable[[str], None]) -> None:
    """Text, usage and times. Tokens a second leave the first token out: it waits for the prompt to be read."""
    asked = time.monotonic()
    first = last = 0.0
    async with contextlib.aclosing(gateway.stream_chat(target, payload)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            text, answer.stop_reason = _piece(chunk, answer.stop_reason)
            if text:
                last = time.monotonic()
                first = first or last
                answer.first_token_seconds = first - asked
                answer.text += text
                say(text)
            if usage := chunk.get("usage"):
                answer.prompt_tokens = usage.get("prompt_tokens")
                answer.completion_tokens = usage.get("completion_tokens")
    if answer.completion_tokens and answer.completion_tokens > 1 and last > first:
        answer.tokens_per_second = (answer.completion_tokens - 1) / (last - first)


def _piece(chunk: dict[str, Any], stop_reason: str) -> tuple[str, str]:
    """The text of a chat or completion chunk, and the reason of the end once it is said."""
    for choice in chunk.get("choices") or []:
        text = (choice.get("delta") or {}).get("content") or choice.get("text") or ""
        return text, choice.get("finish_reason") or stop_reason
    return "", stop_reason
