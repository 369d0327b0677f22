"""A stand-in of OpenAI's fine-tuning platform: an HTTP server with answers as the real one gives them, and an
organisation of our own invention. `openai_data.organisation()` fills it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.http_serving import Quiet, serving

KEY = "sk-recorded"
NULLS = {"code": None, "message": None, "param": None}


@dataclass
class Platform:
    """`contents` lacks those of files that have expired. Pages hold at most `most` rows, whatever is asked for."""

    files: list[dict[str, Any]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by job, oldest first
    checkpoints: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    most: int = 7
    busy: int = 0  # so many answers are 429 first
    revoked_after: int = 10**9  # answers until the key works no more
    breaks_off: str = ""  # the file whose content comes by half; then the connection is gone
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def job(self, job_id: str) -> dict[str, Any]:
        return next(job for job in self.jobs if job["id"] == job_id)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        """Status, and the body: JSON, or the bytes of a file."""
        if path == "/v1/files":
            return 200, self._page(self.files, query)
        if found := re.fullmatch(r"/v1/files/([^/]+)/content", path):
            content = self.contents.get(found[1])
            return (404, error(f"No such File object: {found[1]}", "id")) if content is None else (200, content)
        if path == "/v1/fine_tuning/jobs":
            return 200, self._page(self.jobs, query)
        if found := re.fullmatch(r"/v1/fine_tuning/jobs/([^/]+)/(events|checkpoints)", path):
            rows = self.events if found[2] == "events" else self.checkpoints
            return 200, self._page(rows.get(found[1], []), query)
        return 404, error(f"Invalid URL (GET {path})", None)

    def _page(self, rows: list[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        """Newest first, unless the query says order=asc; rows are kept oldest first."""
        rows = rows if query.get("order") == "asc" else rows[::-1]
        after = query.get("after")
        start = next(at for at, row in enumerate(rows) if row["id"] == after) + 1 if after else 0
        found = rows[start : start + min(self.most, int(query.get("limit", 20)))]
        ends = {"first_id": found[0]["id"], "last_id": found[-1]["id"]} if found else {}
        return {"object": "list", "data": found, "has_more": start + len(found) < len(rows), **ends}


def error(message: str, param: str | None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


@contextmanager
def running(platform: Platform) -> Iterator[Platform]:
    with serving(_handler(platform)) as address:
        platform.url = f"{address}/v1"
        yield platform


def _handler(platform: Platform) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            platform.asked.append(asked.path)
            if self.headers.get("Authorization") != f"Bearer {KEY}" or len(platform.asked) > platform.revoked_after:
                return self._send(401, error("Incorrect API key provided: sk-re…rded.", None, "invalid_api_key"))
            if platform.busy:
                platform.busy -= 1
                limited = error("Rate limit reached for requests", None, "rate_limit_exceeded")
                return self._send(429, limited, {"retry-after-ms": "10"})
            return self._send(*platform.answer(asked.path, dict(parse_qsl(asked.query))))

        def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            raw = isinstance(body, bytes)
            content = body if raw else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream" if raw else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("x-request-id", f"req_{len(platform.asked)}")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            if platform.breaks_off and self.path == f"/v1/files/{platform.breaks_off}/content":
                content, self.close_connection = content[: len(content) // 2], True
            self.wfile.write(content)

    return Handler
