"""Run folders for the real trainer on a tiny model."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.factories import chat_rows, tiny_model, write_jsonl
from training.engine.spec import JobSpec


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The same number of threads in this process and in the ones we start: sums in the same order."""
    os.environ["HONE_TRAIN_THREADS"] = "1"
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)
    del os.environ["HONE_TRAIN_THREADS"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def make_run(tmp_path: Path, base: Path) -> Callable[..., Path]:
    """Writes a run folder: 12 training rows, 5 validation rows, batch 4, two epochs of 3 steps, unless told."""

    def make(
        name: str = "run", rows: list[dict] | None = None, valid: list[dict] | None = None, **changes: Any
    ) -> Path:
        folder = tmp_path / name
        fields = {
            "job_id": "ftjob-test",
            "base_model": "tiny",
            "base_path": base,
            "training_file": write_jsonl(folder / "train.jsonl", rows or chat_rows(12)),
            "validation_file": write_jsonl(folder / "valid.jsonl", valid or chat_rows(5, start=50)),
            "n_epochs": 2,
            "batch_size": 4,
            "learning_rate": 5e-3,
            "max_length": 128,
            "lora_r": 4,
            "lora_alpha": 8,
            "seed": 7,
            "valid_batch_rows": 2,
        }
        spec = JobSpec.model_validate(fields | changes)
        (folder / "spec.json").write_text(spec.model_dump_json())
        return folder

    return make
