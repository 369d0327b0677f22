"""TRL's SFTTrainer over the rows of a benchmark. Runs in its own environment:

    python -m benchmarks.trl_sft RUN_FOLDER

reads RUN_FOLDER/recipe.json, writes RUN_FOLDER/result.json and the adapter in RUN_FOLDER/adapter.
"""

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from benchmarks.watched import Watch, arguments


def main(folder: Path) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    tokens = json.loads(Path(recipe["tokens"]).read_text())
    set_seed(recipe["seed"])
    settings: dict[str, Any] = arguments(recipe) | {
        "output_dir": str(folder / "out"),
        "max_length": recipe["max_length"],
        "completion_only_loss": True,
        "report_to": [],
    }
    watch = Watch()
    trainer = watch.counting(SFTTrainer)(
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
        callbacks=[watch],
    )
    trainer.train()
    trainer.save_model(str(folder / "adapter"))
    watch.write(folder / "result.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
