"""Rate limits, through two web processes that share them, with the official SDK. A fake vLLM answers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI, RateLimitError

from playground import vllm
from tests.api.conftest import Server, await_answer, free_port
from tests.factories import tiny_model
from tests.fakes.vllm import fake_python

pytestmark = pytest.mark.servers
ASK = [{"role": "user", "content": "one two three"}]
NAMES = [f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")]
REQUESTS, TOKENS = 20, 5000


@dataclass
class Limited:
    """Two web processes with these limits on one server's data."""

    sites: list[Server]
    server: Server
    vllm: vllm.VllmServer
    model: Path

    def serve(self, name: str) -> str:
        """Another base model, with limits of its own; the same vLLM answers for it."""
        self.vllm.load_adapter(name, self.model)
        self.server.run("-m", "tests.api.serve_fake", name, str(self.model), self.vllm.url)
        return name

    def clients(self, **options: Any) -> "list[OpenAI]":
        return [site.client().with_options(**options) for site in self.sites]


@pytest.fixture(scope="module")
def limited(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    folder = tmp_path_factory.mktemp("limited")
    plan = vllm.Plan("any", tiny_model(folder / "any"), folder / "vllm.log", lora_rank=8, context_tokens=512)
    (plan.folder / "adapter_config.json").write_text('{"r": 4}')
    fake = vllm.VllmServer(plan, fake_python(folder))
    fake.start()
    limits = {"HONE_RATE_REQUESTS_PER_MINUTE": str(REQUESTS), "HONE_RATE_TOKENS_PER_MINUTE": str(TOKENS)}
    ports = [free_port(), free_port()]
    sites = [replace(server, url=f"http://127.0.0.1:{port}", processes=[]) for port in ports]
    try:
        fake.wait_until_ready(60)
        for number, (site, port) in enumerate(zip(sites, ports, strict=True)):
            site.start_web(port, f"web-limited-{number}", **limits)
        for site in sites:
            await_answer(site)
        yield Limited(sites, server, fake, plan.folder)
    finally:
        for site in sites:
            site.stop()
        fake.stop()


def ask(client: OpenAI, model: str, **options: Any) -> Any:
    """The raw answer; a refusal is one, too."""
    try:
        return client.chat.completions.with_raw_response.create(
            **{"model": model, "messages": ASK, "max_tokens": 10, **options}
        )
    except RateLimitError as error:
        return error


def test_of_ten_parallel_clients_exactly_as_many_requests_pass_as_the_limit_says(limited: Limited) -> None:
    model = limited.serve("parallel")
    calls = [(client, {"stream": stream}) for client, stream in zip(limited.clients(), (True, False), strict=True)]
    with ThreadPoolExecutor(10) as pool:
        jobs = [pool.submit(ask, client, model, **options) for _, (client, options) in zip(range(60), cycle(calls))]
        answers = [job.result() for job in jobs]
    refused = [answer for answer in answers if isinstance(answer, RateLimitError)]
    assert len(answers) - len(refused) == REQUESTS
    assert all(
        f"Limit {REQUESTS}, Used {REQUESTS}, Requested 1. Please try again in " in one.message for one in refused
    )
    assert {(one.code, one.type) for one in refused} == {("rate_limit_exceeded", "requests")}
    for one in refused:
        assert 0 < int(one.response.headers["retry-after"]) <= 60
        assert 0 < int(one.response.headers["retry-after-ms"]) <= 60_000
        assert one.response.headers["x-ratelimit-remaining-requests"] == "0"


@pytest.mark.parametrize("stream", [False, True])
def test_every_answer_tells_the_six_headers_and_counts_down(limited: Limited, stream: bool) -> None:
    model = limited.serve(f"headers-{stream}".lower())
    left = []
    for client in limited.clients() * 2:
        headers = ask(client, model, stream=stream).headers
        assert set(NAMES) <= set(headers)
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-limit-tokens"]) == ("20", "5000")
        left.append(int(headers["x-ratelimit-remaining-requests"]))
        assert headers["x-ratelimit-reset-requests"][-1] == "s"
    assert left == [19, 18, 17, 16]


def test_tokens_are_limited_by_what_may_be_answered_and_corrected_by_what_was(limited: Limited) -> None:
    model = limited.serve("tokens")
    client = limited.clients()[0]
    first = ask(client, model, max_tokens=3000)
    assert first.headers["x-ratelimit-remaining-tokens"] == "2000"
    usage = first.parse().usage
    for _ in range(50):  # corrected behind the answer
        second = ask(client, model, max_tokens=1)
        left = int(second.headers["x-ratelimit-remaining-tokens"])
        if left > 2000 or isinstance(second, RateLimitError):
            break
    assert left > 5000 - 20 * usage.total_tokens
    refused = ask(client, model, max_tokens=5001)
    assert isinstance(refused, RateLimitError) and refused.type == "tokens"
    assert "Request too large" in refused.message and refused.response.headers["x-should-retry"] == "false"


def test_a_project_has_its_limits_to_itself(limited: Limited) -> None:
    model = limited.serve("apart")
    site = limited.sites[0]
    for _ in range(REQUESTS):
        ask(site.client(), model)
    assert isinstance(ask(site.client(), model), RateLimitError)
    assert not isinstance(ask(site.client(site.stranger_key), model), RateLimitError)


def test_the_sdk_waits_as_long_as_it_is_told_and_succeeds(limited: Limited) -> None:
    """A minute's requests were sent almost a minute ago, so that there is room again in some seconds; in more of them
    where the machine was so busy that there was room already when it came to ask."""
    client = limited.clients(max_retries=2)[0]
    for seconds in (3, 9, 27):
        model = limited.serve(f"patient-{seconds}")
        limited.server.run("-m", "tests.api.spend", model, str(REQUESTS), str(60 - seconds))
        answer = client.chat.completions.with_raw_response.create(model=model, messages=ASK)  # type: ignore[arg-type]
        if answer.retries_taken:
            break
    assert answer.retries_taken in (1, 2)
    assert answer.headers["x-ratelimit-remaining-requests"] == str(REQUESTS - 1)
