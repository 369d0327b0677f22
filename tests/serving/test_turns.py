"""Projects take turns at a vLLM that is asked for more than it answers at once, and every place at it comes back."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from accounts.models import ApiKey, Project, User
from dashboard.asgi import application
from playground import fairness, vllm
from playground.fairness import Door
from playground.models import Deployment
from tests.serving.calling import ASK, Caller, counted, make_ready
from tests.serving.conftest import PATIENCE_SECONDS
from tests.waiting import until
from training.models import BaseModel
from training.usage import book

BODY = {"model": "tiny", "messages": ASK}
STREAM = BODY | {"stream": True}
NEVER_ENDING = '{"token_seconds": 600}'
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connections")]


@pytest.fixture(autouse=True)
def one_at_a_time(settings: Any) -> None:
    settings.HONE_REQUESTS_AT_ONCE = 1


@pytest.fixture
def server(base: BaseModel, server: vllm.VllmServer) -> vllm.VllmServer:
    make_ready(base, server)
    return server


@pytest.fixture
async def door(server: vllm.VllmServer) -> Door:
    return fairness.door_of(server.url)


@pytest.fixture
def another_key(stranger: User) -> str:
    """Of another project."""
    return ApiKey.make(project=Project.objects.get(name="Elsewhere"), user=stranger, name="test")[1]


async def asks(key: str, body: dict[str, Any]) -> ApplicationCommunicator:
    """Through the server's own handler: many at once, and it hears of a client that is gone."""
    path = "/v1/chat/completions"
    headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode()}
    client = ApplicationCommunicator(application, scope | {"query_string": b"", "headers": headers})
    await client.send_input({"type": "http.request", "body": json.dumps(body).encode()})
    return client


async def hears(client: ApplicationCommunicator) -> tuple[int, bytes]:
    """The status and the whole answer."""
    status, content, more = (await client.receive_output(PATIENCE_SECONDS))["status"], b"", True
    while more:
        part = await client.receive_output(PATIENCE_SECONDS)
        content, more = content + part.get("body", b""), part.get("more_body", False)
    await client.wait(PATIENCE_SECONDS)
    return status, content


async def leaves(client: ApplicationCommunicator) -> None:
    await client.send_input({"type": "http.disconnect"})
    await client.wait(PATIENCE_SECONDS)


# ---- turns ----


async def test_many_requests_of_one_project_do_not_keep_anothers_one_waiting(
    api_key: str, another_key: str, server: vllm.VllmServer, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fairness, "WAIT_SECONDS", 600.0)  # longer than a busy machine takes for them all
    order: list[str] = []

    async def ask(key: str, name: str) -> None:
        assert (await hears(await asks(key, BODY)))[0] == 200
        order.append(name)

    place = await fairness.enter(server.url, "whoever is answered now")
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(ask(api_key, "first"))
        await until(lambda: door.count_waiting() == 12)
        group.create_task(ask(another_key, "second"))
        await until(lambda: door.count_waiting() == 13)
        place.close()
    assert order.index("second") <= 2  # it had the second turn; who is told first is up to the loop
    assert len(order) == 13
    await until(lambda: door.inside == 0)


async def test_who_waits_too_long_is_429_with_the_time_to_come_again_and_counts_for_nothing(
    caller: Caller,
    base: BaseModel,
    project: Project,
    server: vllm.VllmServer,
    door: Door,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.HONE_RATE_REQUESTS_PER_MINUTE = 5
    monkeypatch.setattr(fairness, "WAIT_SECONDS", 0.2)
    place = await fairness.enter(server.url, "whoever is answered now")
    answer = await caller.post("/chat/completions", BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "server_busy")
    assert f"try again in {answer['Retry-After']} seconds" in answer.json()["error"]["message"]
    assert (await asyncio.to_thread(counted, base, project)).used(0) == 1  # this look itself
    place.close()
    assert (await caller.post("/chat/completions", BODY)).status_code == 200
    await until(lambda: door.inside == 0)


# ---- each place comes back ----


async def test_a_client_gone_while_waiting_leaves_the_queue_and_counts_for_nothing(
    api_key: str, base: BaseModel, project: Project, server: vllm.VllmServer, door: Door, settings: Any
) -> None:
    settings.HONE_RATE_REQUESTS_PER_MINUTE = 5
    place = await fairness.enter(server.url, "whoever is answered now")
    client = await asks(api_key, STREAM)
    await until(lambda: door.count_waiting() == 1)
    await leaves(client)
    assert door.count_waiting() == 0
    taken = await asyncio.to_thread(counted, base, project)
    assert (taken.used(0), taken.used(1)) == (1, 0)  # this look itself
    assert not book._sums
    place.close()
    await until(lambda: door.inside == 0)


async def test_a_client_gone_in_the_middle_of_its_answer_gives_its_place_back(
    api_key: str, base: BaseModel, server: vllm.VllmServer, door: Door
) -> None:
    (base.path / "fake.json").write_text(NEVER_ENDING)
    client = await asks(api_key, STREAM)
    while not (await client.receive_output(PATIENCE_SECONDS)).get("body"):
        pass
    assert door.inside == 1
    await leaves(client)
    await until(lambda: door.inside == 0)


@asynccontextmanager
async def never_ending(says: bytes = b"") -> AsyncIterator[tuple[Door, asyncio.Event, asyncio.Event]]:
    """In vLLM's place: says that and no more. Its door, whether it was asked, and whether it was let go."""
    was_asked, was_left = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        was_asked.set()
        writer.write(says)
        await reader.read()
        was_left.set()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await Deployment.objects.aupdate(url=url)
        yield fairness.door_of(url), was_asked, was_left


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_gone_before_vllm_says_anything_stops_it_and_gives_its_place_back(
    api_key: str, server: vllm.VllmServer, stream: bool
) -> None:
    async with never_ending() as (door, was_asked, was_left):
        client = await asks(api_key, BODY | {"stream": stream})
        await was_asked.wait()
        assert door.inside == 1
        await leaves(client)
        await asyncio.wait_for(was_left.wait(), PATIENCE_SECONDS)
        await until(lambda: door.inside == 0)


async def test_an_answer_that_was_dropped_unclosed_stops_vllm_and_gives_its_place_back(
    caller: Caller, server: vllm.VllmServer
) -> None:
    """Django closes none whose caller left while it was on its way through the middleware."""
    async with never_ending(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n") as (door, _, was_left):
        await caller.post("/chat/completions", STREAM)
        await until(lambda: gc.collect() >= 0 and was_left.is_set())  # the event loop holds it for a turn or two
        await until(lambda: door.inside == 0)


async def test_an_answer_that_is_closed_before_its_first_chunk_gives_its_place_back(
    caller: Caller, base: BaseModel, door: Door
) -> None:
    (base.path / "fake.json").write_text(NEVER_ENDING)
    response = await caller.post("/chat/completions", STREAM)
    assert door.inside == 1
    response.close()
    await until(lambda: door.inside == 0)


async def test_an_answer_that_is_not_read_holds_no_place_once_vllm_has_said_it(caller: Caller, door: Door) -> None:
    response = await caller.post("/chat/completions", STREAM)
    await until(lambda: door.inside == 0)
    assert b"[DONE]" in b"".join([part async for part in response.streaming_content])


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_that_vllm_refuses_gives_its_place_back(caller: Caller, door: Door, stream: bool) -> None:
    long = BODY | {"messages": [{"role": "user", "content": "x y " * 1000}], "stream": stream}
    assert (await caller.post("/chat/completions", long)).status_code == 400
    await until(lambda: door.inside == 0)


async def test_a_server_that_ends_lets_everybody_go(
    api_key: str, base: BaseModel, server: vllm.VllmServer, door: Door
) -> None:
    """The one in the middle of an answer hears it there, those who wait when their turn has come."""
    (base.path / "fake.json").write_text(NEVER_ENDING)
    answered = asyncio.create_task(hears(await asks(api_key, STREAM)))
    await until(lambda: door.inside == 1)
    waiting = [asyncio.create_task(hears(await asks(api_key, STREAM))) for _ in range(3)]
    await until(lambda: door.count_waiting() == 3)
    await asyncio.to_thread(server.stop)
    assert b"server_stopped" in (await answered)[1]
    assert [status for status, _ in await asyncio.gather(*waiting)] == [503] * 3
    await until(lambda: door.inside == 0)
