"""A global batch has one loss and one gradient: however it is cut into passes, packed or padded, on one process or two,
with all weights in each or in slices. The reference is transformers alone, one row at a time."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from accelerate import PartialState
from torch import Tensor

from tests.engine.plainest import eight_rows, plainest, rows_of
from tests.engine.together import at_once
from tests.factories import tiny_model
from training.engine import sft, step
from training.engine.control import Control
from training.engine.emit import EventWriter
from training.engine.model import load_model
from training.engine.optimizer import MasterAdamW
from training.engine.run import Run
from training.engine.sharding import like, whole
from training.engine.spec import JobSpec

SIZES = [1, 2, 8]  # rows of a pass
WAYS = ["one process", "two processes, data parallel", "two processes, FSDP2"]


class Found(NamedTuple):
    loss: float
    norm: float
    gradient: dict[str, Tensor]


def one_step(spec: JobSpec, size: int, folder: Path) -> Found:
    """The loss, the norm and the gradient of the trainer's own step over all rows, in passes of `size` of them."""
    process = PartialState(cpu=True)
    run = Run(folder, spec, EventWriter(folder / "none", enabled=False), Control(folder), process, sft.METHOD)
    rows = rows_of(spec.base_path, spec.training_file, spec.packing)
    model = load_model(spec, torch.device("cpu"))
    optimizer = MasterAdamW(model.trainable, 0.0)
    gradient: dict[str, Tensor] = {}

    def keep(_: float) -> None:
        for name, master in optimizer.masters.items():
            assert master.grad is not None
            gradient[name] = whole(like(master.grad, model.trainable[name])).clone()

    optimizer.step = keep  # type: ignore[method-assign]
    cut, step.micro_batches = step.micro_batches, in_passes_of(size)
    try:
        figures, norm = step._step(run, model, optimizer, rows, np.arange(len(rows)), 1, 1e-3)
    finally:
        step.micro_batches = cut
    return Found(figures.loss, norm, gradient)


def in_passes_of(size: int) -> Any:
    return lambda rows, *_: (rows[first : first + size].tolist() for first in range(0, len(rows), size))


def every_cut(base: Path, file: Path, folder: Path, sharding: str) -> None:
    """Of one place; what the first process found goes into a file."""
    found = {}
    for packing in (False, True):
        spec = spec_of(base, file, packing, sharding)
        found |= {(packing, size): tuple(one_step(spec, size, folder)) for size in SIZES}
    if PartialState().is_main_process:
        torch.save(found, folder / f"{sharding}.pt")


def spec_of(base: Path, file: Path, packing: bool, sharding: str) -> JobSpec:
    return JobSpec(
        job_id="ftjob-test",
        base_model="tiny",
        base_path=base,
        training_file=file,
        n_epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        max_length=256,
        max_grad_norm=1e9,  # nothing is clipped
        adaptation="full",
        packing=packing,
        sharding=sharding,
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("invariance") / "tiny")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return eight_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


@pytest.fixture(scope="module")
def found(base: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """By way, then by packing and size of a pass."""
    folder = tmp_path_factory.mktemp("found")
    by_way = {}
    for way, sharding in zip(WAYS, ("data_parallel", "data_parallel", "fsdp"), strict=True):
        processes = 1 if way == "one process" else 2
        assert at_once(every_cut, base, file, folder, sharding, processes=processes) == [0] * processes
        by_way[way] = torch.load(folder / f"{sharding}.pt")
    return by_way


@pytest.fixture(scope="module")
def expected(base: Path, file: Path) -> Found:
    loss, gradient = plainest(base, rows_of(base, file, packed=False))
    norm = torch.stack([one.square().sum() for one in gradient.values()]).sum().sqrt()
    return Found(loss, float(norm), gradient)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"passes of {size}")
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_loss_and_gradient_are_those_of_one_row_at_a_time(
    found: dict[str, dict], expected: Found, packing: bool, size: int, way: str
) -> None:
    loss, norm, gradient = found[way][packing, size]
    assert loss == pytest.approx(expected.loss, abs=1e-5)
    assert norm == pytest.approx(expected.norm, rel=1e-4)
    assert gradient.keys() == expected.gradient.keys()
    for name, one in gradient.items():
        scale = max(float(expected.gradient[name].abs().max()), 1e-2)
        assert torch.allclose(one, expected.gradient[name], atol=2e-5 * scale, rtol=1e-3), name
