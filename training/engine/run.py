"""What a training process has as long as it lives, and the sums that its processes share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import accelerate.utils
import psutil
import torch
from accelerate import PartialState
from torch import Tensor

from training.engine.batches import Batch
from training.engine.beside import Beside
from training.engine.chat import ChatFormat, Encoded
from training.engine.control import Control
from training.engine.emit import EventWriter
from training.engine.model import LanguageModel
from training.engine.spec import JobSpec, Note, Phase

Shared = TypeVar("Shared")
EncodeRow = Callable[[ChatFormat, dict[str, Any], int], Encoded]
BatchLoss = Callable[[LanguageModel, Batch], tuple[Tensor, Tensor]]


class Figures(NamedTuple):
    """Means over trained tokens."""

    loss: float
    accuracy: float
    weight: float  # trained tokens
    tokens: int  # all tokens through the model, without padding


@dataclass
class Run:
    """What lives as long as the process."""

    folder: Path
    spec: JobSpec
    events: EventWriter
    control: Control
    process: PartialState
    loss: BatchLoss
    beside: Beside = field(default_factory=Beside)  # what is written while the training goes on

    @property
    def device(self) -> torch.device:
        return self.process.device

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        self.events.write(Phase, phase=name, done=done, total=total)

    def note(self, message: str, level: str = "info") -> None:
        self.events.write(Note, message=message, level=level)


def run_wide(run: Run, value: Shared) -> Shared:
    """What the first process has, for all of them."""
    if run.process.num_processes == 1:
        return value
    return accelerate.utils.broadcast_object_list([value])[0]


def sizes(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    return batch.weights_N.double().sum(), torch.tensor(batch.tokens, dtype=torch.float64, device=device)


def figures_of(sums: Tensor) -> Figures:
    loss, correct, weight, tokens = sums.tolist()
    return Figures(loss / max(weight, 1e-9), correct / max(weight, 1e-9), weight, int(tokens))


def sum_over_processes(run: Run, tensor: Tensor) -> Tensor:
    return accelerate.utils.reduce(tensor, "sum") if run.process.num_processes > 1 else tensor


class Pace:
    """Tokens a second, smoothed over about ten steps."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def add(self, tokens: int, seconds: float) -> float:
        self._tokens = 0.9 * self._tokens + tokens
        self._seconds = 0.9 * self._seconds + seconds
        return self._tokens / max(self._seconds, 1e-9)


def memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss
