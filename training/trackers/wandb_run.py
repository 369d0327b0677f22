"""A run at Weights & Biases; its id is the job's, so that it is one run however often this process starts."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from training.trackers.spec import TrackerConfig

ARTIFACT_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")


class WandbRun:
    """Online, or in files for `wandb sync`."""

    def __init__(self, config: TrackerConfig, place: Path) -> None:
        assert config.wandb
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ[name] = str(place)
        import wandb

        wish = config.wandb
        self.wandb, self.wish, self.job_id = wandb, wish, config.job_id
        self.before = steps_in(place) if wish.offline else 0
        self.run = wandb.init(
            project=wish.project,
            entity=wish.entity or None,
            id=config.job_id,
            name=wish.name or config.job_id,
            tags=tags_of(config),
            config=config.configuration,
            mode="offline" if wish.offline else "online",
            resume="allow",
            dir=str(place),
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                disable_job_creation=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
        self.url = "" if wish.offline else self.run.url or ""

    def last_step(self) -> int:
        """Online the server's answer; a new run has none."""
        return self.before if self.wish.offline else max(0, self.run.step - 1)

    def describe(self, facts: dict[str, Any]) -> None:
        self.run.config.update({"started": facts}, allow_val_change=True)

    def log(self, step: int, time: float, figures: dict[str, float]) -> None:
        self.run.log({**figures, "_timestamp": time}, step=step)

    def checkpoint(self, folder: Path, facts: dict[str, Any]) -> None:
        """The same files again make no second version: artifacts are told apart by their content."""
        if not self.wish.checkpoints or not folder.is_dir():
            return
        artifact = self.wandb.Artifact(f"{self.job_id}-checkpoint", type="model", metadata=facts)
        for pattern in ARTIFACT_FILES:
            for path in sorted(folder.glob(pattern)):
                artifact.add_file(str(path), policy="immutable")  # read in place, not copied first
        self.run.log_artifact(artifact, aliases=[f"step-{facts['step']}", f"epoch-{facts['epoch']}", "latest"])

    def flush(self) -> None:
        """wandb writes in the background."""

    def close(self, succeeded: bool) -> None:
        self.run.finish(exit_code=0 if succeeded else 1)


def tags_of(config: TrackerConfig) -> list[str]:
    """OpenAI's default tags (both spellings of the first) and the asked ones; wandb takes 64 characters each."""
    assert config.wandb
    usual = ["openai/finetune", "openai/fine-tuning", f"openai/{config.base_model}", f"openai/{config.job_id}"]
    return [tag[:64] for tag in dict.fromkeys([*usual, *config.wandb.tags])]


def steps_in(place: Path) -> int:
    """The last step in the files that former processes left, by wandb's own reader, which knows a file that was cut."""
    from wandb.util import get_core_path

    last = 0
    for path in place.glob("wandb/offline-run-*/*.wandb"):
        reader = [get_core_path(), "leet", "inspect", "--json", "--no-observability", "-run-file", str(path)]
        printed = subprocess.run([*reader, str(place)], capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in printed.splitlines() if '"history"' in line]
        last = max([last, *(record["history"]["step"]["num"] for record in records if "history" in record)])
    return last
