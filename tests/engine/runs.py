"""The real trainer in this process, and what it told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.engine import loop, sft
from training.engine.spec import event_adapter

ROOT = Path(__file__).parents[2]
FULL = {"adaptation": "full", "lora_r": None, "lora_alpha": None, "learning_rate": 1e-3}


def train(folder: Path, loss: Any = sft.batch_loss) -> list[Any]:
    """Runs the trainer in this process and returns all events of the folder."""
    loop.run(folder, replace(sft.METHOD, loss=loss))
    return events(folder)


def events(folder: Path, kind: str = "") -> list[Any]:
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [event_adapter.validate_json(line) for line in lines if line.endswith("}")]
    return [event for event in found if not kind or event.type == kind]


def losses(folder: Path) -> dict[int, float]:
    """Train loss by step; replayed steps replace the former ones, as the reader does it."""
    return {event.step: event.train_loss for event in events(folder, "step")}


def ended(folder: Path) -> Any:
    last = events(folder)[-1]
    assert last.type == "end"
    return last


def after(count: int, action: Callable[[], None]) -> Any:
    """The method's loss, with `action` done at the `count`-th training pass."""
    seen = 0

    def loss(model: Any, batch: Any) -> Any:
        nonlocal seen
        if torch.is_grad_enabled():
            seen += 1
            if seen == count:
                action()
        return sft.batch_loss(model, batch)

    return loss
