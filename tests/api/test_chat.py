"""/v1/chat/completions and /v1/completions with the official SDK against the real vLLM."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai import APIStatusError, BadRequestError, NotFoundError, OpenAI

from tests.api.conftest import Server

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

LOAD_SECONDS = 600
MESSAGES = [{"role": "user", "content": "Order 3?"}]


@pytest.fixture(scope="module")
def serving(server: Server) -> Iterator[None]:
    server.start("serve", [sys.executable, "manage.py", "serve"])
    heartbeat, deadline = server.home / "processes" / "serve.json", time.monotonic() + LOAD_SECONDS
    while not heartbeat.exists():  # until then a request is told that nobody serves
        assert time.monotonic() < deadline, server.logs()
        time.sleep(0.2)
    yield
    process = server.processes.pop()
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(params=["tiny", "tuned", "earlier"])
def model(request: pytest.FixtureRequest, serving: None, client: OpenAI, finished: Any) -> str:
    """The base model, the fine-tuned one, and its earlier checkpoint; each loaded."""
    earlier = client.fine_tuning.jobs.checkpoints.list(finished.id).data[-1].fine_tuned_model_checkpoint
    name = {"tiny": "tiny", "tuned": finished.fine_tuned_model, "earlier": earlier}[request.param]
    when_loaded(lambda: ask(client, name))
    return name


def ask(client: OpenAI, model: str, **options: Any) -> Any:
    return client.chat.completions.create(
        **{"model": model, "messages": MESSAGES, "temperature": 0, "max_tokens": 12, **options}
    )


def when_loaded(call: Callable[[], Any]) -> Any:
    """A model that is still being loaded answers 429 with the time to come again."""
    deadline = time.monotonic() + LOAD_SECONDS
    while True:
        try:
            return call()
        except APIStatusError as error:
            if error.status_code != 429 or time.monotonic() > deadline:
                raise
            assert "the model is still being loaded" in error.message
            time.sleep(min(5, float(error.response.headers["Retry-After"])))


def test_an_answer_has_the_shape_and_the_name_that_was_asked_for(client, model):
    answer = ask(client, model)
    assert (answer.object, answer.model) == ("chat.completion", model)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_sums_up_to_the_plain_answer_and_ends_with_usage(client, model):
    plain = ask(client, model)
    chunks = list(ask(client, model, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == plain.usage.completion_tokens
    assert {chunk.model for chunk in chunks} == {model}


def test_a_text_is_continued(client, model):
    answer = client.completions.create(model=model, prompt="Order 3", max_tokens=5, temperature=0)
    assert (answer.object, answer.model) == ("text_completion", model)
    assert answer.usage.completion_tokens == 5


def test_sampling_options_of_openai_are_taken(client, model):
    answer = ask(
        client, model, n=2, temperature=1, seed=3, logprobs=True, top_logprobs=2, stop=["zzz"], user="u", store=False
    )
    assert len(answer.choices) == 2
    first = answer.choices[0].logprobs.content[0]
    assert len(first.top_logprobs) == 2 and first.logprob <= 0


@pytest.mark.parametrize("most", [1, 20])
def test_top_logprobs_are_the_most_likely_tokens_whatever_was_taken(client, model, most):
    options = {"logprobs": True, "top_logprobs": most, "temperature": 2, "seed": 3, "max_tokens": 6}
    whole = ask(client, model, **options).choices[0].logprobs.content
    chunks = [chunk.choices[0] for chunk in ask(client, model, stream=True, **options) if chunk.choices]
    streamed = [place for chunk in chunks if chunk.logprobs for place in chunk.logprobs.content]
    assert len(whole) == len(streamed) == 6
    for place in [*whole, *streamed]:
        told = [each.logprob for each in place.top_logprobs]
        assert len(told) == most and told == sorted(told, reverse=True) and told[0] >= place.logprob
    assert any(place.logprob < place.top_logprobs[0].logprob for place in whole), "another one was taken somewhere"


def test_a_wrong_body_is_a_bad_request(client, model):
    for wrong in ({"messages": []}, {"temperature": -1}, {"max_tokens": 1_000_000}):
        with pytest.raises(BadRequestError) as caught:
            ask(client, model, **wrong)
        assert caught.value.body["message"]


def test_a_model_of_another_project_does_not_exist(server, finished):
    with pytest.raises(NotFoundError) as caught:
        ask(server.client(server.stranger_key), finished.fine_tuned_model)
    assert caught.value.code == "model_not_found"


async def test_the_async_client_streams(server, model):
    async with server.async_client() as client:
        stream = await client.chat.completions.create(
            model=model, messages=MESSAGES, temperature=0, max_tokens=8, stream=True
        )
        assert [chunk async for chunk in stream]
