"""One column's answer: from a model that may still have to load, through the gateway, to text and figures."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from channels.db import database_sync_to_async

from accounts.errors import ApiError
from playground import asking, comparisons, prices
from playground.asking import Ready
from playground.comparisons import Answer
from playground.external.models import ExternalModel
from playground.models import Comparison, Deployment, Turn
from training.usage.models import Usage

logger = logging.getLogger(__name__)
STILL_LOADING = "model_loading"  # of gateway.still_loading
WAIT_SECONDS = 15 * 60  # for a model that has to be loaded; then it is asked for again


async def answer_turn(turn: Turn, column: int, answer: Answer, say: Callable[[str], None]) -> Deployment | None:
    """Fills `answer` while text arrives and says each piece; a failure ends up in `answer.error`.

    Cancelling keeps what has come so far. Returns the deployment that answered, with its proof.
    """
    deployment = None
    try:
        model, body = await database_sync_to_async(_question)(turn, column)
        # apart from the answer: loading is no time to first token
        one = await _ready(turn.comparison, model)
        deployment = one.deployment
        await read(one, body, answer, say)
    except asyncio.CancelledError:
        answer.stop_reason = "stopped"
    except ApiError as error:
        answer.error = error.message
    except Exception as error:
        logger.exception("column %s of turn %s", column, turn.pk)
        answer.error = f"The model server broke off ({type(error).__name__}). Retry; the server's log says more."
    return deployment


async def _ready(comparison: Comparison, model: str) -> Ready:
    """Once the model can answer, however long that takes: the page shows how long it has waited and for what, and a
    person stops it, or leaves. Raises ApiError when it cannot be served."""
    while True:
        try:
            whose = {"kind": Usage.Kind.PLAYGROUND, "user": comparison.created_by_id}
            return await asking.ready(comparison.project, model, WAIT_SECONDS, **whose)
        except ApiError as error:
            if error.code != STILL_LOADING:
                raise


def _question(turn: Turn, column: int) -> tuple[str, dict[str, Any]]:
    """Which model is asked, and what."""
    comparison = turn.comparison
    body = comparisons.sampling_of(comparison, column).model_dump(exclude_none=True)
    messages = comparisons.messages_for(turn, column)
    return comparison.columns[column]["model"], {**body, **comparisons.structure_of(comparison), "messages": messages}


async def read(one: Ready, body: dict[str, Any], answer: Answer, say: Callable[[str], None]) -> None:
    """Text, calls, usage, times and cost. Tokens a second leave the first token out: it waits for the prompt to be
    read. Of several samples only the first is said while it comes; the figures are of all."""
    reading = Reading(one, answer, say)
    try:
        await reading.ask(body)
        if isinstance(one.target, ExternalModel):
            await reading.ask_for_missing(body)
    finally:
        reading.finish()
    if isinstance(one.target, ExternalModel):
        answer.cost = one.target.cost(answer.prompt_tokens, answer.completion_tokens)
    elif one.account:
        answer.cost = await prices.cost(one.account, answer.prompt_tokens, answer.completion_tokens)


class Reading:
    """One column's answers while they come, with the figures of all requests that they took."""

    def __init__(self, one: Ready, answer: Answer, say: Callable[[str], None]) -> None:
        self.one, self.answer, self.say = one, answer, say
        self.samples = Samples(answer)
        self.asked = time.monotonic()
        self.first = self.last = 0.0
        self.usage: dict[int | None, dict[str, int | None]] = {}  # by request; None: the first one

    async def ask(self, body: dict[str, Any], number: int | None = None) -> None:
        """`number`: what comes is this sample. Raises ApiError."""
        async with contextlib.aclosing(self.one.stream(body)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                choices = chunk.get("choices") or []
                if number is not None:
                    choices = [choice | {"index": number} for choice in choices]
                self._take(choices)
                if usage := chunk.get("usage"):
                    self.usage[number] = usage

    def _take(self, choices: list[dict[str, Any]]) -> None:
        said = [self.samples.take(choice) for choice in choices]
        if any(text is not None for text in said):
            self.last = time.monotonic()
            self.first = self.first or self.last
            self.answer.first_token_seconds = self.first - self.asked
        for text in filter(None, said):
            self.say(text)

    async def ask_for_missing(self, body: dict[str, Any]) -> None:
        """Many servers of others do not know `n` and give one answer: each further one is a request of its own, with
        another seed, since the same seed gives the same answer. One that fails is missing, and its column says so."""
        rest = {name: value for name, value in body.items() if name != "n"}
        seed = body.get("seed")
        missing = [number for number in range(1, body.get("n", 1)) if number not in self.samples.others]

        async def more(number: int) -> None:
            try:
                await self.ask(rest | ({} if seed is None else {"seed": seed + number}), number)
            except ApiError as error:
                self.samples.others.pop(number, None)
                logger.warning("sample %s of %s did not come: %s", number + 1, body["n"], error.message)

        async with asyncio.TaskGroup() as group:
            for number in missing:
                group.create_task(more(number))

    def finish(self) -> None:
        answer = self.answer
        answer.seconds = time.monotonic() - self.asked
        self.samples.finish()
        answer.prompt_tokens = self._tokens("prompt_tokens")
        answer.completion_tokens = self._tokens("completion_tokens")
        if answer.completion_tokens and answer.completion_tokens > 1 and self.last > self.first:
            answer.tokens_per_second = (answer.completion_tokens - 1) / (self.last - self.first)

    def _tokens(self, name: str) -> int | None:
        """Of all requests that told them."""
        told = [found for usage in self.usage.values() if (found := usage.get(name)) is not None]
        return sum(told) if told else None


class Samples:
    """The answers of one column to one message while they grow: the first in `answer`, the others beside it."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.others: dict[int, Answer] = {}
        self.calls: dict[tuple[int, int], dict[str, str]] = {}  # by sample and call, in the order they began

    def take(self, choice: dict[str, Any]) -> str | None:
        """A piece of one sample. Returns what of it is said aloud, empty for a piece that is not, None for no piece."""
        index = choice.get("index") or 0
        sample = self.answer if index == 0 else self.others.setdefault(index, Answer())
        delta = choice.get("delta") or {}
        text = delta.get("content") or choice.get("text") or ""
        sample.text += text
        sample.stop_reason = choice.get("finish_reason") or sample.stop_reason
        parts = [part for part in delta.get("tool_calls") or [] if isinstance(part.get("function"), dict)]
        for part in parts:
            call = self._call(index, part.get("index") or 0, sample)
            for name in call:
                call[name] += str(part["function"].get(name) or "")
        return (text if index == 0 else "") if text or parts else None

    def _call(self, sample_index: int, index: int, sample: Answer) -> dict[str, str]:
        key = (sample_index, index)
        if key not in self.calls:
            self.calls[key] = {"name": "", "arguments": ""}
            sample.tool_calls.append(self.calls[key])
        return self.calls[key]

    def finish(self) -> None:
        """The other samples into the answer, in their order."""
        self.answer.more_samples = [
            {"text": each.text, "tool_calls": each.tool_calls, "stop_reason": each.stop_reason}
            for _, each in sorted(self.others.items())
        ]
