"""Jobs for tests, with real files on disk; `queued` ones are prepared already, with chosen numbers."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from accounts.models import Project
from tests.factories import chat_rows, tiny_model, write_jsonl
from training import files, home
from training.engine.spec import Estimate, Recipe, Resolved
from training.models import BaseModel, DatasetFile, TrainingJob


def make_base_model(name: str = "tiny", chat_template: bool = True, folder: Path | None = None) -> BaseModel:
    """The model of `folder`, or a tiny random Llama, in the catalogue."""
    from training.engine.facts import read_model_facts

    folder = folder or home.model_folder(name)
    if not (folder / "config.json").exists():
        tiny_model(folder, chat_template=chat_template)
    return BaseModel.objects.create(
        name=name,
        source="folder",
        source_id=str(folder),
        folder=str(folder),
        facts_json=read_model_facts(folder, name).model_dump(),
        status=BaseModel.Status.READY,
    )


def make_file(project: Project, rows: int = 20, name: str = "train.jsonl", start: int = 0) -> DatasetFile:
    """A checked chat dataset."""
    part = write_jsonl(home.home() / "made" / name, chat_rows(rows, start))
    return files.create_file(project, None, name, "fine-tune", part.read_bytes())


def make_resolved(**changes: Any) -> Resolved:
    values: dict[str, Any] = {
        "n_epochs": 3,
        "batch_size": 1,
        "learning_rate_multiplier": 1.0,
        "base_learning_rate": 1e-3,
        "learning_rate": 1e-3,
        "adaptation": "lora",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.0,
        "target_modules": [],
        "max_length": 128,
        "lr_scheduler": "linear",
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "dtype": "float32",
        "reasons": {},
    }
    return Resolved.model_validate(values | changes)


def make_job(
    project: Project, *, rows: int = 20, valid_rows: int = 4, status: str = "queued", **fields: Any
) -> TrainingJob:
    """A prepared job of `rows` steps an epoch (batch size 1, 3 epochs) unless `resolved` says otherwise."""
    resolved = fields.pop("resolved", None) or make_resolved()
    steps_per_epoch = -(-rows // resolved.batch_size)
    estimate = Estimate(
        steps=steps_per_epoch * resolved.n_epochs,
        steps_per_epoch=steps_per_epoch,
        tokens=rows * 30,
        trained_tokens=rows * 10,
        truncated_rows=0,
        seconds=1,
        memory_bytes=1,
        disk_bytes=1,
        fits=True,
    )
    valid = make_file(project, valid_rows, "valid.jsonl", start=1000) if valid_rows else None
    values: dict[str, Any] = {
        "base_model": BaseModel.objects.filter(name="tiny").first() or make_base_model(),
        "training_file": make_file(project, rows),
        "training_file_name": "train.jsonl",
        "validation_file": valid,
        "validation_file_name": "valid.jsonl" if valid else "",
        "recipe_json": Recipe().model_dump(mode="json"),
        "resolved_json": resolved.model_dump(mode="json"),
        "estimate_json": estimate.model_dump(mode="json"),
        "total_steps": estimate.steps,
        "status": status,
        "queued_at": timezone.now() - timedelta(seconds=1),
        "seed": 42,
        "suffix": "orders",
    }
    return TrainingJob.objects.create(project=project, **(values | fields))
