"""Each subject as a process of its own: started, waited for, measured from outside, and read."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Data
from benchmarks.measured import Measured
from benchmarks.peers import Peer
from training.engine import machine
from training.engine.spec import JobSpec

ROOT = Path(__file__).resolve().parent.parent
# Of every subject. What Hone's launcher sets besides (threads, memory) is Hone's alone: peers run as users start them.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Recipe:
    """The same for every subject."""

    model: Path
    target_modules: list[str]
    batch_size: int = 8
    learning_rate: float = 2e-4
    max_length: int = 1024
    lora_r: int = 16
    lora_alpha: int = 32
    epochs: int = 1
    seed: int = 1

    def words(self) -> str:
        return (
            f"LoRA r={self.lora_r} alpha={self.lora_alpha} on {len(self.target_modules)} kinds of linear layers, "
            f"batch {self.batch_size}, rate {self.learning_rate}, {self.epochs} epoch"
        )


def spec_of(recipe: Recipe, data: Data, **changes: Any) -> JobSpec:
    """The recipe as a job of Hone has it."""
    settings: dict[str, Any] = {
        "job_id": "bench",
        "base_model": recipe.model.name,
        "base_path": recipe.model,
        "training_file": data.train,
        "validation_file": data.valid,
        "n_epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "max_length": recipe.max_length,
        "lora_r": recipe.lora_r,
        "lora_alpha": recipe.lora_alpha,
        "target_modules": recipe.target_modules,
        "dtype": "bfloat16",
        "seed": recipe.seed,
    }
    return JobSpec(**settings | changes)


def run_hone(recipe: Recipe, data: Data, folder: Path) -> Measured:
    """Exactly what a job runs."""
    folder.mkdir(parents=True)
    spec = spec_of(recipe, data)
    (folder / "spec.json").write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "training.engine.sft", str(folder)]
    return _read_events(folder, spec, data, _timed(command, folder, machine.SETTINGS))


def run_peer(peer: Peer, recipe: Recipe, data: Data, folder: Path, python: Path) -> Measured:
    folder.mkdir(parents=True)
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(recipe).items()}
    settings |= {"tokens": str(data.tokens), "flags": peer.flags}
    (folder / "recipe.json").write_text(json.dumps(settings))
    took = _timed([str(python), "-m", peer.module, str(folder)], folder, {})
    result = json.loads((folder / "result.json").read_text())
    device_bytes = result.pop("device_bytes")
    if device_bytes:
        took["peak_bytes"] = device_bytes
    return Measured(subject=peer.name, valid_tokens=valid_tokens(data), **took, **result)


def adapter_of(folder: Path) -> Path:
    """The folder that peft reads, of a run of either kind."""
    if (folder / "adapter").exists():
        return folder / "adapter"
    return max((folder / "checkpoints").glob("*/adapter_config.json"), key=lambda path: path.stat().st_mtime).parent


def judge(recipe: Recipe, data: Data, adapters: list[str]) -> list[float]:
    """Validation loss of each, "-" for the base model alone."""
    command = [sys.executable, "-m", "benchmarks.judge", str(recipe.model), str(data.tokens), *adapters]
    found = subprocess.run(
        command, cwd=ROOT, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    )
    return json.loads(found.stdout.splitlines()[-1])


def _timed(command: list[str], folder: Path, own: dict[str, str]) -> dict[str, Any]:
    """Start, end, processor seconds and the peak of resident memory, as the kernel counted them. `own`: environment
    variables of this subject alone."""
    environment = os.environ | own | ENVIRONMENT
    began = time.time()
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return {
        "began": began,
        "ended": time.time(),
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
    }


def _read_events(folder: Path, spec: JobSpec, data: Data, took: dict[str, Any]) -> Measured:
    """Reads the run's own account; which rows made up a step follows from seed and lengths."""
    from training.engine.batches import epoch_batches  # loads torch

    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["type"] == "step"]
    lengths = np.array(data.lengths)
    batches = [
        batch for epoch in range(spec.n_epochs) for batch in epoch_batches(lengths, spec.batch_size, spec.seed, epoch)
    ]
    if _has_gpu():
        took["peak_bytes"] = max(event["memory_bytes"] for event in steps)
    return Measured(
        subject="hone",
        step_ends=[event["time"] for event in steps],
        tokens=[int(lengths[batch].sum()) for batch in batches],
        trained=np.diff([0, *(event["trained_tokens"] for event in steps)]).tolist(),
        first_loss=steps[0]["train_loss"],
        valid_tokens=valid_tokens(data),
        valid_seconds=_valid_seconds(events),
        **took,
    )


def _valid_seconds(events: list[dict[str, Any]]) -> float:
    """Of the first whole validation: from the step or the sampled validation before it."""
    before = 0.0
    for event in events:
        if event["type"] == "validation" and event["whole"]:
            return event["time"] - before
        if event["type"] in ("step", "validation"):
            before = event["time"]
    sys.exit("The run has no whole validation.")


def valid_tokens(data: Data) -> int:
    return sum(len(row["input_ids"]) for row in json.loads(data.tokens.read_text())["valid"])


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
