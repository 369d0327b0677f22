"""Asking a moderation endpoint in OpenAI's shape: bounded, without redirects, and its failures in plain words."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from accounts.errors import ApiError
from accounts.sealed import Unreadable
from training.addresses import Refused, Resolver, check_base_url
from training.safety.models import ModerationPolicy

BATCH = 32  # texts a request
MOST_CHARACTERS = 30_000  # of a text; longer ones are cut, as no classifier reads more
TIMEOUT_SECONDS = 60.0
TRIES = 4
LONGEST_WAIT_SECONDS = 20.0
MOST_BYTES = 8 << 20
MOST_WORDS = 300


def moderate(policy: ModerationPolicy, texts: Sequence[str]) -> list[dict[str, Any]]:
    """One result a text, as the endpoint gives them. Raises ApiError. Not to be called in an event loop."""
    return asyncio.run(_moderate(policy, texts))


async def _moderate(policy: ModerationPolicy, texts: Sequence[str]) -> list[dict[str, Any]]:
    try:
        address, key = check_base_url(policy.base_url) + "/moderations", policy.key
    except (Refused, Unreadable) as error:
        raise _trouble(policy, str(error)) from error
    headers = {"User-Agent": "hone", "Accept-Encoding": "identity"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    found: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=Resolver()),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
    ) as session:
        for at in range(0, len(texts), BATCH):
            batch = [text[:MOST_CHARACTERS] for text in texts[at : at + BATCH]]
            body = {"input": batch, **({"model": policy.model} if policy.model else {})}
            found += _results(policy, await _post(policy, session, address, body, key), len(batch))
    return found


async def _post(
    policy: ModerationPolicy, session: aiohttp.ClientSession, address: str, body: dict[str, Any], key: str
) -> bytes:
    """What it answered; asked again where it is busy."""
    for left in reversed(range(TRIES)):
        try:
            async with session.post(address, json=body, allow_redirects=False) as answer:
                content = await answer.content.read(MOST_BYTES)
                while len(content) < MOST_BYTES and (more := await answer.content.read(MOST_BYTES)):
                    content += more
                status, wait = answer.status, answer.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            refused = isinstance(error, Refused)
            raise _trouble(
                policy, str(error) if refused else f"it could not be asked ({type(error).__name__})"
            ) from error
        if status == 200:
            return content
        if status not in (429, 500, 502, 503, 529) or not left:
            raise _trouble(policy, f"it answered {status}{_words(content, key)}")
        await asyncio.sleep(min(float(wait) if wait.isdecimal() else 2.0 ** (TRIES - left), LONGEST_WAIT_SECONDS))
    raise AssertionError("the last try returns or raises")


def _results(policy: ModerationPolicy, content: bytes, count: int) -> list[dict[str, Any]]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    results = body.get("results") if isinstance(body, dict) else None
    if not isinstance(results, list) or len(results) != count or not all(isinstance(each, dict) for each in results):
        raise _trouble(policy, "its answer is not that of OpenAI's /v1/moderations. Most base URLs end in /v1")
    return results


def _words(content: bytes, key: str) -> str:
    """Its own words, short; a server that repeats the key must not bring it onto a page."""
    try:
        said = json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    text = " ".join(str(said).split())[:MOST_WORDS]
    return f": “{text.replace(key, '[the key]') if key else text}”"


def _trouble(policy: ModerationPolicy, why: str) -> ApiError:
    text = f"The moderation endpoint at {policy.base_url} did not judge: {why.removesuffix('.')}."
    return ApiError(f"{text} See Settings, Moderation.", status=502, type="server_error", code="moderation_unavailable")
