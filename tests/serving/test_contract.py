"""What Hone relies on in vLLM, asked of the fake and of the real one alike: so the fake stays true.

The real server is started once for the whole test session, with a tiny random Llama.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from openai import BadRequestError, NotFoundError

from playground import vllm
from tests.made_checkpoint import CHAT
from tests.serving.conftest import Stand
from training.engine.chat import ChatFormat
from training.engine.spec import Probes


def probes_of(folder: Path) -> Probes:
    return Probes.model_validate_json((folder / "probes.json").read_text())


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.vllm)])
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    stand: Stand = request.getfixturevalue(f"{request.param}_stand")
    yield stand
    for name in stand.server.models()[1:]:
        stand.server.unload_adapter(name)


def test_it_lists_the_base_and_what_was_loaded(stand: Stand) -> None:
    assert stand.server.models() == ["tiny"]
    stand.server.load_adapter("ft:tiny:a", stand.adapters[0])
    assert stand.server.models() == ["tiny", "ft:tiny:a"]
    stand.server.unload_adapter("ft:tiny:a")
    assert stand.server.models() == ["tiny"]


def test_unloading_what_is_not_loaded_is_fine(stand: Stand) -> None:
    stand.server.unload_adapter("ft:tiny:nothing")


def test_loading_a_name_twice_is_refused(stand: Stand) -> None:
    stand.server.load_adapter("ft:tiny:a", stand.adapters[0])
    with pytest.raises(vllm.Refusal, match="already been loaded") as caught:
        stand.server.load_adapter("ft:tiny:a", stand.adapters[0])
    assert caught.value.status == 400


def test_a_folder_without_an_adapter_is_refused(stand: Stand, tmp_path: Path) -> None:
    with pytest.raises(vllm.Refusal):
        stand.server.load_adapter("ft:tiny:a", tmp_path / "nothing")
    assert stand.server.models() == ["tiny"]


def test_an_adapter_of_too_high_a_rank_is_refused(stand: Stand, tmp_path: Path) -> None:
    for path in stand.adapters[0].iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"r": 64}))
    with pytest.raises(vllm.Refusal, match="rank"):
        stand.server.load_adapter("ft:tiny:a", tmp_path)


def test_log_probabilities_of_given_tokens_are_the_trainers(stand: Stand) -> None:
    folder = stand.adapters[1]
    stand.server.load_adapter("ft:tiny:a", folder)
    probes = probes_of(folder).probes
    questions = [(probe.token_ids, probe.prompt_length) for probe in probes]
    for model, expected in (
        ("tiny", [probe.base_logprobs for probe in probes]),
        ("ft:tiny:a", [probe.trained_logprobs for probe in probes]),
    ):
        found = stand.server.prompt_logprobs(model, questions)
        assert [len(row) for row in found] == [len(row) for row in expected]
        differences = [abs(a - b) for row, other in zip(found, expected, strict=True) for a, b in zip(row, other)]  # noqa: B905
        assert sum(differences) / len(differences) <= stand.tolerance


def test_log_probabilities_can_be_asked_for_while_others_are_answered(stand: Stand) -> None:
    """With adapters on the output head, vLLM 0.32 on a CPU dies of this."""
    stand.server.load_adapter("ft:tiny:a", stand.adapters[0])
    questions = [(probe.token_ids, probe.prompt_length) for probe in probes_of(stand.adapters[0]).probes]
    with ThreadPoolExecutor(4) as pool:
        chats = [
            pool.submit(stand.client.chat.completions.create, model=model, messages=CHAT, max_tokens=40)  # type: ignore[call-overload]
            for model in ("tiny", "ft:tiny:a", "tiny")
        ]
        for _ in range(5):
            assert len(stand.server.prompt_logprobs("ft:tiny:a", questions)) == len(questions)
        assert all(chat.result().usage for chat in chats)
    assert stand.server.is_healthy()


def test_chat_ids_are_the_engines(stand: Stand) -> None:
    expected = ChatFormat.load(stand.base).encode_prompt(CHAT)
    assert stand.server.tokenize_chat("tiny", CHAT) == expected
    stand.server.load_adapter("ft:tiny:a", stand.adapters[0])
    assert stand.server.tokenize_chat("ft:tiny:a", CHAT) == expected


def test_an_unknown_model_is_404(stand: Stand) -> None:
    with pytest.raises(vllm.Refusal) as caught:
        stand.server.tokenize_chat("nobody", CHAT)
    assert caught.value.status == 404
    with pytest.raises(NotFoundError):
        stand.client.chat.completions.create(model="nobody", messages=CHAT)  # type: ignore[arg-type]


def test_a_prompt_longer_than_the_context_is_400_and_says_so(stand: Stand) -> None:
    messages = [{"role": "user", "content": "x y " * 9000}]
    with pytest.raises(BadRequestError, match="maximum context length"):
        stand.client.chat.completions.create(model="tiny", messages=messages, max_tokens=5)  # type: ignore[arg-type]


def test_a_plain_answer_has_openais_shape(stand: Stand) -> None:
    answer = stand.client.chat.completions.create(model="tiny", messages=CHAT, max_tokens=3)  # type: ignore[arg-type]
    assert answer.object == "chat.completion"
    assert answer.model == "tiny"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 3


def test_a_stream_begins_with_the_role_and_ends_with_usage(stand: Stand) -> None:
    chunks = list(
        stand.client.chat.completions.create(
            model="tiny",
            messages=CHAT,  # type: ignore[arg-type]
            max_tokens=3,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].choices == []
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 3


def test_a_continued_text_ends_with_usage_too(stand: Stand) -> None:
    options = {"include_usage": True}
    chunks = list(
        stand.client.completions.create(model="tiny", prompt="x", max_tokens=1, stream=True, stream_options=options)  # type: ignore[call-overload]
    )
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 1


def test_a_text_is_completed_plain_and_streaming(stand: Stand) -> None:
    answer = stand.client.completions.create(model="tiny", prompt="Once", max_tokens=1)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason == "length"
    chunks = list(stand.client.completions.create(model="tiny", prompt="Once", max_tokens=1, stream=True))
    assert chunks[0].object == "text_completion"
