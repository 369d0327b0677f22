"""Continued pre-training: its loss is that of plain code, its steps are those of the estimate, it resumes exactly."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from tests.factories import tiny_model, write_jsonl
from training.engine import loop, pretrain
from training.engine.batches import collate
from training.engine.blocks import block_facts
from training.engine.chat import ChatFormat
from training.engine.estimate import as_trained, estimate
from training.engine.facts import read_model_facts
from training.engine.method import Method
from training.engine.model import load_model
from training.engine.resolve import resolve
from training.engine.spec import DeviceFacts, JobSpec, Recipe, Started, Step, Validation, event_adapter
from training.engine.text import count_text_tokens
from training.engine.tokens import Blocks, TokenFile, write_tokens

CPU = torch.device("cpu")
MACHINE = DeviceFacts(kind="cpu", name="CPU", memory_bytes=2**34, free_bytes=2**34)
STORIES = [f"Story {n}. " + "The fox met a dog and said hello. " * (1 + n % 5) + "The end." for n in range(24)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny", chat_template=False)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("text") / "stories.jsonl", [{"text": story} for story in STORIES])


def spec_of(base: Path, file: Path, **changes: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "job_id": "ftjob-text",
        "method": "pretrain",
        "base_model": "tiny",
        "base_path": base,
        "training_file": file,
        "validation_file": file,
        "n_epochs": 2,
        "batch_size": 4,
        "learning_rate": 2e-3,
        "max_length": 64,
        "adaptation": "full",
        "packing": True,
        "seed": 5,
    }
    return JobSpec.model_validate(fields | changes)


def make_run(folder: Path, spec: JobSpec) -> Path:
    folder.mkdir()
    (folder / "spec.json").write_text(spec.model_dump_json())
    return folder


def train(folder: Path, method: Method = pretrain.METHOD) -> list[Any]:
    loop.run(folder, method)
    return [event_adapter.validate_json(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def plain_sequences(base: Path, length: int, texts: list[str], end: int = 0) -> list[list[int]]:
    """What a block holds of one document, by the plainest code: no token file, no index. `end`: the token after each
    document, in most bases <|endoftext|>."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    owners: list[tuple[int, int]] = []
    for number, text in enumerate(texts):
        owners += [(number, token) for token in [*tokenizer.encode(text).ids, end]]
    found = []
    for start in range(0, len(owners) - 1, length - 1):
        block = owners[start : start + length]
        for number in sorted({owner for owner, _ in block}):
            found.append([token for owner, token in block if owner == number])
    return found


@pytest.mark.parametrize("length", [16, 50, 4096])
def test_loss_and_gradient_are_those_of_plain_code(base: Path, stories: Path, tmp_path: Path, length: int) -> None:
    reference = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    total, count = torch.zeros(()), 0
    for sequence in plain_sequences(base, length, STORIES):
        if len(sequence) > 1:
            ids = torch.tensor([sequence])
            total = total + reference(ids, labels=ids).loss * (len(sequence) - 1)
            count += len(sequence) - 1
    (total / count).backward()

    write_tokens(tmp_path / "tokens", stories, ChatFormat.load(base), 640, lambda done, total: None)
    blocks = Blocks(TokenFile.open(tmp_path / "tokens"), length, packed=True)
    model = load_model(spec_of(base, stories), CPU)
    sums = [
        pretrain.METHOD.loss(model, collate(blocks, [row], CPU)) for row in range(len(blocks)) if blocks.trained[row]
    ]
    loss, weight = sum(found.loss for found in sums), sum(found.weight for found in sums)
    (loss / weight).backward()

    assert int(weight) == count == int(blocks.trained.sum())
    assert float((loss / weight).detach()) == pytest.approx(float((total / count).detach()), abs=1e-5)
    expected = dict(reference.named_parameters())
    for name, parameter in model.trainable.items():
        assert torch.allclose(parameter.grad, expected[name].grad, atol=2e-6, rtol=1e-3), name


def test_a_run_takes_the_steps_of_its_estimate_and_tells_perplexity(base: Path, stories: Path, tmp_path: Path) -> None:
    model, data = read_model_facts(base, "tiny"), count_text_tokens(stories, ChatFormat.load(base))
    recipe = Recipe(method="pretrain", adaptation="full", dtype="float32", n_epochs=2, learning_rate_multiplier=20)
    resolved = resolve(recipe, data, model, MACHINE, data_format="text")
    expected = estimate(resolved, data, model, MACHINE, data)
    assert resolved.packing == "on" and set(resolved.reasons) >= {"packing", "max_length", "batch_size"}
    shared = resolved.model_dump(include=set(JobSpec.model_fields) & set(type(resolved).model_fields))
    folder = make_run(tmp_path / "run", spec_of(base, stories, **shared))
    events = train(folder)
    assert events[-1].type == "end" and events[-1].status == "succeeded", events[-1]

    started = next(event for event in events if isinstance(event, Started))
    assert started.total_steps == expected.steps and started.train_tokens == data.tokens
    assert started.trained_tokens_per_epoch * 2 == expected.trained_tokens == 2 * (data.tokens - len(STORIES))
    whole = [event for event in events if isinstance(event, Validation) and event.whole]
    assert len(whole) == 2 and whole[1].loss < whole[0].loss
    for event in whole:
        assert event.metrics["perplexity"] == pytest.approx(math.exp(event.loss))
    steps = [event for event in events if isinstance(event, Step)]
    assert steps[-1].train_loss < steps[0].train_loss
    assert steps[-1].metrics["perplexity"] == pytest.approx(math.exp(steps[-1].train_loss))
    assert not (folder / "tokens").exists()  # nothing is left behind but checkpoints


@pytest.mark.parametrize("packing", [True, False])
def test_a_paused_run_goes_on_bit_for_bit(base: Path, stories: Path, tmp_path: Path, packing: bool) -> None:
    spec = spec_of(base, stories, packing=packing)
    unbroken = train(make_run(tmp_path / "unbroken", spec))
    folder = make_run(tmp_path / "paused", spec)
    passes = []

    def loss(model: Any, batch: Any) -> Any:
        passes.append(batch.tokens)
        if len(passes) == 3:
            (folder / "pause").touch()
        return pretrain.METHOD.loss(model, batch)

    first = train(folder, Method(pretrain.read, collate, loss, of_loss=pretrain.perplexity))
    assert first[-1].type == "end" and first[-1].status == "paused"
    written = {path: path.stat().st_mtime_ns for path in (folder / "tokens").rglob("*.bin")}
    assert written  # kept for the rest of the run
    rest = train(folder)[len(first) :]
    resumed = next(event.resumed_step for event in rest if isinstance(event, Started))
    assert resumed > 0

    def losses(events: list[Any]) -> dict[int, float]:
        return {event.step: event.train_loss for event in events if isinstance(event, Step)}

    assert losses(rest) == {step: value for step, value in losses(unbroken).items() if step > resumed}


def test_the_number_of_blocks_is_known_before_the_text_is_cut(base: Path, stories: Path, tmp_path: Path) -> None:
    chat = ChatFormat.load(base)
    data = count_text_tokens(stories, chat)
    write_tokens(tmp_path / "tokens", stories, chat, 640, lambda done, total: None)
    file = TokenFile.open(tmp_path / "tokens")
    for length in (16, 33, 4096):
        for packed in (True, False):
            assert block_facts(data, length, packed).rows == len(Blocks(file, length, packed)), (length, packed)


def test_raw_text_has_numbers_of_its_own_for_every_auto(base: Path, stories: Path) -> None:
    model, data = read_model_facts(base, "tiny"), count_text_tokens(stories, ChatFormat.load(base))
    large = data.model_copy(update={"tokens": 10**9, "trained_tokens": 10**9 - 10**6, "rows": 10**6})
    small, huge = (
        resolve(Recipe(method="pretrain"), facts, model, MACHINE, data_format="text") for facts in (data, large)
    )
    assert (small.n_epochs, huge.n_epochs) == (4, 1)
    assert (huge.max_length, huge.batch_size) == (2048, 256)
    assert as_trained(data, small).rows // small.batch_size >= 20
    assert all(reason.endswith(".") for reason in [*small.reasons.values(), *huge.reasons.values()])
