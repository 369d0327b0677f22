"""From a caller to the vLLM that holds the model, without buffering: waits for a cold one, maps names and errors.

The reader's path: `bodies.prepare` makes vLLM's body out of the caller's, `ready` waits until the deployment answers,
`send` opens the stream upstream. `stream_chat` is all of it for our own pages; `playground.routers` for /v1.
"""

import asyncio
import json
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import Any

import aiohttp
from asgiref.sync import sync_to_async
from django.conf import settings

from accounts.errors import ApiError
from accounts.models import Project
from accounts.read_once import ReadOnce
from playground import bodies, deployments, load_times, too_long, top_logprobs
from playground.answering import Answering
from playground.deployments import Target
from playground.limits.reserving import Grant
from playground.limits.tally import Tally
from playground.models import Deployment
from training.models import Checkpoint
from training.usage.book import Account

API_WAIT_SECONDS = 30.0  # a caller of the API is kept this long for a cold model, then told to come again
PAGE_WAIT_SECONDS = 900.0  # a page shows what it waits for, so it may wait
RETRY_AFTER_SECONDS = 10  # where nothing better is known; the official SDK honours it
POLL_SECONDS = 0.25
FAILED_FOR_SECONDS = 60.0  # a failed model is tried again for a request after this long, not for each request
SILENCE_SECONDS = 600.0  # no byte from vLLM for this long: give up
ENGINE_IS_DEAD = "EngineCore encountered an issue"  # what vLLM's server says of its own engine: it ends, too
READ_BYTES = 1 << 20  # kept of an answer before vLLM is made to wait for a slow reader
BAD_SCHEMA = "Grammar error:"  # what vLLM says of a schema that no answer can be made to follow

Progress = Callable[[Deployment], Awaitable[None]]
_targets: ReadOnce[Target] = ReadOnce()
_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = weakref.WeakKeyDictionary()


def session() -> aiohttp.ClientSession:
    """One for each event loop: connections to vLLM are kept and used again."""
    loop = asyncio.get_running_loop()
    if loop not in _sessions or _sessions[loop].closed:
        _sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(
                settings.HONE_ANSWER_SECONDS or None, sock_connect=5, sock_read=SILENCE_SECONDS
            ),
            read_bufsize=READ_BYTES,
        )
    return _sessions[loop]


async def close() -> None:
    """Ends the connections of this event loop."""
    found = _sessions.pop(asyncio.get_running_loop(), None)
    if found:
        await found.close()


# ---- waiting for the model ----


def first_look(
    project: Project, payload: dict[str, Any], words: Callable[[dict[str, Any], Target], dict[str, Any]], came_at: float
) -> tuple[Target, dict[str, Any], Deployment | None]:
    """The model that is asked, the body in its words, and its deployment where it answers already: all in one go,
    because each change of thread delays the first token. Raises ApiError."""
    name = payload["model"]
    target = _targets.since(came_at, (project.pk, name), lambda: deployments.find_target(project, name))
    payload = words(payload, target)
    row: Deployment | None = getattr(target, "deployment", None)
    if row is None or not row.wanted or row.state != Deployment.State.READY:
        return target, payload, None
    deployments.touch(row)
    return target, payload, row


async def ready(
    target: Target, wait_seconds: float = API_WAIT_SECONDS, on_progress: Progress | None = None
) -> Deployment:
    """The deployment once it answers. Raises ApiError: 429 when it takes longer, 503 with the reason when it cannot."""
    deadline = time.monotonic() + wait_seconds
    told: tuple[str, str] | None = None
    deployment = await sync_to_async(_ask_for)(target)
    while deployment.state != Deployment.State.READY:
        if deployment.state == Deployment.State.FAILED:
            raise failed(deployment)
        if on_progress and told != (told := (deployment.state, deployment.reason)):
            await on_progress(deployment)
        if deployments.heartbeat() is None and time.monotonic() > deadline - wait_seconds + 5:
            raise ApiError(deployments.SERVE_IS_GONE, status=503, type="server_error", code="not_serving")
        if time.monotonic() >= deadline:
            raise still_loading(deployment.reason, await sync_to_async(load_times.seconds_left)(deployment))
        await asyncio.sleep(POLL_SECONDS)
        deployment = await sync_to_async(_look_again)(target)
    return deployment


def _ask_for(target: Target) -> Deployment:
    """The row of a target in use; wanted from now on unless it failed a moment ago."""
    found = _row(target)
    if found is None or not found.wanted:
        return deployments.want_target(target)
    if found.state == Deployment.State.FAILED and time.time() - found.changed_at.timestamp() > FAILED_FOR_SECONDS:
        return deployments.want_target(target)
    deployments.touch(found)
    return found


def _look_again(target: Target) -> Deployment:
    """As it is now. Put away while we waited (to make room for another): asked for again."""
    found = _row(target)
    return deployments.want_target(target) if found is None or not found.wanted else found


def _row(target: Target) -> Deployment | None:
    which = {"checkpoint": target} if isinstance(target, Checkpoint) else {"base_model": target}
    return (
        Deployment.objects.select_related("base_model", "checkpoint__base_model", "checkpoint__job")
        .filter(**which)
        .first()
    )


def failed(deployment: Deployment) -> ApiError:
    return ApiError(
        f"The model cannot be served: {deployment.reason}",
        status=503,
        type="server_error",
        code="model_not_served",
        headers={"x-should-retry": "false"},  # it will not come right by itself
    )


def still_loading(reason: str = "", seconds: int = RETRY_AFTER_SECONDS) -> ApiError:
    detail = f" ({reason})" if reason else ""
    return ApiError(
        f"Please try again in {seconds} seconds: the model is still being loaded{detail}.",
        status=429,
        type="requests",
        param="model",
        code="model_loading",
        headers={"Retry-After": str(seconds)},
    )


# ---- upstream ----


async def send(deployment: Deployment, path: str, body: dict[str, Any], asked: str) -> aiohttp.ClientResponse:
    """vLLM's answer, not yet read; the caller closes it, and closing it early stops the generation. Raises ApiError."""
    try:
        upstream = await session().post(deployment.url + path, json=body)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise gone(error) from error
    if upstream.status < 400:
        return upstream
    try:
        content = await upstream.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise gone(error) from error
    finally:
        upstream.release()
    raise translate(upstream.status, content, deployment.served_name, asked)


def gone(error: Exception) -> ApiError:
    if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ServerTimeoutError):  # the whole of it
        return ApiError(
            f"The answer was not complete after {settings.HONE_ANSWER_SECONDS} seconds, the most that this server gives"
            " one request. Ask for fewer tokens with max_completion_tokens.",
            status=503,
            type="server_error",
            code="answer_timeout",
            headers={"x-should-retry": "false"},
        )
    return ApiError(
        "The model's vLLM server stopped while it was asked; it is started again by itself. Please try again.",
        status=503,
        type="server_error",
        code="server_stopped",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def translate(status: int, content: bytes, served_name: str, asked: str) -> ApiError:
    """vLLM's error in OpenAI's shape, with the name that was asked for."""
    try:
        body = json.loads(content)
    except ValueError:
        body = {}
    inner = body.get("error", body) if isinstance(body, dict) else {}
    inner = inner if isinstance(inner, dict) else {"message": str(inner)}
    message = str(inner.get("message") or content[:300].decode(errors="replace") or "vLLM gave no reason")
    message = message.replace(served_name, asked)
    if status == 404:  # the server runs but lost the adapter: it is being loaded again
        return still_loading()
    if ENGINE_IS_DEAD in message:
        return gone(RuntimeError(message))
    if status >= 500:
        return ApiError(f"vLLM failed: {message}", status=500, type="server_error", code="engine_error")
    param = inner.get("param") if isinstance(inner.get("param"), str) else None
    if message.startswith(BAD_SCHEMA):
        message = f"Invalid schema for response_format: {message.removeprefix(BAD_SCHEMA).strip()}"
        param = "response_format"
    return ApiError(
        too_long.plain(message),
        status=400 if status == 422 else status,
        param=param,
        code="context_length_exceeded" if too_long.is_too_long(message) else None,
    )


async def whole(upstream: aiohttp.ClientResponse, asked: str, tally: Tally) -> bytes:
    """A plain answer with the model's name as it was asked for. Raises ApiError when the server stops in between."""
    try:
        content = await upstream.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise gone(error) from error
    finally:
        upstream.close()
    answer = json.loads(content)
    answer["model"], tally.usage = asked, answer.get("usage")
    if most := top_logprobs.asked(tally.payload):
        top_logprobs.cut(answer, most)
    return _compact(answer)


async def relay(answering: Answering, deployment: Deployment, asked: str) -> AsyncIterator[bytes]:
    """Server-sent events as they come, those that came together in one piece. Left early, the generation is stopped."""
    served, most = deployment.served_name, top_logprobs.asked(answering.tally.payload)
    async for together in events(answering.upstream, served, deployment):
        if not (together := answering.tally.look(together)):
            continue
        named = together if served == asked else [renamed(data, served, asked) for data in together]
        if most:
            named = [_compact(top_logprobs.cut(json.loads(data), most)) for data in named]
        yield b"".join(b"data: %b\n\n" % data for data in named)
    yield b"data: [DONE]\n\n"


def renamed(data: bytes, served: str, asked: str) -> bytes:
    """A chunk with the model's name as it was asked for.

    vLLM writes the name ahead of the choices, and a quotation mark inside a text is escaped: so it need not be parsed.
    """
    before, name, after = data.partition(_model(served))
    if name and b'"choices"' not in before:
        return before + _model(asked) + after
    chunk = json.loads(data)
    return _compact(chunk | {"model": asked}) if "model" in chunk else data


@lru_cache(maxsize=256)
def _model(name: str) -> bytes:
    return b'"model":' + _compact(name)


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


async def chunks(upstream: aiohttp.ClientResponse, deployment: Deployment) -> AsyncIterator[dict[str, Any]]:
    """The parsed events of a stream."""
    async for together in events(upstream, deployment.served_name, deployment):
        for data in together:
            yield json.loads(data)


async def events(upstream: aiohttp.ClientResponse, served: str, deployment: Deployment) -> AsyncIterator[list[bytes]]:
    """The data of a stream's events, those that came together in one list.

    An error on the way is an event with `error` in OpenAI's shape, and the last.
    """
    touched, rest = time.monotonic(), b""
    try:
        async for piece in upstream.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            together = [line[5:].strip() for line in lines if line.startswith(b"data:")]
            for number, data in enumerate(together):
                if data.startswith(b'{"id":'):  # as each chunk of vLLM begins
                    continue
                if data == b"[DONE]":
                    if together[:number]:
                        yield together[:number]
                    return
                if "error" in json.loads(data):
                    yield [*together[:number], _compact(translate(500, data, served, served).body())]
                    return
            if together:
                yield together
            if time.monotonic() - touched > 5:  # a long answer is use, too
                touched = time.monotonic()
                await sync_to_async(deployments.touch)(deployment)
        yield [_compact(gone(EOFError()).body())]  # it ended without [DONE]
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        yield [_compact(gone(error).body())]
    finally:
        upstream.close()


async def stream_chat(
    target: Target,
    payload: dict[str, Any],
    *,
    wait_seconds: float = PAGE_WAIT_SECONDS,
    on_progress: Progress | None = None,
    account: Account | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """An answer for our own pages: chunks as OpenAI's API streams them, the last with `usage`.

    `payload` is a chat body; `model` may be left out. `on_progress` hears of each new state while the model is cold;
    `account` is in whose usage it is recorded.
    Raises ApiError; an error in the middle of an answer is raised, too. Closing the iterator stops the generation.
    """
    asked = payload.get("model") or (target.name)
    payload = payload | {"model": asked, "stream": True, "stream_options": {"include_usage": True}}
    chat = "messages" in payload
    payload = await sync_to_async(bodies.chat_body if chat else bodies.completion_body)(payload, target)
    deployment = await ready(target, wait_seconds, on_progress)
    body = bodies.prepare(payload, deployment.served_name)
    upstream = await send(deployment, "/v1/chat/completions" if chat else "/v1/completions", body, asked)
    tally, most = Tally(Grant(), payload, account), top_logprobs.asked(payload)
    try:
        async for chunk in chunks(upstream, deployment):
            tally.see(chunk)
            if "error" in chunk:
                error = chunk["error"]
                raise ApiError(error["message"], status=503, type=error["type"], code=error["code"])
            yield (top_logprobs.cut(chunk, most) if most else chunk) | {"model": asked}
    finally:
        tally.close()
        upstream.close()
