"""A new model: its tokenizer writes any text, its weights are those of a fresh Llama, and training goes on from it."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.factories import chat_rows, write_jsonl
from training.engine import loop, pretrain, sft
from training.engine.chat import ChatFormat
from training.engine.errors import InvalidRecipe, InvalidTrainingFile
from training.engine.facts import read_model_facts
from training.engine.method import Method
from training.engine.resolve import resolve
from training.engine.scratch import Shape, train_tokenizer, write_model
from training.engine.spec import CheckpointSaved, DataFacts, DeviceFacts, JobSpec, Recipe, Step, event_adapter
from training.engine.weights import weights_sha256

SHAPE = Shape(layers=2, width=64, vocabulary=400, context=128)
STORIES = [f"Order {n} is done, thank you. The fox and the dog met {n} times and said hello." for n in range(120)]


def made(folder: Path, seed: int = 1) -> Path:
    folder.mkdir()
    write_model(folder, SHAPE, STORIES, seed, lambda text: None)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("scratch") / "base")


def test_the_tokenizer_writes_any_text_and_knows_the_words_of_its_own() -> None:
    tokenizer = train_tokenizer(STORIES, 400)
    for text in ("Order 7 is done", "Ωμέγα 🦊\n\tnew", "\x00\x7f"):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert len(tokenizer.encode(STORIES[3]).ids) < len(STORIES[3]) / 3
    with pytest.raises(InvalidTrainingFile, match="no text"):
        train_tokenizer([], 400)


def test_a_new_model_knows_nothing_and_its_size_is_known_before(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    facts, chat = read_model_facts(base, "new"), ChatFormat.load(base)
    told = SHAPE.model_copy(update={"vocabulary": facts.vocabulary}).parameters
    assert told == facts.parameters == sum(p.numel() for p in model.parameters())
    assert facts.untrained and facts.has_chat_template and facts.context_length == 128
    assert chat.eos_ids[0] == 0 and len(chat.eos_ids) == 2
    with torch.inference_mode():
        ids = torch.tensor([chat.encode_text(STORIES[0])])
        loss = float(model(ids, labels=ids).loss)
    assert loss == pytest.approx(math.log(facts.vocabulary), abs=0.3)


def test_the_same_seed_and_text_make_the_same_model(base: Path, tmp_path: Path) -> None:
    again, other = made(tmp_path / "again"), made(tmp_path / "other", seed=2)
    assert weights_sha256(again) == weights_sha256(base) != weights_sha256(other)
    assert (again / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


def test_random_weights_take_full_training_at_a_rate_of_their_own(base: Path) -> None:
    facts = read_model_facts(base, "new")
    data = DataFacts(rows=100, tokens=5000, trained_tokens=4900, longest_tokens=60)
    machine = DeviceFacts(kind="cpu", name="CPU", memory_bytes=2**34, free_bytes=2**34)
    with pytest.raises(InvalidRecipe, match="Choose full weights") as refused:
        resolve(Recipe(method="pretrain"), data, facts, machine)
    assert refused.value.param == "adaptation"
    resolved = resolve(Recipe(method="pretrain", adaptation="full"), data, facts, machine)
    assert resolved.learning_rate == 1e-3
    assert "random weights" in resolved.reasons["learning_rate_multiplier"]


def run(folder: Path, trainer: Method, file: Path, base: Path, **changes: Any) -> list[Any]:
    folder.mkdir()
    fields = {
        "job_id": "ftjob-new", "base_model": "new", "base_path": base, "training_file": file, "n_epochs": 3,
        "batch_size": 4, "learning_rate": 3e-3, "max_length": 128, "adaptation": "full", "seed": 3,
    }  # fmt: skip
    (folder / "spec.json").write_text(JobSpec.model_validate(fields | changes).model_dump_json())
    loop.run(folder, trainer)
    events = [event_adapter.validate_json(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert events[-1].type == "end" and events[-1].status == "succeeded", events[-1]
    return events


def test_it_learns_from_text_and_is_then_taught_to_chat(base: Path, tmp_path: Path) -> None:
    stories = write_jsonl(tmp_path / "stories.jsonl", [{"text": story} for story in STORIES])
    learnt = run(tmp_path / "text", pretrain.METHOD, stories, base, method="pretrain", packing=True)
    losses = [event.train_loss for event in learnt if isinstance(event, Step)]
    assert losses[0] == pytest.approx(math.log(400), abs=0.5) and losses[-1] < 0.6 * losses[0]
    saved = [event for event in learnt if isinstance(event, CheckpointSaved)][-1]
    start = tmp_path / "text" / saved.path
    assert saved.kind == "full" and not read_model_facts(start, "saved").untrained

    chat = write_jsonl(tmp_path / "chat.jsonl", chat_rows(16))
    from_text = run(tmp_path / "from-text", sft.METHOD, chat, base, start_path=start, n_epochs=1)
    from_nothing = run(tmp_path / "from-nothing", sft.METHOD, chat, base, n_epochs=1)
    first = [next(event.train_loss for event in each if isinstance(event, Step)) for each in (from_text, from_nothing)]
    assert first[0] < first[1] - 0.5  # what was learnt from the text is still there
