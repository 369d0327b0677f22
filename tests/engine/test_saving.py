"""Checkpoints are written while the training goes on, and only complete ones are there."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.runs import FULL, ended, events, train
from training.engine import checkpoint
from training.engine.tensors import in_main_memory, write_tensors


def test_what_is_written_is_read_by_the_safetensors_library_bit_for_bit(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7).bfloat16(),
        "scalar": torch.tensor(3.0),
        "nothing": torch.zeros(0, 4),
        "turned": torch.randn(4, 6).T,
        "bytes": torch.get_rng_state(),
    }
    write_tensors(tensors, tmp_path / "x.safetensors", {"format": "pt"})
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name


def test_a_copy_does_not_change_and_keeps_what_is_shared_shared() -> None:
    weight = torch.ones(4)
    copy = in_main_memory({"one": weight, "tied": weight}, copy=True)
    weight += 1
    assert copy["one"].tolist() == [1.0] * 4 and copy["one"].data_ptr() == copy["tied"].data_ptr()


@pytest.mark.parametrize("changes", [{}, FULL])
def test_training_goes_on_while_a_checkpoint_is_written_and_the_checkpoint_is_that_of_its_step(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    plain, slow = make_run("plain", **changes), make_run("slow", **changes)
    train(plain)
    original, listed = checkpoint.copy_tokenizer, []

    def when_two_more_steps_are_done(base: Path, folder: Path) -> None:
        deadline = time.monotonic() + 60
        while "step-3" in folder.name and len(events(slow, "step")) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        listed.append([path.name for path in (slow / "checkpoints").glob("[!.]*")])
        original(base, folder)

    monkeypatch.setattr(checkpoint, "copy_tokenizer", when_two_more_steps_are_done)
    train(slow)
    order = [(event.type, getattr(event, "step", 0)) for event in events(slow) if event.type in ("step", "checkpoint")]
    assert order.index(("step", 5)) < order.index(("checkpoint", 3))
    assert listed[0] == []  # half a checkpoint is not there
    assert [c.sha256 for c in events(slow, "checkpoint")] == [c.sha256 for c in events(plain, "checkpoint")]


def test_a_disk_that_is_full_beside_the_training_ends_it_with_the_reason(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(n_epochs=4)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "copy_tokenizer", full)
    train(folder)
    assert (ended(folder).status, ended(folder).code) == ("failed", "disk_full")
    assert not events(folder, "checkpoint") and not list((folder / "checkpoints").iterdir())
