"""Memory that runs out, losses that are no numbers or jump, and the loss of every validation row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.engine.runs import after, ended, events, losses, train
from tests.factories import chat_row, chat_rows, preference_rows
from training.engine import dpo, loop, row_losses, sft
from training.engine.chat import ChatFormat
from training.engine.spikes import Spikes
from training.engine.weights import weights_sha256

ROWS = [chat_row("Say it", "word " * (3 + n % 3)) for n in range(12)]


def with_room_for(tokens: int, *, also_validating: bool = False) -> Callable[..., Any]:
    """The method's loss on a device that has no room for more padded tokens a pass."""

    def loss(model: Any, batch: Any) -> Any:
        if batch.input_ids_BT.numel() > tokens and (torch.is_grad_enabled() or also_validating):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return sft.batch_loss(model, batch)

    return loss


@pytest.mark.parametrize("changes", [{}, {"lora_dropout": 0.2}], ids=["plain", "with dropout"])
def test_out_of_memory_is_tried_again_in_smaller_passes_with_the_same_batch(
    make_run: Callable[..., Path], changes: dict
) -> None:
    roomy, tight = make_run("roomy", rows=ROWS, **changes), make_run("tight", rows=ROWS, **changes)
    train(roomy)
    train(tight, with_room_for(70))
    assert ended(tight).status == "succeeded"
    notes = [note.message for note in events(tight, "note") if "Out of memory" in note.message]
    assert notes and "the batch stays 4 rows" in notes[0]
    if not changes:  # dropout draws one row after the other: cut in another way, it is another dropout
        assert losses(tight) == pytest.approx(losses(roomy), abs=2e-5)
    assert len(losses(tight)) == 6
    plan = json.loads((tight / "plan.json").read_text())["plan"]
    assert plan["micro_batch_tokens"] <= 70  # a later start begins with what worked


def test_out_of_memory_while_validating_takes_smaller_passes_too(make_run: Callable[..., Path]) -> None:
    roomy, tight = make_run("roomy", rows=ROWS, valid=ROWS[:5]), make_run("tight", rows=ROWS, valid=ROWS[:5])
    train(roomy)
    train(tight, with_room_for(70, also_validating=True))
    assert ended(tight).status == "succeeded", ended(tight)
    whole = [[v.loss for v in events(folder, "validation") if v.whole] for folder in (tight, roomy)]
    assert whole[0] == pytest.approx(whole[1], abs=2e-5)


def test_when_a_single_row_has_no_room_activations_are_computed_twice_then_it_is_explained(
    make_run: Callable[..., Path],
) -> None:
    folder = make_run(rows=ROWS, n_epochs=1)
    train(folder, with_room_for(5))
    end = ended(folder)
    assert (end.status, end.code) == ("failed", "out_of_memory")
    assert "even with a single row of" in end.message and "smaller max_length" in end.message
    assert any("computed twice" in note.message for note in events(folder, "note"))
    assert not events(folder, "step")

    asked = make_run("asked", rows=ROWS, n_epochs=1, may_checkpoint=False)
    train(asked, with_room_for(5))
    assert not any("computed twice" in note.message for note in events(asked, "note"))
    assert "gradient_checkpointing" in ended(asked).message


# ---- before the first step: what DPO's reference thinks of every row ----


def make_dpo(make_run: Callable[..., Path], name: str, **changes: Any) -> Path:
    rows = {"rows": preference_rows(12), "valid": preference_rows(5, start=50)}
    return make_run(name, **rows, method="dpo", beta=0.1, **changes)


def room_for(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without room for more padded tokens a pass, with or without a gradient; it says so as a CPU does."""
    plain = dpo.log_probabilities

    def log_probabilities(model: Any, batch: Any) -> Any:
        if batch.sequences.input_ids_BT.numel() > tokens:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 2147483648 bytes")
        return plain(model, batch)

    monkeypatch.setattr(dpo, "log_probabilities", log_probabilities)


def notes_of_memory(folder: Path) -> list[str]:
    return [note.message for note in events(folder, "note") if "Out of memory" in note.message]


def test_out_of_memory_before_the_first_step_takes_smaller_passes_too(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    roomy, tight = make_dpo(make_run, "roomy"), make_dpo(make_run, "tight")
    loop.run(roomy, dpo.METHOD)
    room_for(150, monkeypatch)
    loop.run(tight, dpo.METHOD)
    assert ended(tight).status == "succeeded", ended(tight)
    told = notes_of_memory(tight)
    assert told and all("the rows are judged again in passes of at most" in note for note in told)
    assert json.loads((tight / "plan.json").read_text())["plan"]["micro_batch_tokens"] <= 150
    references = [np.load(next(folder.glob("reference/train-*.npy"))) for folder in (roomy, tight)]
    assert references[1] == pytest.approx(references[0], abs=1e-4)
    assert losses(tight) == pytest.approx(losses(roomy), abs=2e-5)
    judged = [phase for phase in events(tight, "phase") if phase.phase == "reference"]
    assert (judged[-1].done, judged[-1].total) == (17, 17)


def test_a_reference_that_needs_only_smaller_passes_forward_leaves_those_of_the_training(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_dpo(make_run, "run", micro_batch_tokens=150, n_epochs=1)
    room_for(300, monkeypatch)
    loop.run(folder, dpo.METHOD)
    assert ended(folder).status == "succeeded", ended(folder)
    assert notes_of_memory(folder)
    assert json.loads((folder / "plan.json").read_text())["plan"]["micro_batch_tokens"] == 150


def test_a_pair_that_has_no_room_even_alone_is_explained_before_the_first_step(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_dpo(make_run, "run")
    room_for(10, monkeypatch)
    loop.run(folder, dpo.METHOD)
    end = ended(folder)
    assert (end.status, end.code) == ("failed", "out_of_memory")
    assert "even with a single row of" in end.message and "smaller max_length" in end.message
    assert not events(folder, "step") and not list(folder.glob("reference/*"))
    assert not any("computed twice" in note for note in notes_of_memory(folder))  # of no use without a gradient


def broken(at_step: int, factor: float, folder: Path, only: str = "") -> Callable[..., Any]:
    """The method's loss, multiplied in the passes of one step (only in those of the rows that hold this word)."""

    def loss(model: Any, batch: Any) -> Any:
        sums = sft.batch_loss(model, batch)
        now = torch.is_grad_enabled() and len(events(folder, "step")) == at_step - 1
        return sums._replace(loss=sums.loss * factor) if now else sums

    return loss


def test_a_loss_that_is_no_number_names_the_lines_of_its_batch(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    train(folder, broken(3, float("nan"), folder))
    end = ended(folder)
    assert (end.status, end.code) == ("failed", "non_finite_loss")
    seen = end.message.split("this batch had lines ")[1].split(" of the training file")[0].split(", ")
    numbers = [int(number) for number in seen]
    assert len(numbers) == 4 and set(numbers) <= set(range(1, 13))


def test_only_the_lines_of_the_broken_pass_are_named(make_run: Callable[..., Path]) -> None:
    rows = [*chat_rows(11), chat_row("A", "long one " * 30)]  # line 12 is alone in its pass
    folder = make_run(rows=rows, micro_batch_tokens=150)

    def loss(model: Any, batch: Any) -> Any:
        sums = sft.batch_loss(model, batch)
        return sums._replace(loss=sums.loss * float("nan")) if batch.input_ids_BT.shape == (1, 128) else sums

    train(folder, loss)
    assert "this batch had line 12 of the training file" in ended(folder).message


def test_a_spike_warns_with_its_lines_or_stops_when_asked(make_run: Callable[..., Path]) -> None:
    warned = make_run("warned", n_epochs=5)
    train(warned, broken(13, 50.0, warned))
    assert ended(warned).status == "succeeded"
    notes = [note for note in events(warned, "note") if "training loss rose" in note.message]
    assert len(notes) == 1 and notes[0].level == "warn" and "this batch had lines" in notes[0].message

    stopped = make_run("stopped", n_epochs=5, on_spike="stop")
    train(stopped, broken(13, 50.0, stopped))
    end = ended(stopped)
    assert (end.status, end.code) == ("failed", "loss_spike")
    assert len(events(stopped, "step")) == 12 and [c.step for c in events(stopped, "checkpoint")] == [3, 6, 9, 12]

    ignored = make_run("ignored", n_epochs=5, on_spike="off")
    train(ignored, broken(13, 50.0, ignored))
    assert not [note for note in events(ignored, "note") if "rose" in note.message]


def test_what_counts_as_a_spike_by_hand() -> None:
    spikes = Spikes()
    assert [spikes.usual(1.0) for _ in range(9)] == [None] * 9
    assert spikes.usual(1.9) is None and spikes.usual(2.1) == 1.0
    assert spikes.usual(5.0) is None  # told just now
    low = Spikes()
    assert [low.usual(0.01) for _ in range(12)] == [None] * 12
    assert low.usual(0.4) is None  # forty times the usual, and still nothing


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([2.27, 4.97], 2.27),  # a rate far too high jumps with its first step
        ([2.3, 1.9, 1.4, 0.9, 0.6, 0.49, 3.03], 1.15),  # far above the median of the few that there are
        ([1.0, 2.4, 4.0], 1.0),
        ([2.4, 0.9, 4.5], None),  # rows differ: so early the largest loss stands for the usual one
        ([30.0], None),  # nothing is known before the first step
    ],
)
def test_a_jump_counts_from_the_second_step_on(losses: list[float], told: float | None) -> None:
    spikes = Spikes()
    found = [usual for loss in losses if (usual := spikes.usual(loss)) is not None]
    assert found == ([] if told is None else [pytest.approx(told)])


def test_a_run_that_stops_itself_keeps_what_it_learned_before(make_run: Callable[..., Path]) -> None:
    jumped, ruined = make_run("jumped", on_spike="stop"), make_run("ruined")
    train(jumped, broken(3, 50.0, jumped))
    train(ruined, broken(6, float("nan"), ruined))
    for folder, code, step in ((jumped, "loss_spike", 2), (ruined, "non_finite_loss", 5)):
        end, saved = ended(folder), events(folder, "checkpoint")[-1]
        assert (end.status, end.code, saved.step) == ("failed", code, step)
        assert f"saved as the checkpoint of step {step}" in end.message
        state = load_file(folder / saved.path / "trainer_state" / "state.safetensors")
        assert all(bool(tensor.isfinite().all()) for tensor in state.values())
    undisturbed = make_run("undisturbed")
    train(undisturbed, after(2, (undisturbed / "stop").touch))
    there, here = (folder / "checkpoints/epoch-1-step-2" for folder in (undisturbed, jumped))
    assert weights_sha256(there) == weights_sha256(here)


def test_a_run_that_stops_itself_at_its_first_step_has_nothing_to_keep(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    train(folder, broken(1, float("nan"), folder))
    assert ended(folder).code == "non_finite_loss" and "saved as" not in ended(folder).message
    assert not events(folder, "checkpoint")


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_every_validation_rows_loss_is_that_of_the_row_alone(
    make_run: Callable[..., Path], base: Path, packing: bool
) -> None:
    valid = [chat_row("Say it", "word " * (1 + 4 * n)) for n in range(5)]
    folder = make_run(n_epochs=2, valid=valid, packing=packing, adaptation="full", lora_r=None, lora_alpha=None)
    (folder / "valid.jsonl").write_text("\n" + (folder / "valid.jsonl").read_text())  # a blank line before them
    train(folder)
    assert ended(folder).status == "succeeded", ended(folder)
    assert row_losses.kept_steps(folder) == [3, 6]
    kept = row_losses.read(folder, 6)
    assert kept.lines == [2, 3, 4, 5, 6]
    model = AutoModelForCausalLM.from_pretrained(folder / "checkpoints/epoch-2-step-6", dtype=torch.float32)
    chat = ChatFormat.load(base)
    for row, told in zip(valid, kept.losses, strict=True):
        encoded = chat.encode_row(row, 128)
        ids, weights = torch.tensor([encoded.token_ids]), torch.tensor(encoded.weights)
        with torch.no_grad():
            logprobs = model(ids).logits[0, :-1].log_softmax(-1)
        own = -logprobs.gather(1, ids[0, 1:, None])[:, 0]
        assert told == pytest.approx(float((own * weights[1:]).sum() / weights[1:].sum()), rel=1e-4)
    assert kept.losses != row_losses.read(folder, 3).losses
