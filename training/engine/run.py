"""What a training process has as long as it lives, and the sums that its processes share."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import accelerate.utils
import psutil
import torch
from accelerate import PartialState
from torch import Tensor

from training.engine.beside import Beside
from training.engine.control import END_OF_WISH, Control
from training.engine.emit import EventWriter
from training.engine.method import Method, Sums
from training.engine.spec import JobSpec, Note, Phase
from training.engine.spikes import Spikes

Shared = TypeVar("Shared")
VALIDATION_TOKENS = 4  # times those of a training pass: nothing is kept for a backward pass


class Stopped(Exception):
    """The run was asked to end before it began to train."""


class Figures(NamedTuple):
    """Means over the weight of a batch; of SFT: over trained tokens."""

    loss: float
    accuracy: float
    weight: float
    tokens: int  # all tokens through the model, without padding
    trained: int  # tokens that bear loss
    metrics: dict[str, float]  # the method's own


@dataclass
class Run:
    """What lives as long as the process."""

    folder: Path
    spec: JobSpec
    events: EventWriter
    control: Control
    process: PartialState
    method: Method
    beside: Beside = field(default_factory=Beside)  # what is written while the training goes on
    closing: str = ""  # what the last event says besides its status
    spikes: Spikes = field(default_factory=Spikes)
    validation_passes: int = VALIDATION_TOKENS
    has_stepped: bool = False  # the first step of a start is told pass by pass

    @property
    def device(self) -> torch.device:
        return self.process.device

    @property
    def shares_out(self) -> bool:
        """Whether the model is in slices over several processes (sharding.py)."""
        return self.process.num_processes > 1 and self.spec.sharding == "fsdp"

    def phase(self, name: str, done: int = 0, total: int = 0) -> None:
        self.events.write(Phase, phase=name, done=done, total=total)

    def note(self, message: str, level: str = "info") -> None:
        self.events.write(Note, message=message, level=level)

    def leave_if_asked(self) -> None:
        """Raises Stopped; for the long works before the first step."""
        wish = self.control.wish()
        if wish in END_OF_WISH:
            raise Stopped(wish)


def run_wide(run: Run, value: Shared) -> Shared:
    """What the first process has, for all of them."""
    if run.process.num_processes == 1:
        return value
    return accelerate.utils.broadcast_object_list([value])[0]


def no_sums(run: Run) -> Tensor:
    return torch.zeros(5 + len(run.method.metrics), dtype=torch.float64, device=run.device)


def stacked(run: Run, judged: Sums, tokens: int, trained: int) -> Tensor:
    """What `figures_of` takes apart; one tensor, so that nothing waits for the device and processes add it up at once.
    A process without rows has no Sums, therefore the names come from the method."""
    sizes = torch.tensor([tokens, trained], dtype=torch.float64, device=run.device)
    values = [judged.loss, judged.correct, judged.weight, *(judged.metrics[name] for name in run.method.metrics)]
    return torch.cat([sizes, torch.stack([value.detach().double() for value in values])])


def figures_of(run: Run, sums: Tensor) -> Figures:
    tokens, trained, loss, correct, weight, *metrics = sums.tolist()
    whole = max(weight, 1e-9)
    means = {name: value / whole for name, value in zip(run.method.metrics, metrics, strict=True)}
    if run.method.of_loss:
        means |= run.method.of_loss(loss / whole)
    return Figures(loss / whole, correct / whole, weight, round(tokens), round(trained), means)


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
