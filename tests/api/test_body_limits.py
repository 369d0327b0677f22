"""daphne, as Hone starts it, cannot be filled up with request bodies, nor with answers that nobody takes."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
MB = 1 << 20


PLENTY_MB = 200


async def plenty(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with much, as fast as it is taken."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(0 if scope["path"] == "/healthz" else PLENTY_MB):
        await send({"type": "http.response.body", "body": b"x" * MB, "more_body": True})
    await send({"type": "http.response.body"})


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    yield from serve("dashboard.asgi:application", tmp_path_factory)


@pytest.fixture
def generous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    yield from serve("tests.api.test_body_limits:plenty", tmp_path_factory)


def serve(application: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "HONE_HOME": str(tmp_path_factory.mktemp("web")), "HONE_MAX_FORM_MB": "8"}
    env |= {"DJANGO_SETTINGS_MODULE": "dashboard.settings"}
    for name in ("HONE_DATABASE_URL", "HONE_REDIS_URL"):
        env.pop(name, None)
    command = [sys.executable, "-m", "dashboard.serve_web", "-b", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen([*command, application], cwd=ROOT, env=env)
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield url, psutil.Process(process.pid)
    process.terminate()
    process.wait(timeout=20)


def status(url: str, body: bytes, kind: str) -> int:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError):  # refused while it was still being sent
        return 413


def test_a_form_above_the_limit_is_refused_at_its_headers_and_takes_no_memory(web):
    url, process = web
    before = process.memory_info().rss
    assert status(f"{url}/sign-in/", b"a=" + b"x" * (9 * MB), "application/x-www-form-urlencoded") == 413
    assert process.memory_info().rss - before < 40 * MB


def test_the_site_answers_after_a_refusal(web):
    with urllib.request.urlopen(f"{web[0]}/healthz", timeout=5) as answer:
        assert answer.status == 200


def test_chunked_encoding_does_not_pass_the_limit(web):
    url, process = web
    host, port = url.removeprefix("http://").split(":")
    before = process.memory_info().rss
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 64 * MB:
                connection.sendall(b"100000\r\n" + b"x" * MB + b"\r\n")
                sent += MB
        except OSError:
            pass
    assert sent < 64 * MB
    assert process.memory_info().rss - before < 60 * MB


def test_an_answer_waits_until_the_client_takes_it(generous):
    url, process = generous
    before = process.memory_info().rss
    with urllib.request.urlopen(url, timeout=30) as answer:
        time.sleep(1)  # in which it could send all of it
        assert process.memory_info().rss - before < 40 * MB
        taken = 0
        while piece := answer.read(MB):
            taken += len(piece)
    assert taken == PLENTY_MB * MB


def test_the_site_goes_on_when_a_client_leaves_in_the_middle_of_an_answer(generous):
    url, _ = generous
    urllib.request.urlopen(url, timeout=30).close()
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert len(answer.read(3 * MB)) == 3 * MB
