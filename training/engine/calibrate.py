"""What finished runs of a machine say of the formulas behind an estimate. No torch.

The formulas know the shape of the work (FLOP a token, bytes a weight), not the machine. Each part of a run's measured
time and memory, divided by what the formulas say of that part, gives a factor; a new job takes the median of the runs
most like it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from training.engine.spec import Measured, MemoryParts, SecondsParts

NEWEST = 5  # runs that count; older ones may be of another version
ALIKE = 2.0  # lengths or sizes within this factor are alike
LEAST_SECONDS = 0.05  # shorter parts are noise


@dataclass(frozen=True)
class Kind:
    """What makes two runs alike. The same devices are taken for granted."""

    model: str
    parameters: int
    method: str
    adaptation: str
    dtype: str
    row_tokens: float  # mean


@dataclass(frozen=True)
class FinishedRun:
    kind: Kind
    formula_seconds: SecondsParts
    formula_bytes: int
    measured: Measured


@dataclass(frozen=True)
class Calibration:
    """Factors on the formulas. With no `runs`, those of time are the formulas as they are."""

    runs: int = 0  # that say something of time
    start: float = 1.0
    training: float = 1.0
    rest: float = 1.0
    bytes: float = 1.0

    def seconds(self, parts: SecondsParts) -> SecondsParts:
        return SecondsParts(
            start=parts.start * self.start, training=parts.training * self.training, rest=parts.rest * self.rest
        )

    def memory(self, parts: MemoryParts) -> MemoryParts:
        return MemoryParts(**{name: round(value * self.bytes) for name, value in parts})


FORMULAS = Calibration()


def calibrate(runs: Sequence[FinishedRun], kind: Kind) -> Calibration:
    """From finished runs of this device, newest first: those of the same model, method, number format and length; else
    of the same model; else of a model of about this size."""
    timed = _most_alike([run for run in runs if run.measured.parts], kind)
    chosen = _most_alike(runs, kind)
    if not chosen:
        return FORMULAS
    return Calibration(
        runs=len(timed),
        start=_factor(timed, "start"),
        training=_factor(timed, "training"),
        rest=_factor(timed, "rest"),
        bytes=median(run.measured.memory_bytes / max(1, run.formula_bytes) for run in chosen),
    )


def _most_alike(runs: Sequence[FinishedRun], kind: Kind) -> list[FinishedRun]:
    for alike in (_same_work, _same_model, _same_size):
        if chosen := [run for run in runs if alike(run.kind, kind)]:
            return chosen[:NEWEST]
    return []


def _same_size(one: Kind, other: Kind) -> bool:
    same_work = (one.adaptation, one.dtype) == (other.adaptation, other.dtype)
    return same_work and _alike(one.parameters, other.parameters)


def _same_model(one: Kind, other: Kind) -> bool:
    return one.model == other.model and _same_size(one, other)


def _same_work(one: Kind, other: Kind) -> bool:
    return _same_model(one, other) and one.method == other.method and _alike(one.row_tokens, other.row_tokens)


def _alike(one: float, other: float) -> bool:
    return max(one, other) <= ALIKE * min(one, other)


def _factor(runs: Sequence[FinishedRun], part: str) -> float:
    """Measured over formula, of runs with parts; those that were paused have none."""
    pairs = [
        (getattr(run.measured.parts, part), getattr(run.formula_seconds, part)) for run in runs if run.measured.parts
    ]
    return median(max(came, LEAST_SECONDS) / max(said, LEAST_SECONDS) for came, said in pairs) if pairs else 1.0
