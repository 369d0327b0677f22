"""daphne with two holes closed: `python -m dashboard.serve_web -b HOST -p PORT dashboard.asgi:application`.

Twisted parses form bodies itself, in memory, many times their size, before daphne or Django see them; and neither has
a limit on a body. Here Twisted leaves bodies alone and a body that is too large is refused at its headers.
"""

import os
from contextlib import suppress
from typing import Any

with suppress(ImportError):  # a faster event loop, which vLLM brings; daphne makes its loop when it is imported
    import uvloop

    uvloop.install()

from daphne import http_protocol
from daphne.cli import CommandLineInterface

FORM_LIMIT_BYTES = int(os.environ.get("HONE_MAX_FORM_MB", "64")) << 20
# OpenAI's own limit for one file sent through /v1/files; only callers that carry a key may send so much at once
FILE_LIMIT_BYTES = int(os.environ.get("HONE_MAX_BODY_MB", "520")) << 20
REFUSAL = (
    b'{"error": {"message": "The request body is too large; send large files by POST /v1/uploads or on the datasets'
    b' page.", "type": "invalid_request_error", "param": null, "code": "request_too_large"}}'
)


class LimitedRequest(http_protocol.WebRequest):
    """A request whose body cannot fill the memory."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._parsePOSTFormSubmission = False  # Django parses forms

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


http_protocol.WebRequest = LimitedRequest

if __name__ == "__main__":
    CommandLineInterface.entrypoint()
