"""Folders on disk: checkpoints to serve and to continue from, and the resume point.

A folder is written under a hidden name beside its place, synced to disk, then renamed: under its final name it is
complete. What training needs to go on lies in a *state* folder (state.safetensors + state.json), the same in a
checkpoint's trainer_state/ and in resume/.
"""

import errno
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from training.engine.adapters import joined_tensors, tensors_without_adapters
from training.engine.errors import DiskFull
from training.engine.facts import TOKENIZER_FILES
from training.engine.model import TRAINED, LanguageModel
from training.engine.optimizer import MasterAdamW
from training.engine.spec import Adaptation, JobSpec, Probes
from training.engine.tensors import in_main_memory, write_tensors
from training.engine.weights import ADAPTER_FILE, weights_sha256


@dataclass
class Progress:
    """How far the run is; the data position follows from `step` and the seed."""

    step: int = 0
    trained_tokens: int = 0
    best: float | None = None  # of the figure that may stop the run early (early.py); larger is better
    best_step: int = 0
    stale: int = 0  # whole validations since then
    best_saved: float | None = None  # of the figure whose best weights are kept; larger is better


# ---- complete folders ----


@contextmanager
def complete_folder(final: Path) -> Iterator[Path]:
    """Gives a folder to write into; it becomes `final` when all went well and disappears when not.

    Raises DiskFull when the disk could not take it.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    part = final.parent / f".{final.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir()
        yield part
        _sync(part)
        part.rename(final)
        _sync_folder(final.parent)
    except Exception as error:
        shutil.rmtree(part, ignore_errors=True)
        if _is_disk_full(error):
            free = shutil.disk_usage(final.parent).free
            raise DiskFull(
                f"The disk is full: {final.name} could not be written to {final.parent} "
                f"({free / 2**20:.0f} MiB are free there). Free some space, then run the job again."
            ) from error
        raise


def remove_leftovers(run_folder: Path) -> None:
    """What a killed process left half-written."""
    for part in [part for name in ("checkpoints", "resume", "tokens") for part in run_folder.glob(f"{name}/.*.part")]:
        shutil.rmtree(part, ignore_errors=True)


def _is_disk_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    return any(text in str(error) for text in ("No space left", "File too large", "Disk quota exceeded"))


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ---- state: what is needed to go on exactly ----


@dataclass
class State:
    """What training needs to go on, as it was at one moment."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def write(self, folder: Path) -> None:
        write_tensors(self.tensors, folder / "state.safetensors")
        (folder / "state.json").write_text(json.dumps(self.facts))


def take_state(optimizer: MasterAdamW, progress: Progress, copy: bool = True) -> State:
    """Weights in float32, Adam's averages, all random generators and the position."""
    tensors = in_main_memory(optimizer.state(), copy)
    tensors["random/torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    facts = {
        **asdict(progress),
        "python_random": random.getstate(),
        "numpy_random": [kind, np.asarray(keys).tolist(), position, has_gauss, gauss],
    }
    return State(tensors, facts)


def read_state(folder: Path, optimizer: MasterAdamW) -> Progress:
    """Puts everything back as it was when the state was written."""
    tensors = load_file(folder / "state.safetensors")
    state = json.loads((folder / "state.json").read_text())
    optimizer.load_state(tensors)
    torch.set_rng_state(tensors["random/torch"])
    if torch.cuda.is_available() and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"])
    version_, keys, gauss = state["python_random"]
    random.setstate((version_, tuple(keys), gauss))
    kind, keys, *rest = state["numpy_random"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    return Progress(**{field.name: state[field.name] for field in fields(Progress) if field.name in state})


def states(run_folder: Path) -> list[Path]:
    """Complete state folders, newest step first; checkpoints before resume points of the same step."""
    found = [path.parent for path in run_folder.glob("checkpoints/[!.]*/trainer_state/state.json")]
    found += [path.parent for path in run_folder.glob("resume/[!.]*/state.json")]
    return sorted(found, key=lambda folder: json.loads((folder / "state.json").read_text())["step"], reverse=True)


def write_resume_point(run_folder: Path, state: State) -> None:
    """The newest one is kept; it is no checkpoint and is not listed."""
    final = run_folder / "resume" / f"step-{state.facts['step']}"
    if not final.exists():
        with complete_folder(final) as part:
            state.write(part)
    for old in final.parent.iterdir():
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


# ---- checkpoints ----


@dataclass
class Snapshot:
    """A checkpoint as it is to be written: nothing in it changes while the training goes on."""

    final: Path
    spec: JobSpec
    weights: "Weights"
    state: State
    probes: Probes
    meta: dict[str, Any]

    def write(self) -> dict[str, Any]:
        """Writes the folder and returns its meta.json."""
        with complete_folder(self.final) as part:
            self.weights.write(part)
            copy_tokenizer(self.spec.base_path, part)
            (part / "trainer_state").mkdir()
            self.state.write(part / "trainer_state")
            sha256 = weights_sha256(part)
            probes = self.probes.model_copy(update={"weights_sha256": sha256})
            (part / "probes.json").write_text(probes.model_dump_json())
            size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
            found = {"sha256": sha256, "size_bytes": size, "written_at": time.time()}
            (part / "meta.json").write_text(json.dumps(self.meta | found, indent=2))
        return read_meta(self.final)


def read_meta(checkpoint: Path) -> dict[str, Any]:
    return json.loads((checkpoint / "meta.json").read_text())


def checkpoint_folder(run_folder: Path, epoch: int, step: int) -> Path:
    return run_folder / "checkpoints" / f"epoch-{epoch}-step-{step}"


def take_snapshot(
    run_folder: Path,
    epoch: int,
    spec: JobSpec,
    model: LanguageModel,
    optimizer: MasterAdamW,
    progress: Progress,
    probes: Probes,
    figures: dict[str, Any],
    copy: bool = True,
) -> Snapshot:
    """Everything a checkpoint holds, as it is now; without `copy` it has to be written before the next step. To be
    called within `model.as_saved()`."""
    final = checkpoint_folder(run_folder, epoch, progress.step)
    meta = _meta(spec, model.saved_kind, epoch, progress, figures)
    meta["path"] = str(final.relative_to(run_folder))
    return Snapshot(final, spec, take_weights(spec, model, copy), take_state(optimizer, progress, copy), probes, meta)


@dataclass
class Weights:
    """An adapter with its configuration, or all weights with the model that knows how its files are made."""

    tensors: dict[str, Tensor]
    adapter_config: dict[str, Any] | None = None
    causal: PreTrainedModel | None = None

    def write(self, folder: Path) -> None:
        if self.causal is not None:
            self.causal.save_pretrained(folder, state_dict=self.tensors)
            return
        write_tensors(self.tensors, folder / ADAPTER_FILE, {"format": "pt"})
        plain = json.loads(json.dumps(self.adapter_config, default=_plain))
        (folder / "adapter_config.json").write_text(json.dumps(plain, indent=2, sort_keys=True))


def take_weights(spec: JobSpec, model: LanguageModel, copy: bool = True) -> Weights:
    """What is saved, in the form in which it is served."""
    adapter = model.adapter
    if not adapter or model.saved_kind == "full":
        return Weights(in_main_memory(tensors_without_adapters(model.causal), copy), causal=model.causal)
    config = adapter.peft_config[TRAINED].to_dict()
    tensors: dict[str, Tensor]
    if len(adapter.peft_config) == 1:
        tensors = get_peft_model_state_dict(adapter, adapter_name=TRAINED, save_embedding_layers=False)
    else:
        tensors = joined_tensors(adapter, model.causal)
        rank, modules = model.saved_rank, {name.rsplit(".", 1)[-1] for name in model.adapted_modules()}
        config |= {"r": rank, "lora_alpha": rank, "target_modules": modules, "use_rslora": False}
    config |= {"inference_mode": True, "base_model_name_or_path": str(spec.base_path)}
    config["target_modules"] = sorted(config["target_modules"])
    return Weights(in_main_memory(tensors, copy), adapter_config=config)


def _plain(value: Any) -> Any:
    """Sets and enums, as JSON has neither."""
    return sorted(value) if isinstance(value, set | frozenset) else getattr(value, "value", str(value))


def copy_tokenizer(base: Path, folder: Path) -> None:
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)


def _meta(
    spec: JobSpec,
    kind: Adaptation,
    epoch: int,
    progress: Progress,
    figures: dict[str, Any],
) -> dict[str, Any]:
    return {
        "job_id": spec.job_id,
        "base_model": spec.base_model,
        "method": spec.method,
        "kind": kind,
        "epoch": epoch,
        "step": progress.step,
        "trained_tokens": progress.trained_tokens,
        **figures,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        "spec": spec.model_dump(mode="json"),
    }
