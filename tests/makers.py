"""Rows for tests of the screens: jobs with curves, checkpoints and files, without a trainer."""

import json
import math
from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import Project
from training import home
from training.engine.spec import Estimate, ModelFacts, Recipe, Resolved
from training.models import BaseModel, Checkpoint, DatasetFile, JobEvent, Metric, TrainingJob

FACTS = ModelFacts(
    name="tiny",
    parameters=1_000_000,
    hidden_size=128,
    intermediate_size=256,
    layers=2,
    vocabulary=640,
    heads=2,
    kv_heads=1,
    context_length=8192,
    linear_modules=["q_proj", "v_proj"],
)
FILLED = {"lora_r": 16, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}


def make_base_model(name: str = "tiny", folder: str = "", **columns: Any) -> BaseModel:
    """In the catalogue; without a `folder`, one on disk that holds nothing but its configuration."""
    if not folder:
        config = home.home() / "made" / name / "config.json"  # away from the real ones of tests.jobs
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("{}")
        folder = str(config.parent)
    facts = FACTS.model_copy(update={"name": name})
    columns = {"source": "folder", "source_id": folder, "status": "ready", "facts_json": facts.model_dump()} | columns
    return BaseModel.objects.create(name=name, folder=folder, **columns)


def make_file(project: Project, filename: str = "tickets.jsonl", rows: int = 120, **columns: Any) -> DatasetFile:
    """A checked file with real rows on disk and token counts for the model named tiny."""
    facts = {"rows": rows, "tokens": rows * 40, "trained_tokens": rows * 20, "longest_tokens": 60, "lengths": [40]}
    columns = {"status": "processed", "format": "chat", "token_facts": {"tiny": facts}} | columns
    file = DatasetFile.objects.create(project=project, filename=filename, rows=rows, **columns)
    row = {"messages": [{"role": "user", "content": "Order 1?"}, {"role": "assistant", "content": "Done."}]}
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_text((json.dumps(row) + "\n") * rows)
    file.bytes = file.path.stat().st_size
    file.save()
    return file


def make_job(project: Project, *, steps: int = 0, status: str = "running", **columns: Any) -> TrainingJob:
    """A job with `steps` metric rows, four epochs, and a checkpoint at the end of each epoch that is over."""
    recipe = columns.pop("recipe", Recipe())
    total = columns.pop("total_steps", max(steps, 40))
    final = status in ("succeeded", "failed", "cancelled")
    now = timezone.now()
    base = columns.pop("base_model", None) or BaseModel.objects.filter(name="tiny").first() or make_base_model()
    if "training_file" not in columns:
        columns["training_file"] = DatasetFile.objects.of(project).usable().first() or make_file(project)
    for role in ("training_file", "validation_file"):
        if columns.get(role):
            columns.setdefault(f"{role}_name", columns[role].filename)
    job = TrainingJob.objects.create(
        project=project,
        base_model=base,
        status=status,
        recipe_json=recipe.model_dump(mode="json"),
        resolved_json=make_resolved(recipe).model_dump(mode="json"),
        estimate_json=make_estimate(total).model_dump(mode="json"),
        total_steps=total,
        step=steps,
        created_at=columns.pop("created_at", now - timedelta(minutes=9)),
        queued_at=now - timedelta(minutes=8),
        started_at=now - timedelta(minutes=7),
        finished_at=now if final else None,
        started_json=STARTED | {"total_steps": total, "steps_per_epoch": max(1, total // 4)},
        **columns,
    )
    if steps:
        add_metrics(job, steps)
    return job


STARTED = {
    "time": 0.0, "type": "started", "train_rows": 120, "valid_rows": 40, "train_tokens": 4800,
    "trained_tokens_per_epoch": 2400, "valid_tokens": 1600, "truncated_rows": 0, "parameters": 1_000_000,
    "trainable_parameters": 20_000, "device": "CPU, 2 cores", "dtype": "float32", "world_size": 1, "resumed_step": 0,
}  # fmt: skip


def make_resolved(recipe: Recipe) -> Resolved:
    """Any numbers will do for a screen."""
    asked = {k: v for k, v in recipe.model_dump().items() if v != "auto" and k != "method"}
    filled = {
        **{"n_epochs": 4, "batch_size": 4, "learning_rate_multiplier": 1.0, "max_length": 512},
        **{"base_learning_rate": 3e-4, "learning_rate": 3e-4, "lr_scheduler": "linear", "warmup_ratio": 0.03},
        **{"dtype": "float32", "reasons": {"n_epochs": "120 rows: 3 or more passes."}},
        **FILLED,
    }
    return Resolved.model_validate(filled | asked)


def make_estimate(steps: int) -> Estimate:
    return Estimate(
        steps=steps,
        steps_per_epoch=max(1, steps // 4),
        tokens=19_200,
        trained_tokens=9_600,
        truncated_rows=0,
        seconds=400,
        memory_bytes=900_000_000,
        disk_bytes=80_000_000,
        fits=True,
    )


def add_metrics(job: TrainingJob, steps: int, first: int = 1) -> None:
    """A falling, noisy loss; a sampled validation now and then, the whole set at each epoch's end."""
    each = max(1, job.total_steps // 4)
    start = (job.started_at or timezone.now()).timestamp()
    rows = [_metric(job, step, each, start) for step in range(first, first + steps)]
    Metric.objects.bulk_create(rows, batch_size=5000)
    for row in rows:
        if row.full_valid_loss is not None:
            add_checkpoint(job, row)
    job.revision = job.revision + steps
    job.step = first + steps - 1
    job.save(update_fields=["revision", "step"])


def _metric(job: TrainingJob, step: int, each: int, start: float) -> Metric:
    share = step / job.total_steps
    noise = math.sin(step * 12.9898) * 43758.5453 % 1 - 0.5
    loss = 0.35 + 1.9 * math.exp(-5 * share) + 0.22 * noise * math.exp(-1.5 * share)
    ends = step % each == 0
    judged = 0.42 + 1.8 * math.exp(-5 * share) + 0.16 * max(0.0, share - 0.7)
    return Metric(
        job=job,
        step=step,
        revision=job.revision + step,
        time=start + step * 0.2,
        epoch=step / each,
        train_loss=loss,
        train_accuracy=1 - loss / 3,
        learning_rate=3e-4 * min(1, share / 0.03) * (1 - share),
        grad_norm=1.2 + noise + 2 * math.exp(-6 * share),
        trained_tokens=step * 80,
        tokens_per_second=1500 + 90 * noise,
        memory_bytes=850_000_000,
        valid_loss=judged + 0.12 * noise if step % max(1, each // 8) == 0 else None,
        valid_accuracy=1 - judged / 3 if step % max(1, each // 8) == 0 else None,
        full_valid_loss=judged if ends else None,
        full_valid_accuracy=1 - judged / 3 if ends else None,
    )


def add_checkpoint(job: TrainingJob, row: Metric) -> Checkpoint:
    """With the figures of its step."""
    figures = {name: getattr(row, name) for name in ("train_loss", "train_accuracy")}
    figures |= {name: getattr(row, name) for name in ("full_valid_loss", "full_valid_accuracy")}
    return make_checkpoint(job, step=row.step, epoch=round(row.epoch or 0), size_bytes=19_800_000, **figures)


def make_checkpoint(job: TrainingJob, *, step: int = 10, epoch: int = 1, **columns: Any) -> Checkpoint:
    """An adapter's row, without its files."""
    columns = {
        "kind": "lora",
        "step_name": f"ft:{job.base_model.name}:hone:{job.suffix}:{job.id[-8:]}:ckpt-step-{step}",
        "path_in_run": f"checkpoints/epoch-{epoch}-step-{step}",
        "sha256": "0" * 64,
    } | columns
    return Checkpoint.objects.create(
        project=job.project, job=job, base_model=job.base_model, step=step, epoch=epoch, **columns
    )


def add_events(job: TrainingJob, *messages: str) -> None:
    for message in messages:
        JobEvent.objects.create(job=job, message=message)
