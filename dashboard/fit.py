"""Does a base model fit this machine's device for training? The badge of the catalogue."""

from dataclasses import dataclass

from training import devices
from training.engine import estimate
from training.engine.errors import EngineError
from training.engine.resolve import resolve
from training.engine.spec import DataFacts, DeviceFacts, Recipe
from training.models import BaseModel

ROWS, ROW_TOKENS, LONGEST_TOKENS = 100, 200, 512  # the example the badge is computed for


@dataclass(frozen=True)
class Fit:
    """Memory to train LoRA with rows of up to 512 tokens, against what the device has."""

    fits: bool
    memory_bytes: int
    device_bytes: int
    device: str
    problem: str = ""

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.memory_bytes / self.device_bytes)) if self.device_bytes else 0


def fit(model: BaseModel, device: DeviceFacts | None = None) -> Fit | None:
    """None while nothing is known of the model."""
    if not model.facts_json:
        return None
    device = device or devices.device_facts()
    empty = device.model_copy(
        update={"free_bytes": device.memory_bytes}
    )  # what else runs now says nothing of the model
    data = DataFacts(
        rows=ROWS, tokens=ROWS * ROW_TOKENS, trained_tokens=ROWS * ROW_TOKENS // 2, longest_tokens=LONGEST_TOKENS
    )
    try:
        resolved = resolve(Recipe(), data, model.facts, empty)
        needed = estimate.estimate(resolved, data, model.facts, empty)
    except EngineError as problem:
        return Fit(False, 0, device.memory_bytes, device.name, problem.message)
    return Fit(needed.memory_bytes <= device.memory_bytes, needed.memory_bytes, device.memory_bytes, device.name)
