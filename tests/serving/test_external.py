"""Models on somebody else's server, asked over HTTP: answers, stopping, and every failure in plain words."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from accounts.errors import ApiError
from accounts.models import Project
from playground import asking, gateway
from playground.external import calling
from playground.external.models import ExternalModel
from tests.stand_in import KEY, SLOW_SECONDS, StandIn, standing
from training.addresses import Refused, Resolver, check_base_url

pytestmark = pytest.mark.django_db(transaction=True)
ASK = {"messages": [{"role": "user", "content": "two words"}], "temperature": 0.5, "max_tokens": 9, "seed": None}


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with standing() as server:
        yield server


@pytest.fixture(autouse=True)
async def connections() -> AsyncIterator[None]:
    yield
    await calling.close()
    await gateway.close()


@pytest.fixture
def external(project: Project, server: StandIn) -> Callable[..., Awaitable[ExternalModel]]:
    async def make(model: str, key: str = KEY, base_url: str = "") -> ExternalModel:
        made = ExternalModel(project=project, base_url=base_url or server.base_url, model=model)
        made.name = f"Colleague {made.pk}"
        made.keep_key(key)
        await made.asave()
        return made

    return make


async def answer(external: ExternalModel) -> tuple[str, list[dict[str, Any]]]:
    chunks = [chunk async for chunk in asking.ask(external.project, external.pk, ASK)]
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]), chunks


async def problem(external: ExternalModel) -> str:
    with pytest.raises(ApiError) as raised:
        await answer(external)
    return raised.value.message


async def test_it_answers_in_chunks_and_never_learns_more_than_the_question(
    external: Callable[..., Awaitable[ExternalModel]], server: StandIn
) -> None:
    text, chunks = await answer(await external("parrot"))
    assert text == "heard two words "
    assert len(chunks) > 3 and chunks[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 9}
    assert {chunk["model"][:4] for chunk in chunks} == {"ext_"}
    sent = server.seen()["asked"][-1]
    assert sent.pop("stream_options") == {"include_usage": True}
    assert sent == {
        "messages": ASK["messages"], "temperature": 0.5, "max_tokens": 9, "model": "parrot", "stream": True
    }  # fmt: skip


@pytest.mark.parametrize("model", ["whole", "old", "new"])
async def test_servers_that_speak_older_or_newer_words_are_understood(
    external: Callable[..., Awaitable[ExternalModel]], server: StandIn, model: str
) -> None:
    assert (await answer(await external(model)))[0] == "heard two words "
    assert ("max_completion_tokens" in server.seen()["asked"][-1]) == (model == "new")


async def test_leaving_closes_the_request_there(
    external: Callable[..., Awaitable[ExternalModel]], server: StandIn
) -> None:
    one, before = await external("endless"), server.seen()["left"]
    async with contextlib.aclosing(asking.ask(one.project, one.pk, ASK)) as chunks:
        async for _ in chunks:
            break
    deadline = time.monotonic() + 20
    while server.seen()["left"] == before:
        assert time.monotonic() < deadline, "the server still talks to nobody"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nobody", "there is no model “nobody” at"),
        ("busy", "asked too often (429). Retry in 20 s. It says: “Rate limit reached.”"),
        ("broke", "no quota left"),
        ("ill", "it failed (500). It gave no reason."),
        ("away", "Redirects are not followed"),
        ("fickle", "broke off in the middle"),
        ("angry", "failed in the middle of its answer. It says: “out of memory”"),
        ("garbage", "not the JSON of OpenAI's API"),
        ("page", "no stream of OpenAI's API but text/html"),
    ],
)
async def test_its_failures_are_told_in_plain_words(
    external: Callable[..., Awaitable[ExternalModel]], model: str, said: str
) -> None:
    assert said in await problem(await external(model))


async def test_a_key_that_is_refused_is_told_and_never_repeated(
    external: Callable[..., Awaitable[ExternalModel]],
) -> None:
    told = await problem(await external("parrot", key="sk-wrong-key-that-nobody-knows"))
    assert "the key was refused (401)" in told and "sk-wrong" not in told
    told = await problem(await external("telltale"))
    assert "“Bearer [the key] is not welcome”" in told and KEY not in told


async def test_it_can_want_a_key_where_none_was_given(external: Callable[..., Awaitable[ExternalModel]]) -> None:
    assert "it wants a key (401)" in await problem(await external("parrot", key=""))


async def test_a_server_that_is_not_there_is_told(
    external: Callable[..., Awaitable[ExternalModel]], server: StandIn
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    there = f"http://127.0.0.1:{port}/v1"
    assert f"nothing answers at 127.0.0.1:{port}" in await problem(await external("parrot", base_url=there))
    there = server.base_url.replace("http:", "https:")
    assert "does not speak TLS" in await problem(await external("parrot", base_url=there))
    there = "http://nobody.invalid/v1"
    assert "no server is called nobody.invalid" in await problem(await external("parrot", base_url=there))


async def test_one_that_is_silent_for_too_long_is_left(
    external: Callable[..., Awaitable[ExternalModel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "SILENCE_SECONDS", SLOW_SECONDS / 10)
    assert "said nothing for" in await problem(await external("slow"))


async def test_a_removed_one_and_one_of_another_project_do_not_exist(
    external: Callable[..., Awaitable[ExternalModel]],
) -> None:
    one = await external("parrot")
    elsewhere = await Project.objects.acreate(name="Elsewhere")
    with pytest.raises(ApiError, match="does not exist"):
        await asking.ready(elsewhere, one.pk)
    assert (await asking.ready(one.project, one.pk)).deployment is None
    await ExternalModel.objects.aupdate(removed_at="2026-01-01T00:00:00Z")
    with pytest.raises(ApiError, match="does not exist"):
        await asking.ready(one.project, one.pk)


# ---- addresses ----


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://example.com/v1", "begins with http"),
        ("example.com/v1", "begins with http"),
        ("file:///etc/passwd", "begins with http"),
        ("https://", "no server"),
        ("https://me:secret@example.com/v1", "Leave user and password out"),
        ("https://example.com/v1?key=1", "ends before"),
        ("https://exa mple.com", "no spaces"),
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://[fe80::1]/v1", "link-local"),
        ("http://[64:ff9b::a9fe:a9fe]/v1", "link-local"),
        ("http://2852039166/v1", "four numbers"),
        ("http://0xa9fea9fe/v1", "four numbers"),
        ("http://169.254.43518/v1", "four numbers"),
        ("http://224.0.0.1/v1", "no address of one server"),
    ],
)
def test_addresses_that_are_refused(address: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        check_base_url(address)


@pytest.mark.parametrize("host", ["192.168.1.20:8000", "10.0.0.5", "127.0.0.1:1234", "[fd00::5]:80", "gpu-box.lan"])
def test_a_colleagues_server_on_the_local_network_is_welcome(host: str) -> None:
    assert check_base_url(f"http://{host}/v1/") == f"http://{host}/v1"
    assert check_base_url(f"http://{host}/v1/chat/completions") == f"http://{host}/v1"


async def test_a_name_that_leads_to_a_forbidden_address_is_refused_when_it_is_asked(
    external: Callable[..., Awaitable[ExternalModel]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Leading:
        async def resolve(self, host: str, port: int, family: int) -> list[dict[str, Any]]:
            return [{"hostname": host, "host": "169.254.169.254", "port": port, "family": 2, "proto": 6, "flags": 0}]

        async def close(self) -> None:
            pass

    monkeypatch.setattr(Resolver, "__init__", lambda self: setattr(self, "inner", Leading()))
    assert "Hone never asks it" in await problem(await external("parrot", base_url="http://innocent.example/v1"))


def test_what_an_answer_costs(project: Project) -> None:
    made = ExternalModel(project=project, name="Vendor", base_url="https://x/v1", model="m")
    assert made.cost(1000, 1000) is None
    made.input_price, made.output_price = 2.5, 10.0
    assert made.cost(1000, 500) == pytest.approx(0.0075)
    assert made.cost(1000, None) is None
