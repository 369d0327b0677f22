"""daphne with three holes closed: `python -m dashboard.serve_web -b HOST -p PORT dashboard.asgi:application`.

Twisted parses form bodies itself, in memory, many times their size, before daphne or Django see them; neither has a
limit on a body; and an answer is taken from Django as fast as it comes, however slowly the client takes it, so that a
large download stands in memory whole. Here Twisted leaves bodies alone, a body that is too large is refused at its
headers, and Django waits until the client has taken what is on its way.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

with suppress(ImportError):  # a faster event loop, which vLLM brings; daphne makes its loop when it is imported
    import uvloop

    uvloop.install()

from daphne import http_protocol, server
from daphne.cli import CommandLineInterface
from twisted.internet import tcp

FORM_LIMIT_BYTES = int(os.environ.get("HONE_MAX_FORM_MB", "64")) << 20
# OpenAI's own limit for one file sent through /v1/files; only callers that carry a key may send so much at once
FILE_LIMIT_BYTES = int(os.environ.get("HONE_MAX_BODY_MB", "520")) << 20
REFUSAL = (
    b'{"error": {"message": "The request body is too large; send large files by POST /v1/uploads or on the datasets'
    b' page.", "type": "invalid_request_error", "param": null, "code": "request_too_large"}}'
)


class Flow:
    """Whether the client has taken what was sent to it; Twisted calls these three (IPushProducer)."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()

    def pauseProducing(self) -> None:
        self.free.clear()

    def resumeProducing(self) -> None:
        self.free.set()

    stopProducing = resumeProducing  # the client is gone: nothing is worth waiting for


class LimitedRequest(http_protocol.WebRequest):
    """A request whose body cannot fill the memory, and whose answer cannot."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._parsePOSTFormSubmission = False  # Django parses forms
        self.flow = Flow()

    def handle_reply(self, message: dict[str, Any]) -> None:
        if not self.finished and self.channel is not None:
            if message.get("more_body"):
                if self.producer is None:
                    self.registerProducer(self.flow, True)
            elif self.producer is not None:
                self.unregisterProducer()
        super().handle_reply(message)

    def connectionLost(self, reason: Any) -> None:
        self.flow.stopProducing()
        super().connectionLost(reason)

    @property
    def limit_bytes(self) -> int:
        return FILE_LIMIT_BYTES if self.requestHeaders.hasHeader(b"authorization") else FORM_LIMIT_BYTES

    def gotLength(self, length: int | None) -> None:
        super().gotLength(length)
        if length and length > self.limit_bytes:
            head = b"HTTP/1.1 413 Payload Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
            size = b"Content-Length: " + str(len(REFUSAL)).encode() + b"\r\n\r\n"
            self.channel.transport.write(head + size + REFUSAL)
            self.channel.loseConnection()

    def handleContentChunk(self, data: bytes) -> None:
        super().handleContentChunk(data)
        if self.content.tell() > self.limit_bytes:  # chunked encoding declares no length
            self.channel.forceAbortClient()


class AtOnce(tcp.Server):
    """A connection that sends at once what fits, as each token of a stream does. Twisted asks the event loop for a turn
    in which the socket may be written to, which costs about as much again."""

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        waiting = self.dataBuffer or self._tempDataBuffer or self.disconnecting
        if data and self.connected and not waiting and not self.TLS:
            sent = self.writeSomeData(data)
            data = data[sent:] if isinstance(sent, int) and sent > 0 else data  # an error is met once more below
        if data:
            self.write(data)


class FlowingServer(server.Server):
    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        await super().handle_reply(protocol, message)
        if message.get("more_body"):
            await protocol.flow.free.wait()


http_protocol.WebRequest = LimitedRequest
tcp.Port.transport = AtOnce
CommandLineInterface.server_class = FlowingServer

if __name__ == "__main__":
    CommandLineInterface.entrypoint()
