"""LLaMA-Factory's supervised fine-tuning over the rows of a benchmark. Runs in its own environment:

    python -m benchmarks.llamafactory_sft RUN_FOLDER

reads RUN_FOLDER/recipe.json, writes RUN_FOLDER/result.json and the adapter in RUN_FOLDER/adapter. The rows are handed
over as tokens (`tokenized_path`), so that nobody's template is compared.
"""

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from llamafactory.train import tuner
from llamafactory.train.sft import workflow

from benchmarks.watched import Watch, arguments


def main(folder: Path) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    tokens = json.loads(Path(recipe["tokens"]).read_text())
    rows = {"train": tokens["train"], "validation": tokens["valid"]}
    DatasetDict({name: Dataset.from_list([_row(row) for row in part]) for name, part in rows.items()}).save_to_disk(
        str(folder / "tokenized")
    )
    settings: dict[str, Any] = arguments(recipe) | {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": recipe["model"],
        "tokenized_path": str(folder / "tokenized"),
        "dataset": "benchmark",  # wanted by its own checks, not read
        "eval_dataset": "benchmark",
        "cutoff_len": recipe["max_length"],
        "finetuning_type": "lora",
        "lora_rank": recipe["lora_r"],
        "lora_alpha": recipe["lora_alpha"],
        "lora_dropout": 0.0,
        "lora_target": ",".join(recipe["target_modules"]),
        "output_dir": str(folder / "adapter"),
        "report_to": "none",
    }
    watch = Watch()
    workflow.CustomSeq2SeqTrainer = watch.counting(workflow.CustomSeq2SeqTrainer)
    tuner.run_exp(settings | recipe["flags"], callbacks=[watch])
    watch.write(folder / "result.json")


def _row(row: dict[str, list[int]]) -> dict[str, list[int]]:
    marked = zip(row["input_ids"], row["completion_mask"], strict=True)
    return {
        "input_ids": row["input_ids"],
        "attention_mask": [1] * len(row["input_ids"]),
        "labels": [token if trained else -100 for token, trained in marked],
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
