"""TRL's SFTTrainer over the rows of a benchmark. Runs in the peers' environment:

    python -m benchmarks.trl_sft RUN_FOLDER

reads RUN_FOLDER/recipe.json, writes RUN_FOLDER/result.json and the adapter in RUN_FOLDER/adapter.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    def __init__(self) -> None:
        self.step_ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.step_ends.append(time.time())


class Counting(SFTTrainer):
    """Counts what goes through the model while it trains."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if model.training:
            self.counted.append((int(inputs["attention_mask"].sum()), int((inputs["labels"][:, 1:] != -100).sum())))
        return super().compute_loss(model, inputs, *args, **kwargs)


def main(folder: Path) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    tokens = json.loads(Path(recipe["tokens"]).read_text())
    set_seed(recipe["seed"])
    settings: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": recipe["batch_size"],
        "num_train_epochs": recipe["epochs"],
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": "linear",
        "max_length": recipe["max_length"],
        "max_grad_norm": 1.0,
        "completion_only_loss": True,
        "seed": recipe["seed"],
        "logging_steps": 1,
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "report_to": [],
        "use_cpu": not torch.cuda.is_available(),  # without it TRL's default of bf16 is refused
    }
    clock = Clock()
    trainer = Counting(
        model=recipe["model"],
        args=SFTConfig(**settings | recipe["flags"]),
        train_dataset=Dataset.from_list(tokens["train"]),
        eval_dataset=Dataset.from_list(tokens["valid"]),
        peft_config=LoraConfig(
            r=recipe["lora_r"],
            lora_alpha=recipe["lora_alpha"],
            lora_dropout=0.0,
            target_modules=recipe["target_modules"],
            task_type="CAUSAL_LM",
        ),
        callbacks=[clock],
    )
    trainer.counted = []
    trainer.train()
    trainer.save_model(str(folder / "adapter"))
    history = trainer.state.log_history
    tokens_seen, trained = zip(*trainer.counted, strict=True)
    result = {
        "step_ends": clock.step_ends,
        "tokens": tokens_seen,
        "trained": trained,
        "first_loss": next(line["loss"] for line in history if "loss" in line),
        "valid_seconds": next(line["eval_runtime"] for line in history if "eval_runtime" in line),
        "device_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
