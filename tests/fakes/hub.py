"""A stand-in of the model hub: a real HTTP server with the hub's addresses, redirects, ranges and faults."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.http_serving import Quiet, serving

LARGE_SUFFIXES = (".safetensors", ".bin", ".gguf", ".parquet")  # the hub keeps these by content, with a sha256


@dataclass
class FakeHub:
    """`models` by id: file name -> content; datasets as datasets/owner/name.

    `cut_after` breaks so many downloads of large files after so many bytes."""

    models: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_after: int = 0
    cuts_left: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, Range header
    tokens_at_storage: list[str] = field(default_factory=list)  # Authorization headers that reached the second host
    damage: bool = False
    url: str = ""

    def add_folder(self, hub_id: str, folder: Path) -> None:
        self.models[hub_id] = {path.name: path.read_bytes() for path in folder.iterdir()}

    def answer_about(self, hub_id: str) -> dict[str, Any]:
        siblings = []
        for name, content in self.models[hub_id].items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(content)}
            if name.endswith(LARGE_SUFFIXES):
                entry["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            siblings.append(entry)
        revision = hashlib.sha1(hub_id.encode()).hexdigest()
        return {
            "id": hub_id.removeprefix("datasets/"),
            "sha": revision,
            "tags": ["license:apache-2.0"],
            "siblings": siblings,
        }


@contextmanager
def running(hub: FakeHub) -> Iterator[FakeHub]:
    with serving(_handler(hub)) as address:
        hub.url = address
        yield hub


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(Quiet):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            hub.asked.append((path, self.headers.get("Range", "")))
            if found := re.fullmatch(r"/api/(?:models/)?((?:datasets/)?[^/]+/[^/]+)", path):
                return self._about(found.group(1))
            if found := re.fullmatch(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/\w+/(.+)", path):
                return self._resolve(*found.groups())
            if found := re.fullmatch(r"/storage/((?:datasets/)?[^/]+/[^/]+)/(.+)", path):
                hub.tokens_at_storage.append(self.headers.get("Authorization", ""))
                return self._content(hub.models[found.group(1)][found.group(2)], may_break=True)
            return self._status(404)

        def _about(self, hub_id: str) -> None:
            if hub_id in hub.gated and not self.headers.get("Authorization"):
                return self._status(401)
            if hub_id not in hub.models:
                return self._status(404)
            return self._content(json.dumps(hub.answer_about(hub_id)).encode())

        def _resolve(self, hub_id: str, name: str) -> None:
            content = hub.models.get(hub_id, {}).get(name)
            if content is None:
                return self._status(404)
            if not name.endswith(LARGE_SUFFIXES):
                return self._content(content)
            port = self.server.server_address[1]
            self.send_response(302)  # localhost instead of 127.0.0.1: another host, as the hub's storage is
            self.send_header("Location", f"http://localhost:{port}/storage/{hub_id}/{name}")
            self.send_header("Content-Length", "0")
            return self.end_headers()

        def _content(self, content: bytes, may_break: bool = False) -> None:
            start = int(m.group(1)) if (m := re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
            body = content[start:]
            if may_break and hub.damage:
                body = bytes(len(body))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if may_break and hub.cuts_left:
                hub.cuts_left -= 1
                self.wfile.write(body[: hub.cut_after])
                self.wfile.flush()
                self.connection.close()
                return
            self.wfile.write(body)

        def _status(self, code: int) -> None:
            self.send_response(code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
