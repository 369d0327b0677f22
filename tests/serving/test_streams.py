"""A stream on its way through the gateway: pieces as the network cuts them, names, errors, threads."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from asgiref.testing import ApplicationCommunicator
from django.utils import timezone

from accounts.models import ApiKey
from dashboard.asgi import application
from playground import fairness, gateway
from playground.answering import Answering
from playground.limits.reserving import Grant
from playground.limits.tally import Tally
from playground.models import Deployment
from training.models import BaseModel

Upstream = Callable[..., Awaitable[list[dict[str, Any]]]]


def chunk(text: str, model: str = "tiny") -> bytes:
    """As vLLM writes it."""
    written = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps(written | {"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


@pytest.fixture
async def read() -> AsyncIterator[Upstream]:
    """What the gateway makes of an upstream that writes these pieces; `breaks`: and is cut off then."""
    servers = []

    async def found(
        *pieces: bytes, asked: str = "tiny", breaks: bool = False, tally: Tally | None = None
    ) -> list[dict[str, Any]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for piece in pieces:
                await response.write(piece)
                await asyncio.sleep(0.001)  # a piece of its own on the other side
            if breaks and request.transport:
                request.transport.abort()
            return response

        served = web.Application()
        served.router.add_post("/v1/chat/completions", answer)
        servers.append(server := TestServer(served))
        await server.start_server()
        deployment = Deployment(base_model=BaseModel(name="tiny"), url=str(server.make_url("")).rstrip("/"))
        upstream = await gateway.send(deployment, "/v1/chat/completions", {}, asked)
        answering = Answering(upstream, await fairness.enter(deployment.url, "somebody"), tally or Tally(Grant(), {}))
        written = b"".join([piece async for piece in gateway.relay(answering, deployment, asked)])
        events = written.decode().removesuffix("\n\n").split("\n\n")
        assert events.pop() == "data: [DONE]" and all(event.startswith("data: ") for event in events)
        return [json.loads(event[6:]) for event in events]

    yield found
    await gateway.close()
    for server in servers:
        await server.close()


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["choices"][0]["delta"]["content"] for event in events if "choices" in event]


async def test_events_are_whole_however_the_network_cuts_them(read: Upstream) -> None:
    whole = b"".join(map(chunk, ["one", "zwölf 🦙", '"model":"tiny"', "", "four"])) + b"data: [DONE]\n\n"
    cuts = [[whole], [whole[:70], whole[70:]], [bytes([byte]) for byte in whole[:300]] + [whole[300:]]]
    for pieces in cuts:
        assert texts(await read(*pieces)) == ["one", "zwölf 🦙", '"model":"tiny"', "", "four"]


async def test_each_chunk_has_the_name_that_was_asked_for_and_its_text_stays(read: Upstream) -> None:
    said = ['say "model":"tiny" again', '{"model":"tiny","choices":[]}', "tiny"]
    events = await read(*map(chunk, said), b"data: [DONE]\n\n", asked='ft:tiny:"ö"')
    assert texts(events) == said
    assert {event["model"] for event in events} == {'ft:tiny:"ö"'}


@pytest.mark.parametrize(
    "data",
    [
        '{"id":"1","choices":[{"model":"tiny"}],"model":"tiny"}',  # the name comes last
        '{"id": "1", "model": "tiny", "choices": []}',
        '{"id":"1","model":"another","choices":[]}',
    ],
)
def test_a_chunk_that_is_written_otherwise_is_named_all_the_same(data: str) -> None:
    assert json.loads(gateway.renamed(data.encode(), "tiny", "mine")) == json.loads(data) | {"model": "mine"}


async def test_an_error_in_the_middle_comes_after_what_was_said_and_is_the_last(read: Upstream) -> None:
    error = {"error": {"message": "tiny ran out of memory", "type": "InternalServerError", "code": 500}}
    together = chunk("one") + b"data: " + json.dumps(error).encode() + b"\n\n" + chunk("never")
    *said, last = await read(together, chunk("nor this"), b"data: [DONE]\n\n")
    assert texts(said) == ["one"]
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert "ran out of memory" in last["error"]["message"]


@pytest.mark.parametrize("breaks", [True, False])
async def test_a_stream_that_breaks_off_says_that_it_can_be_asked_again(read: Upstream, breaks: bool) -> None:
    *said, last = await read(chunk("one"), chunk("two")[:40], breaks=breaks)
    assert texts(said) == ["one"]
    assert last["error"]["code"] == "server_stopped" and "Please try again" in last["error"]["message"]


# ---- what it took ----


def usage_chunk(model: str = "tiny") -> bytes:
    """As vLLM writes it, the last before [DONE]."""
    usage = {"prompt_tokens": 7, "total_tokens": 9, "completion_tokens": 2}
    written = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": []}
    return b"data: " + json.dumps(written | {"usage": usage}, separators=(",", ":")).encode() + b"\n\n"


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("cut", [True, False])
async def test_the_usage_is_read_off_a_stream_and_shown_to_who_asked(read: Upstream, shown: bool, cut: bool) -> None:
    tally = Tally(Grant(), {"stream_options": {"include_usage": shown}})
    said, last = chunk('the end "choices":[]'), usage_chunk() + b"data: [DONE]\n\n"
    events = await read(*([said, last] if cut else [said + last]), tally=tally)
    assert tally.usage == {"prompt_tokens": 7, "total_tokens": 9, "completion_tokens": 2}
    assert [event for event in events if "usage" in event] == (events[-1:] if shown else [])
    assert len(events) == 1 + shown


# ---- threads ----


async def status(key: str) -> int:
    """Of a question to a model that is not there."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")],
    }
    asking = ApplicationCommunicator(application, scope)
    await asking.send_input({"type": "http.request", "body": b'{"model": "nobody", "messages": [{"role": "user"}]}'})
    started = await asking.receive_output(30)
    await asking.receive_output(30)
    await asking.wait(30)
    return int(started["status"])


@pytest.mark.django_db(transaction=True)
async def test_questions_share_a_thread_and_a_revoked_key_is_refused_at_once(api_key: str) -> None:
    assert set(await asyncio.gather(*(status(api_key) for _ in range(12)))) == {404}
    shared = [thread for thread in threading.enumerate() if thread.name.startswith("models")]
    assert len(shared) == 1
    await ApiKey.objects.aupdate(revoked_at=timezone.now())
    assert [await status(api_key) for _ in range(8)] == [401] * 8
    await ApiKey.objects.aupdate(revoked_at=None)
    assert [await status(api_key) for _ in range(8)] == [404] * 8
