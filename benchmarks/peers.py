"""The peers that Hone is measured beside: how each is run, and in which environment.

An environment, var/bench/venv-NAME, is made once. It sees Hone's packages behind its own.
"""

import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMPLETE = ("llamafactory",)  # lists name every package; what those require in turn is not followed


@dataclass(frozen=True)
class Peer:
    """A way to run another trainer; `flags` go over its defaults."""

    name: str
    software: str  # benchmarks/SOFTWARE.txt is installed, benchmarks/SOFTWARE_sft.py is run
    flags: dict[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> str:
        return f"benchmarks.{self.software}_sft"


# What each project's own guides name for speed and what runs without a GPU: base weights in bfloat16 (TRL's default is
# float32 under autocast; LLaMA-Factory's `bf16` loads them so), no recomputing of activations, no padding by rows of
# other length. Packing and padding-free need FlashAttention; packing also changes how many rows a step has. Liger,
# Unsloth and LLaMA-Factory's `pure_bf16` are for GPUs.
FAST = {
    "model_init_kwargs": {"dtype": "bfloat16"},
    "gradient_checkpointing": False,
    "train_sampling_strategy": "group_by_length",
}
FAST_LLAMAFACTORY = {"bf16": True, "disable_gradient_checkpointing": True, "train_sampling_strategy": "group_by_length"}
PEERS = (
    Peer("trl", "trl"),
    Peer("trl-best", "trl", FAST),
    Peer("llamafactory", "llamafactory", FAST_LLAMAFACTORY),
)


class NoEnvironment(Exception):
    """Why a peer cannot be run here."""


def environment(software: str, home: Path) -> Path:
    """Returns its interpreter. Raises NoEnvironment."""
    requirements, folder = HERE / f"{software}.txt", home / f"venv-{software}"
    python, stamp = folder / "bin" / "python", folder / "installed"
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    print(f"Making an environment for {software} in {folder} ...", flush=True)
    _done(sys.executable, "-m", "venv", "--clear", str(folder))
    own = _done(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    (Path(own) / "hone.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ["--quiet", "--disable-pip-version-check", *(["--no-deps"] if software in COMPLETE else [])]
    _done(str(python), "-m", "pip", "install", *options, "-r", str(requirements))
    if not is_cuda_build():
        for library in Path(own).glob("torchaudio/lib/*.so"):
            library.unlink()
    stamp.write_text(requirements.read_text())
    return python


def is_cuda_build() -> bool:
    """Of torch. torchaudio, which LLaMA-Factory imports for rows with sound, is in the registry for CUDA alone; without
    its libraries it can be imported beside a CPU build too."""
    import torch

    return torch.version.cuda is not None


def _done(*command: str) -> str:
    """What it printed. Its warnings are of others' packages and are not shown."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoEnvironment(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout.strip()
