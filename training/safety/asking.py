"""Asking somebody else's server to judge: bounded, without redirects, and its failures in plain words."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from accounts.errors import ApiError
from training.addresses import Refused, Resolver, check_base_url

TIMEOUT_SECONDS = 180.0  # of one request: a guard model on a CPU takes its time over a long text
CONNECT_SECONDS = 10.0
TRIES = 4
LONGEST_WAIT_SECONDS = 20.0
MOST_BYTES = 8 << 20
MOST_WORDS = 300
BUSY = (429, 500, 502, 503, 529)


@dataclass(frozen=True)
class Server:
    """`who` begins the sentence that says why it did not judge."""

    base_url: str
    key: str
    who: str
    tries: int = TRIES

    def trouble(self, why: str) -> ApiError:
        text = f"{self.who} did not judge: {why if why.endswith(('.', '?')) else why + '.'}"
        return ApiError(
            f"{text} See Settings, Moderation.", status=502, type="server_error", code="moderation_unavailable"
        )


class Answered(Exception):
    """It answered, but with this status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status, self.words = status, words


class Line:
    """A session with one server."""

    def __init__(self, server: Server, address: str, session: aiohttp.ClientSession) -> None:
        self.server, self.address, self.session = server, address, session

    async def post(self, path: str, body: dict[str, Any]) -> bytes:
        """What it answered; asked again where it is busy or away for a moment. Raises Answered, and ApiError where
        there is no answer at all."""
        for left in reversed(range(self.server.tries)):
            try:
                status, wait, content = await self._once(path, body)
            except Refused as error:
                raise self.server.trouble(str(error)) from error
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                if not left:
                    raise self.server.trouble(_why(error)) from error
                status, wait, content = 503, "", b""
            if status == 200:
                return content
            if status not in BUSY or not left:
                raise Answered(status, _words(content, self.server.key))
            pause = float(wait) if wait.isdecimal() else 2.0 ** (self.server.tries - left)
            await asyncio.sleep(min(pause, LONGEST_WAIT_SECONDS))
        raise AssertionError("the last try returns or raises")

    async def _once(self, path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        async with self.session.post(self.address + path, json=body, allow_redirects=False) as answer:
            content = await answer.content.read(MOST_BYTES)
            while len(content) < MOST_BYTES and (more := await answer.content.read(MOST_BYTES)):
                content += more
            return answer.status, answer.headers.get("Retry-After", ""), content


@asynccontextmanager
async def line_to(server: Server) -> AsyncIterator[Line]:
    """Raises ApiError for an address that Hone does not ask."""
    try:
        address = check_base_url(server.base_url)
    except Refused as error:
        raise server.trouble(str(error)) from error
    headers = {"User-Agent": "hone", "Accept-Encoding": "identity"}
    if server.key:
        headers["Authorization"] = f"Bearer {server.key}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=Resolver()),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
    ) as session:
        yield Line(server, address, session)


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nothing answers there; does that server run?"
    if isinstance(error, TimeoutError):
        return f"it said nothing for {TIMEOUT_SECONDS:.0f} seconds"
    return f"it could not be asked ({type(error).__name__})"


def _words(content: bytes, key: str) -> str:
    """Its own words, short; a server that repeats the key must not bring it onto a page."""
    try:
        said = json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return ""
    text = " ".join(str(said).split())[:MOST_WORDS]
    return f": “{text.replace(key, '[the key]') if key else text}”"
