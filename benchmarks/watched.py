"""What a Trainer of transformers does, written down from inside. Runs in the peers' environments."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback


class Watch(TrainerCallback):
    """Give it as a callback to a trainer of a class that went through `counting`."""

    def __init__(self) -> None:
        self._step_ends: list[float] = []
        self._counted: list[tuple[int, int]] = []
        self._history: list[dict[str, Any]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._step_ends.append(time.time())

    def on_train_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
        self._history = state.log_history

    def counting(self, trainer: Any) -> Any:
        """The class, counting the tokens that go through its model while it trains, and those that bear loss."""
        watch = self

        class Counting(trainer):
            def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
                if model.training:
                    trained = (inputs["labels"][:, 1:] != -100).sum()
                    watch._counted.append((int(inputs["attention_mask"].sum()), int(trained)))
                return super().compute_loss(model, inputs, *args, **kwargs)

        return Counting

    def write(self, path: Path) -> None:
        """For benchmarks.subjects.run_peer."""
        tokens, trained = zip(*self._counted, strict=True)
        result = {
            "step_ends": self._step_ends,
            "tokens": tokens,
            "trained": trained,
            "first_loss": next(line["loss"] for line in self._history if "loss" in line),
            "valid_seconds": next(line["eval_runtime"] for line in self._history if "eval_runtime" in line),
            "device_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        }
        path.write_text(json.dumps(result))


def arguments(recipe: dict[str, Any]) -> dict[str, Any]:
    """Of transformers' TrainingArguments, the same for every peer."""
    return {
        "per_device_train_batch_size": recipe["batch_size"],
        "num_train_epochs": recipe["epochs"],
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": "linear",
        "max_grad_norm": 1.0,
        "seed": recipe["seed"],
        "logging_steps": 1,
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "use_cpu": not torch.cuda.is_available(),  # without it a default of bf16 is refused
    }
