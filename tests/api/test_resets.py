"""Connections that break off while jobs are created: the SDK tries again by itself, and each create makes one job."""

import json
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from openai import OpenAI

from tests.api.conftest import Server
from tests.factories import tiny_model

CREATES = 50
PLACES = (
    "before the request",
    "after the request",  # while it is being worked on
    "before the answer",  # which was made
    "in the answer",
)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset


class Breaking:
    """In front of Hone: breaks some of the connections off, the same ones each time, at most two for each request.

    One request a connection. What is broken is drawn for each body when it first comes.
    """

    def __init__(self, upstream: str) -> None:
        where = urlsplit(upstream)
        self.upstream = (str(where.hostname), where.port or 80)
        self.plans: dict[bytes, list[str]] = {}
        self.broken: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self.pass_on, args=(client,), daemon=True).start()

    def pass_on(self, client: socket.socket) -> None:
        with client:
            place = self.next_place(whole := request_of(client))
            if place == "before the request":
                return self.reset(client, place)
            with socket.create_connection(self.upstream) as hone:
                hone.sendall(whole.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                if place == "after the request":
                    return self.reset(client, place)
                answer = b"".join(iter(lambda: hone.recv(65536), b""))
            if place == "before the answer":
                return self.reset(client, place)
            if place == "in the answer":
                client.sendall(answer[: len(answer) // 2])
                return self.reset(client, place)
            client.sendall(answer)

    def next_place(self, request: bytes) -> str:
        body = request.partition(b"\r\n\r\n")[2]
        with self.lock:
            if body not in self.plans:
                chance = random.Random(json.loads(body)["seed"])
                self.plans[body] = [chance.choice(PLACES) for _ in range(chance.randrange(3))]
            return self.plans[body].pop() if self.plans[body] else ""

    def reset(self, client: socket.socket, place: str) -> None:
        with self.lock:
            self.broken[place] += 1
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def request_of(client: socket.socket) -> bytes:
    """Head and body as they came."""
    whole = b""
    while b"\r\n\r\n" not in whole:
        whole += client.recv(65536)
    head, _, body = whole.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def breaking(server: Server) -> Iterator[Breaking]:
    between = Breaking(server.url)
    yield between
    between.listening.close()


@pytest.fixture
def elsewhere(server: Server) -> Server:
    """The same server with a project of its own."""
    return replace(server, **json.loads(server.run("-m", "tests.api.seed", str(tiny_model(server.home / "tiny")))))


def test_fifty_creates_over_connections_that_break_make_fifty_jobs(elsewhere: Server, breaking: Breaking) -> None:
    client = elsewhere.client()
    # a file with problems: its jobs end before a trainer starts
    file = client.files.create(file=("bad.jsonl", b'{"messages": 3}\n'), purpose="fine-tune").id
    patient = OpenAI(base_url=f"{breaking.url}/v1", api_key=elsewhere.key, timeout=60)  # tries twice more by itself

    def create(number: int) -> str:
        return patient.fine_tuning.jobs.create(
            model="tiny", training_file=file, seed=number, suffix=f"number-{number}"
        ).id

    with ThreadPoolExecutor(10) as several:
        made = list(several.map(create, range(CREATES)))
    jobs = list(client.fine_tuning.jobs.list(limit=20))
    assert len(jobs) == CREATES
    assert {job.id for job in jobs} == set(made)
    assert {job.user_provided_suffix for job in jobs} == {f"number-{number}" for number in range(CREATES)}
    assert set(breaking.broken) == set(PLACES), "each place was tried"
