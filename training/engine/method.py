"""What differs between the ways to train. A method is a few functions; the loop is the same for all of them.

METHOD = Method(read=..., collate=..., loss=...)      in training/engine/<method>.py
loop.main(METHOD)                                     python -m training.engine.<method> RUN_FOLDER
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from training.engine.chat import ChatFormat
from training.engine.estimate import MemoryPlan
from training.engine.model import LanguageModel

if TYPE_CHECKING:
    from training.engine.run import Run

Progress = Callable[[int, int], None]


class TrainingRows(Protocol):
    """The rows of a file as numbers. A row is what is drawn, shuffled and put into batches: one sequence or several."""

    lengths: np.ndarray  # padded positions that a row costs in a pass: by this, rows are grouped and batches are cut
    trained: np.ndarray  # trained tokens of each row
    truncated: int  # rows that were cut at max_length

    def __len__(self) -> int: ...
    @property
    def tokens(self) -> int: ...  # of all rows, without padding
    def ids(self, row: int) -> np.ndarray: ...  # of the row's (first) sequence, for the probes
    def weights(self, row: int) -> np.ndarray: ...


class Batch(Protocol):
    """One forward pass."""

    @property
    def tokens(self) -> int: ...  # through the model, without padding
    @property
    def trained(self) -> int: ...  # tokens that bear loss


class Sums(NamedTuple):
    """Of one forward pass, scalars on the device. The loop adds them up over the global batch and divides by `weight`,
    so that cutting the batch into passes, or over processes, changes only the rounding."""

    loss: Tensor  # the only one that needs a gradient
    correct: Tensor
    weight: Tensor
    metrics: dict[str, Tensor] = {}  # one for each name in Method.metrics
    rows: Tensor | None = None  # while validating: the loss of each row of the pass, in the order of the pass


@dataclass(frozen=True)
class Method:
    """`read` turns a file into rows and tells how many were left out because nothing is left to train on; it raises
    InvalidTrainingFile with the line. `collate` makes a pass of some rows, `loss` judges it. `before` runs once the
    weights that the job starts from are loaded and nothing is trained yet, at every start; it is given how passes are
    cut and returns how they are cut from then on. `of_loss` gives further figures that follow from the mean loss."""

    read: Callable[["Run", ChatFormat, Path, Progress], tuple[TrainingRows, int]]
    collate: Callable[[Any, list[int], torch.device], Batch]
    loss: Callable[[LanguageModel, Any], Sums]
    metrics: tuple[str, ...] = ()
    before: Callable[["Run", LanguageModel, Any, Any | None, MemoryPlan], MemoryPlan] | None = None
    of_loss: Callable[[float], dict[str, float]] | None = None
