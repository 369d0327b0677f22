"""Whose requests count against which limit, which do not count at all, and in whose usage they are recorded."""

import asyncio
from typing import Any

import pytest

from playground import asking, deployments, gateway, vllm
from playground.limits import reserving
from tests.serving.calling import ASK, Caller, counted, make_ready
from tests.serving.conftest import Shelf
from training.models import BaseModel, Usage
from training.usage import book

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connections")]


@pytest.fixture
def caller(api_key: str, settings: Any) -> Caller:
    settings.HONE_RATE_REQUESTS_PER_MINUTE, settings.HONE_RATE_TOKENS_PER_MINUTE = 2, 100
    return Caller(api_key)


async def test_a_fine_tuned_model_shares_its_bases_limit(
    caller: Caller, shelf: Shelf, base: BaseModel, server: vllm.VllmServer
) -> None:
    checkpoint = await asyncio.to_thread(shelf.checkpoint, base, final_name="ft:tiny:hone:test:zzzzzzzz")
    for thing in (base, checkpoint):
        await asyncio.to_thread(make_ready, thing, server)
    statuses = []
    for model in ("tiny", checkpoint.name, checkpoint.step_name, "tiny"):
        answer = await caller.post("/chat/completions", {"model": model, "messages": ASK, "max_tokens": 4})
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 429, 429]
    assert answer.json()["error"]["message"].startswith("Rate limit reached for tiny in organization hone on requests")


async def test_an_answer_counts_with_the_tokens_it_took(
    caller: Caller, base: BaseModel, server: vllm.VllmServer, project: Any, settings: Any
) -> None:
    settings.HONE_RATE_REQUESTS_PER_MINUTE = 20
    await asyncio.to_thread(make_ready, base, server)
    body = {"model": "tiny", "messages": ASK, "max_tokens": 40}
    answer = await caller.post("/chat/completions", body)
    usage = answer.json()["usage"]
    assert answer["x-ratelimit-remaining-tokens"] == "60"
    assert (await asyncio.to_thread(counted, base, project)).used(1) == usage["total_tokens"]
    await caller.events("/chat/completions", body)
    assert (await asyncio.to_thread(counted, base, project)).used(1) == 2 * usage["total_tokens"]


async def test_a_model_that_is_not_there_yet_counts_for_nothing(
    caller: Caller, base: BaseModel, project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.ready, "__defaults__", (0.3, None))
    deployments.beat(servers=[])
    for _ in range(3):
        answer = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "model_loading")
        assert answer["x-ratelimit-limit-requests"] == "2"
    assert (await asyncio.to_thread(counted, base, project)).used(1) == 0


async def test_what_the_model_refuses_counts_as_a_request_without_tokens_and_what_never_reached_it_does_not_count(
    caller: Caller, base: BaseModel, server: vllm.VllmServer, project: Any, settings: Any
) -> None:
    settings.HONE_RATE_TOKENS_PER_MINUTE = 10_000
    await asyncio.to_thread(make_ready, base, server)
    assert (await caller.post("/chat/completions", {"model": "tiny", "messages": []})).status_code == 400
    too_long = {"model": "tiny", "messages": [{"role": "user", "content": "word " * 600}]}
    for stream in (False, True):
        answer = await caller.post("/chat/completions", too_long | {"stream": stream})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    taken = await asyncio.to_thread(counted, base, project)
    assert (taken.used(0), taken.used(1)) == (2 + 1, 0), "the two, and the one that counts them"


async def test_a_caller_who_leaves_is_counted_with_what_was_relayed(
    caller: Caller, base: BaseModel, server: vllm.VllmServer, project: Any
) -> None:
    (base.path / "fake.json").write_text('{"token_seconds": 0.05}')
    await asyncio.to_thread(make_ready, base, server)
    messages = [{"role": "user", "content": "word " * 40}]
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": messages, "stream": True})
    parts = aiter(response.streaming_content)
    for _ in range(6):
        await anext(parts)
    response.close()  # as the server does when the connection is gone
    prompt = 200 // reserving.CHARACTERS_A_TOKEN
    assert prompt + 4 <= (await asyncio.to_thread(counted, base, project)).used(1) <= prompt + 8


async def test_without_limits_nothing_is_told_and_nothing_counted(
    caller: Caller, base: BaseModel, server: vllm.VllmServer, project: Any, settings: Any
) -> None:
    settings.HONE_RATE_REQUESTS_PER_MINUTE = settings.HONE_RATE_TOKENS_PER_MINUTE = 0
    await asyncio.to_thread(make_ready, base, server)
    answer = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})
    assert answer.status_code == 200 and not [name for name in answer.headers if name.startswith("x-ratelimit")]
    assert (await asyncio.to_thread(counted, base, project)).used(1) == 0


async def test_our_own_pages_are_not_limited(
    caller: Caller, base: BaseModel, server: vllm.VllmServer, project: Any
) -> None:
    await asyncio.to_thread(make_ready, base, server)
    for _ in range(3):
        assert [chunk async for chunk in gateway.stream_chat(base, {"messages": ASK})]
    assert (await asyncio.to_thread(counted, base, project)).used(1) == 0


# ---- usage ----


def used(project: Any) -> list[dict[str, Any]]:
    """The rows, once they are written."""
    assert book.write()
    columns = ("kind", "model", "base", "api_key__name", "user__email", *("requests", "prompt_tokens"))
    return list(Usage.objects.of(project).order_by("pk").values(*columns, "completion_tokens"))


async def test_usage_is_what_the_answers_said(
    caller: Caller, base: BaseModel, server: vllm.VllmServer, project: Any, settings: Any
) -> None:
    settings.HONE_RATE_REQUESTS_PER_MINUTE = 0
    await asyncio.to_thread(make_ready, base, server)
    body = {"model": "tiny", "messages": ASK}
    plain = (await caller.post("/chat/completions", body)).json()["usage"]
    assert plain["completion_tokens"] == 5
    await caller.events("/chat/completions", body)
    text = (await caller.post("/completions", {"model": "tiny", "prompt": "Once"})).json()["usage"]
    await caller.post("/chat/completions", {"model": "tiny", "messages": []})
    whose = {"model": "tiny", "base": "tiny", "api_key__name": "test", "user__email": "owner@example.com"}
    names = ("prompt_tokens", "completion_tokens")
    assert await asyncio.to_thread(used, project) == [
        {"kind": "chat", **whose, "requests": 2, **{name: 2 * plain[name] for name in names}},
        {"kind": "completion", **whose, "requests": 1, **{name: text[name] for name in names}},
    ]
    await caller.events("/chat/completions", body)  # the same hour: the same row
    assert (await asyncio.to_thread(used, project))[0]["requests"] == 3


async def test_the_playground_is_recorded_for_its_person(
    base: BaseModel, server: vllm.VllmServer, project: Any, owner: Any
) -> None:
    await asyncio.to_thread(make_ready, base, server)
    one = await asking.ready(project, "tiny", kind=Usage.Kind.PLAYGROUND, user=owner.pk)
    usage = [chunk async for chunk in one.stream({"messages": ASK})][-1]["usage"]
    (row,) = await asyncio.to_thread(used, project)
    assert (row["kind"], row["user__email"], row["api_key__name"]) == ("playground", owner.email, None)
    assert (row["prompt_tokens"], row["completion_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
