"""/v1/chat/completions and /v1/completions against the fake vLLM: names, streams, errors, cold models."""

import asyncio
import itertools
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project
from playground import bodies, deployments, gateway, load_times, vllm
from playground.models import Deployment
from tests.serving.calling import ASK, Caller, make_ready
from tests.serving.conftest import Shelf, row_of
from training.models import BaseModel, Checkpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connections")]


@pytest.fixture
def checkpoint(shelf: Shelf, base: BaseModel) -> Checkpoint:
    return shelf.checkpoint(base, final_name="ft:tiny:hone:test:zzzzzzzz")


async def test_a_base_answers_under_its_name(caller: Caller, base: BaseModel, server: vllm.VllmServer) -> None:
    await asyncio.to_thread(make_ready, base, server)
    answer = (await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})).json()
    assert answer["model"] == "tiny"
    assert answer["choices"][0]["message"]["content"].strip() == "tiny heard one two three"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 5


@pytest.mark.parametrize("name", ["ft:tiny:hone:test:zzzzzzzz", "ft:tiny:hone:test:abcdef01:ckpt-step-10"])
async def test_a_checkpoint_answers_to_both_names_and_echoes_the_one_asked_for(
    caller: Caller, checkpoint: Checkpoint, server: vllm.VllmServer, name: str
) -> None:
    await asyncio.to_thread(make_ready, checkpoint, server)
    answer = (await caller.post("/chat/completions", {"model": name, "messages": ASK})).json()
    assert answer["model"] == name
    assert answer["choices"][0]["message"]["content"].startswith("ft:tiny:hone:test:abcdef01:ckpt-step-10 heard")
    chunks = await caller.events("/chat/completions", {"model": name, "messages": ASK})
    assert {chunk["model"] for chunk in chunks} == {name}


async def test_a_stream_is_the_plain_answer_in_pieces(caller: Caller, base: BaseModel, server: vllm.VllmServer) -> None:
    await asyncio.to_thread(make_ready, base, server)
    body = {"model": "tiny", "messages": ASK}
    plain = (await caller.post("/chat/completions", body)).json()
    chunks = await caller.events("/chat/completions", body | {"stream_options": {"include_usage": True}})
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert said == plain["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == plain["usage"]


async def test_no_usage_chunk_unless_asked_for(caller: Caller, base: BaseModel, server: vllm.VllmServer) -> None:
    await asyncio.to_thread(make_ready, base, server)
    chunks = await caller.events("/chat/completions", {"model": "tiny", "messages": ASK})
    assert all(chunk["choices"] for chunk in chunks)


async def test_tokens_are_passed_on_as_they_come(caller: Caller, base: BaseModel, server: vllm.VllmServer) -> None:
    """At 50 ms a token they arrive one after the other, not all at the end."""
    (base.path / "fake.json").write_text('{"token_seconds": 0.05}')
    await asyncio.to_thread(make_ready, base, server)
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK, "stream": True})
    loop = asyncio.get_running_loop()
    arrived = [loop.time() async for _ in response.streaming_content]
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrived)]
    assert sum(gap > 0.02 for gap in gaps) >= 5


async def test_a_caller_who_leaves_stops_the_generation(
    caller: Caller, base: BaseModel, server: vllm.VllmServer
) -> None:
    """The server cancels the task that sends the answer when the socket closes."""
    (base.path / "fake.json").write_text('{"token_seconds": 0.05}')
    await asyncio.to_thread(make_ready, base, server)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "word " * 100}], "stream": True}
    response = await caller.post("/chat/completions", body)
    first = asyncio.Event()

    async def read() -> None:
        async for _ in response.streaming_content:
            first.set()

    reading = asyncio.create_task(read())
    await first.wait()
    reading.cancel()
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            async with session.get(server.url + "/fake") as answer:
                if (await answer.json())["left"] == 1:
                    return
            await asyncio.sleep(0.05)
    pytest.fail("the generation went on")


async def test_completions_are_passed_through(caller: Caller, base: BaseModel, server: vllm.VllmServer) -> None:
    await asyncio.to_thread(make_ready, base, server)
    answer = (await caller.post("/completions", {"model": "tiny", "prompt": "Once"})).json()
    assert (answer["object"], answer["model"], answer["choices"][0]["text"]) == ("text_completion", "tiny", " and")
    chunks = await caller.events("/completions", {"model": "tiny", "prompt": "Once"})
    assert chunks[0]["choices"][0]["text"] == " and"


async def test_extras_that_mean_nothing_here_are_dropped(
    caller: Caller, base: BaseModel, server: vllm.VllmServer
) -> None:
    await asyncio.to_thread(make_ready, base, server)
    extras = {"store": True, "metadata": {"a": "b"}, "user": "me", "service_tier": "auto", "temperature": None}
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK} | extras)
    assert response.status_code == 200


def test_the_body_for_vllm_holds_what_it_knows() -> None:
    asked = {
        "model": "ft:x",
        "messages": ASK,
        "max_completion_tokens": 5,
        "store": True,
        "chat_template": "evil",
        "top_p": None,
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }
    body = bodies.prepare(asked, "served")
    assert body == {
        "model": "served",
        "messages": ASK,
        "max_completion_tokens": 5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert asked["chat_template"] == "evil", "the caller's own body stays as it was"


# ---- errors ----


def error_of(response: Any) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("path", "what"), [("/chat/completions", {"messages": ASK}), ("/completions", {"prompt": "x"})]
)
async def test_an_unknown_model_is_404_in_openais_words(caller: Caller, path: str, what: dict[str, Any]) -> None:
    response = await caller.post(path, {"model": "gpt-9"} | what)
    assert response.status_code == 404
    error = error_of(response)
    assert error["code"] == "model_not_found"
    assert error["message"] == "The model `gpt-9` does not exist or you do not have access to it."


async def test_another_projects_checkpoint_is_unknown(caller: Caller, shelf: Shelf, base: BaseModel) -> None:
    def make() -> Checkpoint:
        return shelf.checkpoint(base, project=Project.objects.create(name="Elsewhere"))

    theirs = await asyncio.to_thread(make)
    response = await caller.post("/chat/completions", {"model": theirs.step_name, "messages": ASK})
    assert response.status_code == 404
    assert not await Deployment.objects.aexists()


TEXT = {"type": "text", "text": "what is this?"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"messages":' + b"[" * 100_000, None),
        ({"messages": ASK}, "model"),
        ({"model": 3, "messages": ASK}, "model"),
        ({"model": "tiny"}, "messages"),
        ({"model": "tiny", "messages": []}, "messages"),
        ({"model": "tiny", "messages": ["hello"]}, "messages.0"),
        ({"model": "tiny", "messages": [*ASK, {"role": "nobody", "content": "hello"}]}, "messages.1.role"),
        ({"model": "tiny", "messages": [{"role": "user", "content": [TEXT, PICTURE]}]}, "messages.0.content.1.type"),
    ],
)
async def test_a_wrong_body_is_400_and_names_the_field(
    caller: Caller, base: BaseModel, body: Any, param: str | None
) -> None:
    response = await caller.post("/chat/completions", body)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


async def test_vllms_own_errors_come_in_openais_shape(caller: Caller, base: BaseModel, server: vllm.VllmServer) -> None:
    await asyncio.to_thread(make_ready, base, server)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x y " * 1000}]}
    for stream in (False, True):
        response = await caller.post("/chat/completions", body | {"stream": stream})
        assert response.status_code == 400
        error = error_of(response)
        assert error["code"] == "context_length_exceeded"
        assert error["type"] == "invalid_request_error"


async def test_a_model_without_chat_template_points_to_completions(caller: Caller, shelf: Shelf) -> None:
    await asyncio.to_thread(shelf.base, "plain", chat_template=False)
    response = await caller.post("/chat/completions", {"model": "plain", "messages": ASK})
    assert response.status_code == 400
    assert "/v1/completions" in error_of(response)["message"]


async def test_a_cold_model_is_429_with_the_words_clients_match(
    caller: Caller, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.ready, "__defaults__", (0.3, None))
    deployments.beat(servers=[])
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})
    assert response.status_code == 429
    assert "the model is still being loaded" in error_of(response)["message"]
    assert response["Retry-After"] == "10"
    assert (await Deployment.objects.aget()).wanted


async def test_a_cold_model_says_when_to_come_again_from_what_it_took_the_last_time(
    caller: Caller, base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.ready, "__defaults__", (0.3, None))
    deployments.beat(servers=[])

    def starts() -> None:
        row = deployments.want(base_model=base)
        deployments.change(row, state="loading", reason=load_times.STARTING, start_seconds=100.0, load_seconds=7.5)
        Deployment.objects.update(changed_at=timezone.now() - timedelta(seconds=30))

    await asyncio.to_thread(starts)
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})
    assert response.status_code == 429
    assert 70 <= int(response["Retry-After"]) <= 78  # 77.5 of which some pass here
    assert f"try again in {response['Retry-After']} seconds" in error_of(response)["message"]


async def test_a_cold_model_that_becomes_ready_in_time_answers(
    caller: Caller, base: BaseModel, server: vllm.VllmServer
) -> None:
    deployments.beat(servers=[])
    threading.Timer(0.7, make_ready, (base, server)).start()
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})
    assert response.status_code == 200


async def test_a_model_that_failed_says_why_and_is_not_retried(caller: Caller, base: BaseModel) -> None:
    def fail() -> None:
        deployments.change(deployments.want(base_model=base), state="failed", reason="No kernel for this head size.")

    await asyncio.to_thread(fail)
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})
    assert response.status_code == 503
    assert "No kernel for this head size." in error_of(response)["message"]
    assert response["x-should-retry"] == "false"


async def test_a_server_that_is_gone_is_503_and_worth_a_retry(
    caller: Caller, base: BaseModel, server: vllm.VllmServer
) -> None:
    await asyncio.to_thread(make_ready, base, server)
    await asyncio.to_thread(server.stop)
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK})
    assert response.status_code == 503
    assert response["Retry-After"]


async def test_an_answer_that_takes_longer_than_one_may_ends_with_an_error(
    caller: Caller, base: BaseModel, server: vllm.VllmServer, settings: Any
) -> None:
    settings.HONE_ANSWER_SECONDS = 0.3
    (base.path / "fake.json").write_text('{"token_seconds": 600, "answer_seconds": 600}')
    await asyncio.to_thread(make_ready, base, server)
    body = {"model": "tiny", "messages": ASK}
    plain = await caller.post("/chat/completions", body)
    assert (plain.status_code, error_of(plain)["code"]) == (503, "answer_timeout")
    assert plain["x-should-retry"] == "false"
    assert (await caller.events("/chat/completions", body))[-1]["error"]["code"] == "answer_timeout"


async def test_an_adapter_that_vllm_lost_is_being_loaded_again(
    caller: Caller, checkpoint: Checkpoint, server: vllm.VllmServer
) -> None:
    await asyncio.to_thread(make_ready, checkpoint, server)
    await asyncio.to_thread(server.unload_adapter, checkpoint.step_name)
    response = await caller.post("/chat/completions", {"model": checkpoint.step_name, "messages": ASK})
    assert response.status_code == 429


# ---- for our own pages ----


async def test_a_page_streams_chunks_with_usage_last(base: BaseModel, server: vllm.VllmServer) -> None:
    await asyncio.to_thread(make_ready, base, server)
    chunks = [chunk async for chunk in gateway.stream_chat(base, {"messages": ASK, "max_tokens": 2})]
    assert chunks[-1]["usage"]["completion_tokens"] == 2
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "length"


async def test_a_page_hears_what_a_cold_model_waits_for(base: BaseModel, server: vllm.VllmServer) -> None:
    deployments.beat(servers=[])
    heard: list[tuple[str, str]] = []

    async def on_progress(deployment: Deployment) -> None:
        heard.append((deployment.state, deployment.reason))

    def load() -> None:
        deployments.change(row_of(base), state="loading", reason="Starting vLLM.")

    threading.Timer(0.6, load).start()
    threading.Timer(1.5, make_ready, (base, server)).start()
    chunks = [chunk async for chunk in gateway.stream_chat(base, {"messages": ASK}, on_progress=on_progress)]
    assert chunks[-1]["usage"]
    assert heard == [("queued", ""), ("loading", "Starting vLLM.")]


async def test_a_page_whose_model_failed_gets_the_reason(base: BaseModel) -> None:
    def fail() -> None:
        deployments.change(deployments.want(base_model=base), state="failed", reason="Its files are gone.")

    await asyncio.to_thread(fail)
    with pytest.raises(ApiError, match="Its files are gone"):
        await anext(gateway.stream_chat(base, {"messages": ASK}))


# ---- names ----


def test_a_base_is_found_without_regard_to_case_and_by_its_hub_id(project: Project, tmp_path: Path) -> None:
    base = BaseModel.objects.create(name="Qwen3-0.6B", source="hub", source_id="Qwen/Qwen3-0.6B")
    for name in ("Qwen3-0.6B", "qwen3-0.6b", "Qwen/Qwen3-0.6B"):
        assert deployments.find_target(project, name) == base
    with pytest.raises(ApiError):
        deployments.find_target(project, "Qwen3")


def test_wanting_twice_changes_nothing(base: BaseModel) -> None:
    first = deployments.want(base_model=base)
    deployments.change(first, state="ready")
    assert deployments.want(base_model=base).state == "ready"
    deployments.release(first)
    assert deployments.want(base_model=base).state == "queued"


async def test_a_field_that_neither_openai_nor_vllm_has_is_refused_by_name(caller: Caller, base: BaseModel) -> None:
    response = await caller.post("/chat/completions", {"model": "tiny", "messages": ASK, "temprature": 1})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["message"]) == ("temprature", "Unrecognized request argument supplied: temprature")
