"""The real vLLM with a tiny Llama: the gate on real log-probabilities, several models streaming at once, long prompts.

One server for all of it; the fleet is handed the running one.
"""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from django.core.asgi import get_asgi_application
from django.test import AsyncClient
from openai import AsyncOpenAI
from safetensors.numpy import load_file, save_file

from playground import asked, deployments, gateway, parity, vllm
from playground.film import answering, prompts, strip, tending
from playground.film.models import Frame
from playground.fleet import Fleet
from playground.members import Member
from playground.models import Deployment
from tests.factories import chat_rows, write_jsonl
from tests.serving.conftest import Inline, Shelf, Stand, row_of, settle, state_is
from training.engine.spec import JobSpec
from training.models import BaseModel, Checkpoint

pytestmark = [pytest.mark.vllm, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connections")]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def base(real_stand: Stand, shelf: Shelf) -> BaseModel:
    return BaseModel.objects.create(
        name="tiny",
        source="folder",
        source_id=str(real_stand.base),
        folder=str(real_stand.base),
        status="ready",
        facts_json={"has_chat_template": True},
    )


@pytest.fixture
def fleet(real_stand: Stand, base: BaseModel) -> Iterator[Fleet]:
    fleet = Fleet(Inline(), sys.executable)
    key = f"base:{base.pk}"
    fleet.members[key] = Member(key, real_stand.server, 0, up_at=time.monotonic())
    yield fleet
    for name in real_stand.server.models()[1:]:
        real_stand.server.unload_adapter(name)


def copied(folder: Path) -> Callable[[Path], Path]:
    return lambda out: shutil.copytree(folder, out)


def train(base: Path, folder: Path, content: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """Runs the trainer, for one epoch if nothing else is said; returns its last checkpoint."""
    rows = write_jsonl(folder / "rows.jsonl", content or chat_rows(16))
    given: dict[str, Any] = {
        "job_id": "ftjob-real",
        "base_model": "tiny",
        "base_path": base,
        "training_file": rows,
        "validation_file": rows,
        "n_epochs": 1,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "max_length": 256,
        "lora_r": 8,
        "lora_alpha": 16,
    }
    run = folder / "run"
    run.mkdir()
    (run / "spec.json").write_text(JobSpec(**given | changes).model_dump_json())
    subprocess.run([sys.executable, "-m", "training.engine.sft", str(run)], check=True, cwd=ROOT, timeout=300)
    return max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))


# Trained before a fleet is made, so that none is left alone with its servers meanwhile.


@pytest.fixture(scope="session")
def trained(real_stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 8 by the real trainer."""
    return train(real_stand.base, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def continued(real_stand: Stand, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of another shape, started from `trained`: both in one file."""
    shape = {"lora_r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    return train(real_stand.base, tmp_path_factory.mktemp("continued"), start_path=trained, **shape)


@pytest.fixture(scope="session")
def full_weights(real_stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Path:
    full = {"adaptation": "full", "lora_r": None, "lora_alpha": None, "learning_rate": 3e-3}
    return train(real_stand.base, tmp_path_factory.mktemp("full"), **full)


TOOL = {
    "type": "function",
    "function": {"name": "track", "parameters": {"type": "object", "properties": {"order": {"type": "string"}}}},
}
ASKED = {"role": "user", "content": "Order 12345?"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "track", "arguments": '{"order": "12345"}'}}


@pytest.fixture(scope="session")
def calling(real_stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that has learned one function call by heart."""
    row = {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools": [TOOL]}
    folder = tmp_path_factory.mktemp("calling")
    return train(real_stand.base, folder, [row] * 16, n_epochs=6, max_length=2048)


def verified(fleet: Fleet, checkpoint: Checkpoint, seconds: float = 120) -> dict[str, Any]:
    """The proof of a checkpoint, once it is served."""
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("ready", checkpoint), seconds)
    row = row_of(checkpoint)
    print(json.dumps(row.proof_json))
    assert row.proof == "verified", row.proof_json
    assert row.proof_json["chat_tokens"] > 0
    assert row.proof_json["mean_to_trained"] < 0.05 < row.proof_json["mean_to_base"]
    return row.proof_json


def test_the_trainers_own_checkpoint_is_verified(base: BaseModel, fleet: Fleet, shelf: Shelf, trained: Path) -> None:
    deployments.want(base_model=base)
    verified(fleet, shelf.checkpoint(base, copied(trained)))


def test_an_adapter_continued_with_another_shape_is_verified_as_one(
    base: BaseModel, fleet: Fleet, shelf: Shelf, continued: Path
) -> None:
    assert json.loads((continued / "adapter_config.json").read_text())["r"] == 12
    deployments.want(base_model=base)
    proof = verified(fleet, shelf.checkpoint(base, copied(continued)))
    assert proof["kind"] == "lora"


def test_full_weights_are_verified_in_a_server_of_their_own(
    real_stand: Stand, base: BaseModel, fleet: Fleet, shelf: Shelf, full_weights: Path
) -> None:
    checkpoint = shelf.checkpoint(base, copied(full_weights), kind="full")
    deployments.want(base_model=base)
    try:
        proof = verified(fleet, checkpoint, 540)
        assert proof["kind"] == "full"
        assert row_of(checkpoint).server_pid != real_stand.server.pid
    finally:
        fleet.members[f"full:{checkpoint.pk}"].server.stop()


async def test_base_and_three_checkpoints_stream_at_once_out_of_one_server(
    real_stand: Stand, base: BaseModel, fleet: Fleet, shelf: Shelf, api_key: str
) -> None:
    def load() -> list[str]:
        checkpoints = [shelf.checkpoint(base, copied(folder)) for folder in real_stand.adapters]
        for thing in (base, *checkpoints):
            deployments.want_target(thing)
        settle(fleet, state_is("ready", base, *checkpoints))
        rows = [row_of(thing) for thing in (base, *checkpoints)]
        assert {row.server_pid for row in rows} == {real_stand.server.pid}
        assert [row.proof for row in rows] == ["verified"] * 4
        return [row.served_name for row in rows]

    names = await asyncio.to_thread(load)
    loop = asyncio.get_running_loop()

    async def stream(name: str) -> tuple[float, float, str]:
        """When its first token came, when its last, and what it said."""
        body = {
            "model": name,
            "messages": [{"role": "user", "content": "Order 12345?"}],
            "max_tokens": 64,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
        response = await AsyncClient().post(
            "/v1/chat/completions",
            json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {api_key}"},
        )
        assert response.status_code == 200, response.content
        times, said = [], ""
        async for part in response.streaming_content:
            for line in part.decode().split("\n\n"):
                if line.startswith("data: {"):
                    chunk = json.loads(line[6:])
                    assert chunk["model"] == name
                    if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                        times.append(loop.time())
                        said += chunk["choices"][0]["delta"]["content"]
        return times[0], times[-1], said

    found = await asyncio.gather(*(stream(name) for name in names))
    assert max(first for first, _, _ in found) < min(last for _, last, _ in found), "not at the same time"
    assert len({said for _, _, said in found}) == 4, "two models said the same"


async def test_the_base_answers_beside_an_adapter_as_it_does_alone(
    real_stand: Stand, base: BaseModel, fleet: Fleet, shelf: Shelf, trained: Path, continued: Path, api_key: str
) -> None:
    """In one batch with tokens of an adapter, those of the base must not be touched: whichever slot the adapter has."""

    def load() -> list[str]:
        found = [shelf.checkpoint(base, copied(folder)) for folder in [trained, continued] * (vllm.ADAPTER_SLOTS // 2)]
        deployments.want(base_model=base)
        for each in found:
            deployments.want(checkpoint=each)
        settle(fleet, lambda: all(row_of(each).state == "ready" for each in found), 240)
        return [each.name for each in found]

    names = await asyncio.to_thread(load)
    transport = httpx2.ASGITransport(app=get_asgi_application())
    client = AsyncOpenAI(
        api_key=api_key, base_url="http://testserver/v1", http_client=httpx2.AsyncClient(transport=transport)
    )
    asked = [{"role": "user", "content": "Tell me of a long journey by sea."}]

    async def say(model: str, tokens: int = 24) -> tuple[str, list[float]]:
        answer = await client.chat.completions.create(
            model=model,
            messages=asked,
            temperature=0,
            max_tokens=tokens,
            logprobs=True,
            extra_body={"ignore_eos": True},
        )
        choice = answer.choices[0]
        return choice.message.content or "", [each.logprob for each in choice.logprobs.content]

    text, alone = await say("tiny")
    for name in names:
        (beside_text, beside), (other, _) = await asyncio.gather(say("tiny"), say(name, 48))
        assert beside_text == text != other[: len(text)]
        assert beside == pytest.approx(alone, abs=1e-3)


# What vLLM has for servers of its own kind and for media: refused like a name that nobody knows.
INTERNAL = {
    *("ec_transfer_params", "media_io_kwargs", "mm_payload", "mm_processor_kwargs", "prompt_embeds"),
    *("return_mm_kwargs", "routed_experts_prompt_start", "session_id", "stream_interval", "watermarking"),
}


def test_every_field_that_vllm_knows_is_passed_ignored_or_refused_on_purpose(real_stand: Stand) -> None:
    described = httpx2.get(f"{real_stand.server.url}/openapi.json").json()["components"]["schemas"]
    for name, ask in (("ChatCompletionRequest", asked.AskChat), ("CompletionRequest", asked.AskCompletion)):
        known = ask.model_fields.keys() | asked.PASSED | asked.DROPPED | INTERNAL
        assert set(described[name]["properties"]) - known == set()


def test_a_schema_that_vllm_cannot_follow_is_refused_as_the_response_format(real_stand: Stand) -> None:
    schema = {"name": "ticket", "schema": {"type": "nonsense"}}
    ask = {"model": "tiny", "messages": [{"role": "user", "content": "one"}], "max_tokens": 4}
    said = httpx2.post(
        f"{real_stand.server.url}/v1/chat/completions",
        json=ask | {"response_format": {"type": "json_schema", "json_schema": schema}},
    )
    error = gateway.translate(said.status_code, said.content, "tiny", "tiny")
    assert (error.status, error.param) == (400, "response_format") and "Invalid schema" in error.message


def test_merged_weights_answer_as_the_adapter_in_a_server_that_knows_no_adapter(
    real_stand: Stand, trained: Path, tmp_path: Path
) -> None:
    merged = tmp_path / "merged"
    command = [sys.executable, "-m", "training.engine.export", str(real_stand.base), str(trained), str(merged)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=300)
    server = vllm.VllmServer(vllm.Plan("merged", merged, tmp_path / "vllm.log"))
    server.start()
    try:
        server.wait_until_ready(540)
        probes = parity.read_probes(trained)
        questions = [(probe.token_ids, probe.prompt_length) for probe in probes.probes]
        agreement = parity.compare(probes, server.prompt_logprobs("merged", questions))
    finally:
        server.stop()
    print(agreement)
    assert agreement.mean_to_trained < 0.05 < agreement.mean_to_base


async def test_a_call_that_was_taught_comes_back_as_tool_calls(
    base: BaseModel, fleet: Fleet, shelf: Shelf, calling: Path, api_key: str
) -> None:
    def load() -> str:
        checkpoint = shelf.checkpoint(base, copied(calling))
        deployments.want(base_model=base)
        verified(fleet, checkpoint)
        return checkpoint.name

    name = await asyncio.to_thread(load)
    transport = httpx2.ASGITransport(app=get_asgi_application())
    async with AsyncOpenAI(
        base_url="http://127.0.0.1/v1",
        api_key=api_key,
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport, timeout=300),
    ) as client:
        asked: dict[str, Any] = {"model": name, "messages": [ASKED], "tools": [TOOL], "temperature": 0}
        (choice,) = (await client.chat.completions.create(**asked, max_tokens=120)).choices
        print(choice.model_dump_json(exclude_none=True))
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls
        (call,) = choice.message.tool_calls
        assert (call.type, call.function.model_dump()) == ("function", CALL["function"])
        streamed = {"name": "", "arguments": ""}
        async for chunk in await client.chat.completions.create(**asked, max_tokens=120, stream=True):
            for delta in (part for choice in chunk.choices for part in choice.delta.tool_calls or []):
                for key in streamed:
                    streamed[key] += getattr(delta.function, key) or ""
        assert streamed == CALL["function"]


def test_pinned_prompts_are_answered_by_the_base_and_by_a_checkpoint_that_learned_them(
    base: BaseModel, fleet: Fleet, shelf: Shelf, calling: Path
) -> None:
    checkpoint = shelf.checkpoint(base, copied(calling))
    row = {"messages": [ASKED, {"role": "assistant", "content": None, "tool_calls": [CALL]}], "tools": [TOOL]}
    pinned = prompts.of_row(row)
    assert pinned
    prompts.pin(checkpoint.job, [pinned])
    deployments.want(base_model=base)
    verified(fleet, checkpoint)
    for _ in range(2):
        tending.tend()
        answering.answer(Frame.objects.get(woken_at__isnull=False).pk)
    shown = strip.of(checkpoint.job)
    before, after = shown.lines[0].cells
    print([piece.text for piece in (*before.pieces, *after.pieces)])
    assert shown.state == "answered"
    assert not before.as_expected and after.as_expected
    assert "".join(piece.text for piece in after.pieces) == 'track({"order": "12345"})' == pinned.expected


# ---- killed in the middle of an answer ----


def test_a_server_killed_in_mid_stream_says_so_comes_back_proved_and_answers_the_retry(
    real_stand: Stand, base: BaseModel, fleet: Fleet, shelf: Shelf, api_key: str
) -> None:
    checkpoint = shelf.checkpoint(base, copied(real_stand.adapters[0]))
    deployments.want(base_model=base)
    verified(fleet, checkpoint)
    first = row_of(checkpoint)
    asked = {"model": checkpoint.name, "messages": [ASKED], "temperature": 0, "ignore_eos": True, "stream": True}

    async def stream(max_tokens: int, on_text: Callable[[str], None] = lambda text: None) -> tuple[str, dict[str, Any]]:
        """What was said, and the last event."""
        body, said, last = json.dumps(asked | {"max_tokens": max_tokens}), "", {}
        headers = {"Authorization": f"Bearer {api_key}"}
        response = await AsyncClient().post(
            "/v1/chat/completions", body, content_type="application/json", headers=headers
        )
        assert response.status_code == 200, response.content
        async for part in response.streaming_content:
            for line in part.decode().split("\n\n"):
                if line.startswith("data: {"):
                    last = json.loads(line[6:])
                    said += last["choices"][0]["delta"].get("content") or "" if last.get("choices") else ""
                    on_text(said)
        await gateway.close()
        return said, last

    processes = real_stand.server.tree()

    def kill(said: str) -> None:
        if said:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    said, last = asyncio.run(stream(4000, kill))
    print(len(said), last)
    assert said and set(last) == {"error"}
    assert set(last["error"]) == {"message", "type", "param", "code"}
    assert last["error"]["code"] == "server_stopped"
    assert "stopped while it was asked" in last["error"]["message"] and "Please try again" in last["error"]["message"]
    settle(fleet, state_is("queued", checkpoint))
    assert "Starting it again" in row_of(checkpoint).reason and row_of(checkpoint).proof == ""
    try:
        settle(fleet, state_is("ready", base, checkpoint), 540)
        second = row_of(checkpoint)
        assert second.server_pid != first.server_pid and second.proof == "verified"
        assert second.proof_json["mean_to_trained"] < 0.05 < second.proof_json["mean_to_base"]
        again, last = asyncio.run(stream(64))
        assert last["choices"][0]["finish_reason"] == "length"
        assert again.startswith(said[:20]), "the retry is answered by other weights"
    finally:
        real_stand.server = fleet.members[f"base:{base.pk}"].server  # for the tests that come after


# ---- the gate, with the look at the files left out: by the answers alone ----


def another_adapter(folder: Path, stand: Stand) -> None:
    shutil.copy(stand.adapters[1] / "adapter_model.safetensors", folder / "adapter_model.safetensors")


def an_empty_adapter(folder: Path, stand: Stand) -> None:
    save_file({}, folder / "adapter_model.safetensors")


def an_adapter_of_zeros(folder: Path, stand: Stand) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: tensor * 0 for name, tensor in load_file(path).items()}, path)


def a_renamed_module(folder: Path, stand: Stand) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name.replace("q_proj", "query_proj"): tensor for name, tensor in load_file(path).items()}, path)


def another_prefix(folder: Path, stand: Stand) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    save_file({name.replace("model.layers", "language_model.layers"): tensor for name, tensor in tensors.items()}, path)


def half_of_the_layers(folder: Path, stand: Stand) -> None:
    path = folder / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "layers.0." in name}, path)


@pytest.mark.parametrize(
    "spoil",
    [another_adapter, an_empty_adapter, an_adapter_of_zeros, a_renamed_module, another_prefix, half_of_the_layers],
)
@pytest.mark.parametrize("look_at_files", [True, False])
def test_a_spoilt_adapter_never_becomes_ready(
    real_stand: Stand,
    base: BaseModel,
    fleet: Fleet,
    shelf: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path, Stand], None],
    look_at_files: bool,
) -> None:
    checkpoint: Checkpoint = shelf.checkpoint(base, copied(real_stand.adapters[0]))
    spoil(checkpoint.path, real_stand)
    if not look_at_files:
        monkeypatch.setattr(parity, "check_adapter_files", lambda *_: None)
    deployments.want(base_model=base)
    deployments.want(checkpoint=checkpoint)
    settle(fleet, state_is("failed", checkpoint))
    print(f"{spoil.__name__}, files {'looked at' if look_at_files else 'ignored'}: {row_of(checkpoint).reason}")
    assert real_stand.server.models() == ["tiny"]
    settle(fleet, state_is("ready", base))


# ---- long prompts ----


async def test_a_prompt_of_4000_tokens_is_answered(
    real_stand: Stand, base: BaseModel, fleet: Fleet, shelf: Shelf, api_key: str
) -> None:
    def load() -> Deployment:
        checkpoint = shelf.checkpoint(base, copied(real_stand.adapters[0]))
        deployments.want(checkpoint=checkpoint)
        settle(fleet, state_is("ready", checkpoint))
        return row_of(checkpoint)

    row = await asyncio.to_thread(load)
    name = await asyncio.to_thread(lambda: row.served_name)
    messages = [{"role": "user", "content": "one two three " * 1330}]
    response = await AsyncClient().post(
        "/v1/chat/completions",
        json.dumps({"model": name, "messages": messages, "max_tokens": 4}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {api_key}"},
    )
    assert response.status_code == 200, response.content
    usage = response.json()["usage"]
    assert 3900 < usage["prompt_tokens"] < 4500
    assert usage["completion_tokens"] >= 1
