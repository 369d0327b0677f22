"""A large upload into a Hone of its own: in pieces, broken off at 40 %, continued in another session, watched."""

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx2
import psutil

from benchmarks.subjects import ROOT
from proofs.screen import Screen
from proofs.server import Hone, started

PIECE_BYTES = 8 << 20
BREAK_AT = 0.4
LOOK_SECONDS = 0.1
WAIT_SECONDS = 600


class Memory:
    """The most that each kind of process held while something was done, looked at ten times a second."""

    def __init__(self, root: int) -> None:
        self.root, self.most = psutil.Process(root), defaultdict[tuple[str, str], int](int)
        self.doing = "starting"
        self.ended = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self.ended.wait(LOOK_SECONDS):
            for process in self.root.children(recursive=True):
                try:
                    kind, held = _kind(process.cmdline()), process.memory_info().rss
                except psutil.Error:
                    continue
                self.most[self.doing, kind] = max(self.most[self.doing, kind], held)


def _kind(command: list[str]) -> str:
    words = " ".join(command)
    return "web" if "serve_web" in words else "worker" if "dramatiq" in words or "rundramatiq" in words else "other"


def measure(path: Path, home: Path) -> None:
    """Prints what was seen. Exits where the upload does not come out as the file that was sent."""
    os.environ.setdefault("HONE_STARTER", "0")
    os.environ["HONE_HOME"] = str(home)
    with started(Screen()) as hone:
        memory = Memory(os.getpid())
        before, memory.doing = time.perf_counter(), "uploading"
        file_id = _sent(hone, path)
        sent = time.perf_counter() - before
        memory.doing = "checking"
        status = _checked(hone, file_id)
        checked = time.perf_counter() - before - sent
        memory.doing = "downloading"
        same = _same(hone, file_id, path)
        memory.ended.set()
    if not same:
        sys.exit("what lies on the server is not what was sent")
    size = path.stat().st_size / 1e6
    print(f"\nuploaded in {sent:.1f} s ({size / sent:.0f} MB/s, with the break); {status} after {checked:.1f} s more")
    for doing in ("uploading", "checking", "downloading"):
        held = {kind: memory.most[doing, kind] / 1e6 for kind in ("web", "worker")}
        print(f"{doing}: " + ", ".join(f"{kind} at most {most:.0f} MB" for kind, most in held.items()))


def _session(hone: Hone) -> httpx2.Client:
    """Signed in by a link, as a browser would be."""
    said = subprocess.run(
        [sys.executable, "manage.py", "sign_in_link"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    link = re.search(r"https?://[^/\s]+(/\S+)", said)
    if link is None:
        sys.exit(f"no sign-in link: {said}")
    client = httpx2.Client(base_url=hone.url, follow_redirects=True, timeout=60)
    client.get(link[1])
    client.get("/datasets/")
    client.headers |= {"X-CSRFToken": client.cookies.get("csrftoken", ""), "Referer": hone.url}
    return client


def _begun(client: httpx2.Client, path: Path) -> dict[str, Any]:
    stat = path.stat()
    told = {"filename": path.name, "bytes": stat.st_size, "modified": int(stat.st_mtime * 1000)}
    return client.post("/datasets/uploads", data=told).raise_for_status().json()


def _sent(hone: Hone, path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        first = _session(hone)
        upload = _begun(first, path)
        _pieces(first, upload, file, int(size * BREAK_AT))
        first.close()  # as a closed browser: nothing is said to the server
        second = _session(hone)
        again = _begun(second, path)
        if again["id"] != upload["id"] or again["received"] < size * BREAK_AT:
            sys.exit(f"the upload did not go on: {upload} {again}")
        print(f"broken off at {BREAK_AT:.0%}; goes on from {again['received']:,} bytes", flush=True)
        _pieces(second, again, file, size)
        second.post(f"{again['url']}finish").raise_for_status()
    return again["id"]


def _pieces(client: httpx2.Client, upload: dict[str, Any], file: Any, until: int) -> None:
    at = upload["received"]
    while at < until:
        file.seek(at)
        answer = client.post(f"{upload['url']}chunks?offset={at}", content=file.read(PIECE_BYTES)).raise_for_status()
        at = answer.json()["received"]


def _checked(hone: Hone, file_id: str) -> str:
    deadline = time.monotonic() + WAIT_SECONDS
    with httpx2.Client(base_url=hone.api, headers={"Authorization": f"Bearer {hone.key}"}) as client:
        while time.monotonic() < deadline:
            file = client.get(f"/files/{file_id}").raise_for_status().json()
            if file["status"] != "uploaded":
                return file["status"]
            time.sleep(0.2)
    return "still not checked"


def _same(hone: Hone, file_id: str, path: Path) -> bool:
    """Whether what lies there now has the SHA-256 of what was sent."""
    digest = hashlib.sha256()
    address, headers = f"{hone.api}/files/{file_id}/content", {"Authorization": f"Bearer {hone.key}"}
    with httpx2.stream("GET", address, headers=headers, timeout=60) as answer:
        for block in answer.iter_bytes():
            digest.update(block)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == digest.hexdigest()
