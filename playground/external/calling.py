"""Asking an external model: one streamed request, its chunks in OpenAI's shape, and its failures in plain words.

Redirects are not followed, cookies not kept, proxies not used, and the key stands nowhere but in the request's header.
What comes back is somebody else's: it is bounded, and only the fields that are known are taken from it.
"""

import asyncio
import json
import re
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from accounts.sealed import Unreadable
from playground.external import trouble
from playground.external.models import ExternalModel
from training.addresses import Refused, Resolver, check_base_url

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0  # no byte for this long: give up; a reasoning model may think a while before its first
LONGEST_SECONDS = 1800.0
LINE_BYTES = 1 << 20
MOST_BYTES = 32 << 20
ERROR_BYTES = 16_384
NAMES_N = re.compile(r"(?<![\w\\-])n(?![\w-])")  # the field `n` in an error: 'n', "n must be 1", n=1; no \n of JSON

_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = weakref.WeakKeyDictionary()


def session() -> aiohttp.ClientSession:
    """One for each event loop, apart from the one that speaks to our own vLLM servers."""
    loop = asyncio.get_running_loop()
    if loop not in _sessions or _sessions[loop].closed:
        _sessions[loop] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, resolver=Resolver(), ttl_dns_cache=30),
            timeout=aiohttp.ClientTimeout(
                total=LONGEST_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=LINE_BYTES,
            auto_decompress=False,  # nobody is asked to compress; a small body must not become a huge one
        )
    return _sessions[loop]


async def close() -> None:
    """Ends the connections of this event loop."""
    found = _sessions.pop(asyncio.get_running_loop(), None)
    if found:
        await found.close()


async def stream(external: ExternalModel, payload: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Chunks as OpenAI's API streams them, the last with `usage` where that server tells it; `model` is our id of it.

    Raises ApiError, in the middle of an answer, too. Closing the iterator closes the request, which stops a server
    that looks after its callers.
    """
    upstream = await _send(external, payload)
    try:
        async for chunk in _chunks(external, upstream):
            yield chunk | {"model": external.pk}
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise trouble.broke_off(external, error) from error
    finally:
        upstream.close()


async def answer_once(external: ExternalModel, question: str, most_tokens: int = 64) -> tuple[str, float, float]:
    """The text, seconds to its first piece and seconds in all. Raises ApiError."""
    asked, first, text = time.monotonic(), 0.0, ""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": most_tokens}
    async for chunk in stream(external, body):
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            first = first or time.monotonic()
    ended = time.monotonic()
    return text, (first or ended) - asked, ended - asked


# ---- the request ----


async def _send(external: ExternalModel, payload: dict[str, Any]) -> aiohttp.ClientResponse:
    """The answer, not yet read. One that does not know a field of ours is asked again in its own words."""
    try:
        address = check_base_url(external.base_url) + "/chat/completions"
        key = external.key
    except Refused as error:
        raise trouble.refused(external, str(error)) from error
    except Unreadable as error:
        raise trouble.refused(external, str(error), code="key_unreadable") from error
    body = {name: value for name, value in payload.items() if value is not None}
    body |= {"model": external.model, "stream": True, "stream_options": {"include_usage": True}}
    while True:
        upstream = await _post(external, address, key, body)
        if upstream.status == 200:
            return upstream
        content = await _error_content(upstream)
        other = _in_other_words(body, content) if upstream.status in (400, 422) else None
        if other is None:
            raise trouble.answered(external, upstream.status, dict(upstream.headers), content, key)
        body = other


async def _post(external: ExternalModel, address: str, key: str, body: dict[str, Any]) -> aiohttp.ClientResponse:
    headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "User-Agent": "hone"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        return await session().post(address, json=body, headers=headers, allow_redirects=False)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise trouble.not_reached(external, error, urlsplit(address)) from error


async def _error_content(upstream: aiohttp.ClientResponse) -> bytes:
    """The beginning of an error's body, as far as it comes."""
    content = b""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            while len(content) < ERROR_BYTES and (part := await upstream.content.read(ERROR_BYTES)):
                content += part
    except (aiohttp.ClientError, TimeoutError, OSError):
        pass
    finally:
        upstream.close()
    return content


def _in_other_words(body: dict[str, Any], content: bytes) -> dict[str, Any] | None:
    """The same question without `stream_options` or `n`, or with the new name of `max_tokens`, if the error is about
    that. A caller that wanted several answers then has one, and asks for the others."""
    text = content.decode(errors="replace")
    if "n" in body and NAMES_N.search(text):
        return {name: value for name, value in body.items() if name != "n"}
    if "stream_options" in body and "stream_options" in text:
        return {name: value for name, value in body.items() if name != "stream_options"}
    if "max_tokens" in body and "max_completion_tokens" in text:
        rest = {name: value for name, value in body.items() if name != "max_tokens"}
        return rest | {"max_completion_tokens": body["max_tokens"]}
    return None


# ---- the answer ----


async def _chunks(external: ExternalModel, upstream: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    kind = upstream.headers.get("Content-Type", "").lower()
    if "json" in kind and "event-stream" not in kind:  # a server that cannot stream answers in one piece
        yield _cleaned(external, await _whole(upstream))
        return
    size, ended, began = 0, False, False
    async for line in upstream.content:
        size += len(line)
        if size > MOST_BYTES:
            raise trouble.refused(
                external, f"Its answer is longer than {MOST_BYTES >> 20} MB, so Hone stopped reading."
            )
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            return
        chunk = json.loads(data)
        began = True
        if isinstance(chunk, dict) and chunk.get("error"):
            raise trouble.answered(external, 0, {}, data, external.key)
        chunk = _cleaned(external, chunk)
        ended = ended or any(choice["finish_reason"] for choice in chunk["choices"])
        yield chunk
    if not began:
        raise trouble.not_a_stream(external, kind)
    if not ended:
        raise trouble.broke_off(external, EOFError())


async def _whole(upstream: aiohttp.ClientResponse) -> dict[str, Any]:
    """An answer in one piece, as the one chunk it would have been."""
    content = b""
    async for part in upstream.content.iter_chunked(65_536):
        content += part
        if len(content) > MOST_BYTES:
            break
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    if found.get("error"):
        return found
    choices = [
        {**choice, "delta": choice.get("message")} for choice in found.get("choices") or [] if isinstance(choice, dict)
    ]
    return found | {"choices": choices}


def _cleaned(external: ExternalModel, chunk: Any) -> dict[str, Any]:
    """What is known of a chunk, in the types that OpenAI's API gives it."""
    if not isinstance(chunk, dict):
        raise ValueError("a chunk that is no object")
    if chunk.get("error"):
        raise trouble.answered(external, 0, {}, json.dumps(chunk).encode(), external.key)
    given = chunk.get("choices")
    choices = [_choice(index, one) for index, one in enumerate(given if isinstance(given, list) else [])]
    found: dict[str, Any] = {"object": "chat.completion.chunk", "choices": choices}
    if isinstance(usage := chunk.get("usage"), dict):
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        found["usage"] = {name: usage[name] for name in names if type(usage.get(name)) is int and usage[name] >= 0}
    return found


def _choice(index: int, choice: Any) -> dict[str, Any]:
    choice = choice if isinstance(choice, dict) else {}
    delta = choice.get("delta") if isinstance(choice.get("delta"), dict) else {}
    content, calls, reason = delta.get("content"), delta.get("tool_calls"), choice.get("finish_reason")
    kept: dict[str, Any] = {"content": content.replace("\0", "")} if isinstance(content, str) else {}
    if isinstance(calls, list) and all(isinstance(call, dict) for call in calls):
        kept["tool_calls"] = calls
    position = choice.get("index")
    return {
        "index": position if type(position) is int else index,
        "delta": kept,
        "finish_reason": reason[:40] if isinstance(reason, str) else None,
    }
