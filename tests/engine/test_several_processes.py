"""Two processes train what one trains: each with all weights (data parallel), or with slices of them (FSDP2)."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from tests.engine.runs import FULL, ended, events, losses, train
from tests.engine.together import train_together
from tests.factories import chat_row, preference_rows
from training.engine import loop, row_losses
from training.engine.weights import weight_files

LORA = {"lora_r": 3, "lora_alpha": 6}  # 3 rows are not shared out evenly
ROWS = [chat_row(f"Say {n}", "word " * (1 + 5 * (n % 4))) for n in range(11)]  # 3 batches: 4, 4 and 3 rows
CLOSE = {"rel": 2e-4, "abs": 2e-5}


def weights(folder: Path) -> dict[str, Any]:
    """Of the last checkpoint."""
    found: dict[str, Any] = {}
    for path in weight_files(folder / events(folder, "checkpoint")[-1].path):
        found |= load_file(path)
    return found


def assert_same_run(one: Path, other: Path) -> None:
    """Losses, gradients, validation of the whole set, every row's own loss, and the final weights."""
    assert ended(one).status == ended(other).status == "succeeded"
    for figure in ("train_loss", "grad_norm", "trained_tokens"):
        found = [{step.step: getattr(step, figure) for step in events(folder, "step")} for folder in (one, other)]
        assert found[0] == pytest.approx(found[1], **CLOSE), figure
    for name in ("loss", "accuracy", "tokens", "rows"):
        judged = [[getattr(told, name) for told in events(folder, "validation")] for folder in (one, other)]
        assert judged[0] == pytest.approx(judged[1], **CLOSE), name
    rows = [[row_losses.read(folder, step) for step in row_losses.kept_steps(folder)] for folder in (one, other)]
    assert len(rows[0]) == len(rows[1]) > 0
    for mine, theirs in zip(*rows, strict=True):
        assert mine.lines == theirs.lines and mine.losses == pytest.approx(theirs.losses, **CLOSE)
    final = [weights(folder) for folder in (one, other)]
    assert final[0].keys() == final[1].keys()
    for name, tensor in final[0].items():
        assert tensor.shape == final[1][name].shape
        assert np.abs(tensor.numpy() - final[1][name].numpy()).max() < 2e-4, name


@pytest.fixture
def make_pair(make_run: Callable[..., Path]) -> Callable[..., Path]:
    """11 rows of different lengths, 5 rows to validate on: neither is a multiple of two."""
    return lambda name, **changes: make_run(name, rows=ROWS, **{**LORA, **changes})


@pytest.mark.parametrize("adaptation", [LORA, FULL], ids=["lora", "full weights"])
@pytest.mark.parametrize("sharding", ["data_parallel", "fsdp"])
def test_two_processes_train_validate_and_save_what_one_does(
    make_pair: Callable[..., Path], adaptation: dict, sharding: str
) -> None:
    passes = {"micro_batch_tokens": 60, "n_epochs": 1}  # unequal numbers of passes in the two processes
    alone = make_pair("alone", **adaptation, **passes)
    together = make_pair("together", **adaptation, **passes, sharding=sharding, gradient_checkpointing="on")
    train(alone)
    train_together(together)
    assert events(together, "started")[0].world_size == 2
    assert_same_run(together, alone)
    own, theirs = (
        json.loads((f / events(f, "checkpoint")[-1].path / "probes.json").read_text()) for f in (together, alone)
    )
    for mine, other in zip(own["probes"], theirs["probes"], strict=True):
        assert mine["base_logprobs"] == pytest.approx(other["base_logprobs"], abs=1e-4)
        assert mine["trained_logprobs"] == pytest.approx(other["trained_logprobs"], abs=1e-3)


@pytest.mark.parametrize(
    ("adaptation", "sharding", "first", "then"),
    [(LORA, "fsdp", 2, 1), (FULL, "fsdp", 1, 2), (FULL, "data_parallel", 2, 1)],
    ids=["lora fsdp 2 to 1", "full fsdp 1 to 2", "full data parallel 2 to 1"],
)
def test_a_checkpoint_is_gone_on_from_with_another_number_of_processes(
    make_pair: Callable[..., Path], adaptation: dict, sharding: str, first: int, then: int
) -> None:
    whole = make_pair("whole", **adaptation)
    moved = make_pair("moved", **adaptation, sharding=sharding)
    train(whole)
    train_together(moved, processes=first, pause_at=2)
    assert ended(moved).status == "paused" and len(events(moved, "step")) == 2
    if then == 1:
        train(moved)
    else:
        train_together(moved, processes=then)
    assert [started.world_size for started in events(moved, "started")] == [first, then]
    assert events(moved, "started")[-1].resumed_step == 2
    assert_same_run(moved, whole)


@pytest.mark.parametrize("adaptation", [LORA, FULL], ids=["lora", "full weights"])
def test_in_bfloat16_slices_are_updated_in_float32_and_one_process_goes_on(
    make_pair: Callable[..., Path], adaptation: dict
) -> None:
    changes = {**adaptation, "dtype": "bfloat16", "validation_file": None}
    whole, moved = make_pair("whole", **changes), make_pair("moved", **changes, sharding="fsdp")
    train(whole)
    train_together(moved, pause_at=2)
    state = load_file(moved / events(moved, "checkpoint")[-1].path / "trainer_state" / "state.safetensors")
    assert {str(tensor.dtype) for name, tensor in state.items() if name.startswith(("weight/", "exp_avg"))} == {
        "torch.float32"
    }
    train(moved)
    assert events(moved, "started")[-1].resumed_step == 2
    assert losses(moved) == pytest.approx(losses(whole), rel=0.02)  # of numbers with 8 significant bits


def test_dropout_of_two_processes_goes_on_as_in_the_unbroken_run(make_pair: Callable[..., Path]) -> None:
    whole, paused = (make_pair(name, lora_dropout=0.3, validation_file=None) for name in ("whole", "paused"))
    train_together(whole)
    train_together(paused, pause_at=2)
    train_together(paused)
    assert losses(paused) == losses(whole)


@pytest.mark.parametrize("sharding", ["data_parallel", "fsdp"])
def test_preferences_are_learnt_in_two_processes_as_in_one(make_run: Callable[..., Path], sharding: str) -> None:
    from training.engine import dpo

    rows, valid = preference_rows(7), preference_rows(3, start=50)
    changes = {"method": "dpo", "beta": 0.5, "n_epochs": 1, **LORA}
    alone, together = (make_run(name, rows=rows, valid=valid, sharding=sharding, **changes) for name in ("one", "two"))
    loop.run(alone, dpo.METHOD)
    train_together(together, "dpo")
    assert_same_run(together, alone)
    kept = [np.load(next(folder.glob("reference/train-*.npy"))) for folder in (alone, together)]
    assert kept[1] == pytest.approx(kept[0], abs=1e-4)


@pytest.mark.parametrize("sharding", ["data_parallel", "fsdp"])
def test_raw_text_is_learnt_in_two_processes_as_in_one(make_run: Callable[..., Path], sharding: str) -> None:
    from training.engine import pretrain

    texts = [{"text": f"Document {n}. " + "The river is long. " * (3 + n % 3)} for n in range(14)]
    changes = {"method": "pretrain", "packing": True, "n_epochs": 1, "max_length": 48, **FULL}
    alone, together = (
        make_run(name, rows=texts, valid=texts[:5], sharding=sharding, **changes) for name in ("one", "two")
    )
    loop.run(alone, pretrain.METHOD)
    train_together(together, "pretrain")
    assert events(together, "step")[-1].train_loss == pytest.approx(events(alone, "step")[-1].train_loss, **CLOSE)
    judged = [[(told.loss, told.tokens) for told in events(f, "validation") if told.whole] for f in (together, alone)]
    assert judged[0][-1] == pytest.approx(judged[1][-1], **CLOSE)
    assert all(math.isfinite(step.train_loss) for step in events(together, "step"))


def test_a_row_that_one_process_cannot_use_fails_the_run_with_its_line(make_pair: Callable[..., Path]) -> None:
    folder = make_pair("broken")
    (folder / "train.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(AssertionError):
        train_together(folder)
    assert "Line 1" in ended(folder).message and ended(folder).code == "invalid_training_file"
    shutil.rmtree(folder)


@pytest.mark.parametrize("sharding", ["data_parallel", "fsdp"])
def test_two_processes_that_stop_at_a_jump_save_what_they_learned_before(
    make_pair: Callable[..., Path], sharding: str
) -> None:
    folder = make_pair("jumps", **FULL | {"learning_rate": 3.0}, n_epochs=4, on_spike="stop", sharding=sharding)
    with pytest.raises(AssertionError):
        train_together(folder)
    end, saved = ended(folder), events(folder, "checkpoint")[-1]
    assert end.code == "loss_spike" and f"saved as the checkpoint of step {saved.step}" in end.message
    assert saved.step == events(folder, "step")[-1].step > 0
    assert all(bool(tensor.isfinite().all()) for tensor in weights(folder).values())
