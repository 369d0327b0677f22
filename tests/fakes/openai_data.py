"""An organisation at OpenAI, made up by us: a support bot that was tuned, continued, preferred and reinforced."""

import base64
import json
from typing import Any

from tests.factories import chat_rows, preference_rows
from tests.fakes.openai_platform import NULLS, Platform

BASE = "gpt-4o-mini-2024-07-18"
MODEL = f"ft:{BASE}:acme:bot:9aB3xYz1"
EARLY = f"ft:{BASE}:acme:bot:5cD7wVu2:ckpt-step-4"
CONTINUED = f"ft:{BASE}:acme:bot-v2:Qw8eRt2y"
STEPS, EPOCHS = 12, 3
BORN = 1_721_764_800


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def organisation() -> Platform:
    platform = Platform()
    _files(platform)
    _supervised(platform)
    _others(platform)
    return platform


def add_file(platform: Platform, file_id: str, name: str, content: bytes | None, purpose: str = "fine-tune") -> None:
    """Without `content` it has expired: listed, but not given out."""
    size = 1_000 if content is None else len(content)
    told = {"object": "file", "id": file_id, "purpose": purpose, "filename": name, "bytes": size}
    told |= {"created_at": BORN - 900 + len(platform.files), "expires_at": None}
    platform.files.append(told | {"status": "processed", "status_details": None})
    if content is not None:
        platform.contents[file_id] = content


def _files(platform: Platform) -> None:
    reinforced = [{"messages": [{"role": "user", "content": f"{n}+{n}?"}], "answer": str(2 * n)} for n in range(10)]
    add_file(platform, "file-Train000000000000000001", "tickets.jsonl", jsonl(chat_rows(12)))
    add_file(platform, "file-Valid000000000000000001", "tickets-valid.jsonl", jsonl(chat_rows(4, start=90)))
    add_file(platform, "file-Pairs000000000000000001", "pairs.jsonl", jsonl(preference_rows(12)))
    add_file(platform, "file-Sums0000000000000000001", "sums.jsonl", jsonl(reinforced))
    add_file(platform, "file-Gone0000000000000000001", "old.jsonl", None)
    add_file(platform, "file-Pict0000000000000000001", "picture.png", b"\x89PNG", "assistants")
    table = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
    lines = [f"{step},{2 / step:.5f},0.{50 + step},," for step in range(1, STEPS + 1)]
    content = (table + "\n".join(lines) + "\n").encode()
    add_file(platform, "file-Res00000000000000000001", "step_metrics.csv", base64.b64encode(content), RESULTS)
    add_file(platform, "file-Res00000000000000000002", "step_metrics.csv", content, RESULTS)


RESULTS = "fine-tune-results"


def job(job_id: str, *, method: str = "supervised", numbers: dict[str, Any], **columns: Any) -> dict[str, Any]:
    """As OpenAI sends it: for other methods than supervised the older field is null."""
    of_method: dict[str, Any] = {"hyperparameters": numbers}
    if method == "reinforcement":
        grader = {"name": "g", "type": "string_check", "input": "{{sample.output_text}}", "operation": "eq"}
        of_method["grader"] = grader | {"reference": "{{item.answer}}"}
    told = {
        "object": "fine_tuning.job", "id": job_id, "model": BASE, "created_at": BORN, "finished_at": None,
        "fine_tuned_model": None, "organization_id": "org-acme", "result_files": [], "status": "succeeded",
        "training_file": "file-Train000000000000000001", "validation_file": None,
        "hyperparameters": numbers if method == "supervised" else None, "trained_tokens": None, "error": NULLS,
        "user_provided_suffix": None, "seed": 683058546, "estimated_finish": None, "integrations": [],
        "metadata": None, "usage_metrics": None, "shared_with_openai": False,
        "method": {"type": method, method: of_method},
    }  # fmt: skip
    return told | columns


def numbers(n_epochs: Any = EPOCHS, batch_size: Any = 3, multiplier: Any = 1.8) -> dict[str, Any]:
    return {"n_epochs": n_epochs, "batch_size": batch_size, "learning_rate_multiplier": multiplier}


def _supervised(platform: Platform) -> None:
    told = job(
        "ftjob-Sft000000000000000000001",
        numbers=numbers(),
        fine_tuned_model=MODEL,
        finished_at=BORN + 1100,
        validation_file="file-Valid000000000000000001",
        result_files=["file-Res00000000000000000001"],
        trained_tokens=1700,
        user_provided_suffix="bot",
        metadata={"team": "support"},
        integrations=[{"type": "wandb", "wandb": {"project": "p", "entity": None, "name": None, "run_id": "ftjob-S"}}],
    )
    platform.jobs.append(told)
    say = _teller(platform, told)
    say(f"Created fine-tuning job: {told['id']}")
    say("Validating training file: file-Train000000000000000001 and validation file: file-Valid000000000000000001")
    say("Files validated, moving job to queued state")
    say("Fine-tuning job started", data=None)
    for step in range(1, STEPS + 1):
        data = {"step": step, "total_steps": STEPS, "train_loss": 2 / step, "train_mean_token_accuracy": 0.5}
        message = f"Step {step}/{STEPS}: training loss={2 / step:.2f}"
        if step % 4 == 0:
            data |= {"full_valid_loss": 1 / step + 0.1, "full_valid_mean_token_accuracy": 0.6}
            message += f", full validation loss={1 / step + 0.1:.2f}"
        say(message, data=data, type="metrics")
    for step, name in ((4, EARLY), (8, EARLY.replace("5cD7wVu2:ckpt-step-4", "6fG8hJk3:ckpt-step-8")), (12, MODEL)):
        _checkpoint(platform, told, step, name)
    say(f"New fine-tuned model created: {MODEL}")
    say("The job has successfully completed")


def _teller(platform: Platform, told: dict[str, Any]) -> Any:
    rows = platform.events.setdefault(told["id"], [])

    def say(message: str, data: Any = {}, type: str = "message", level: str = "info") -> None:  # noqa: B006
        event = {"object": "fine_tuning.job.event", "id": f"ftevent-{told['id'][6:]}{len(rows)}"}
        event |= {"created_at": told["created_at"] + 60 + 10 * len(rows), "level": level, "message": message}
        rows.append(event | {"data": data, "type": type})

    return say


def _checkpoint(platform: Platform, told: dict[str, Any], step: int, name: str) -> None:
    rows = platform.checkpoints.setdefault(told["id"], [])
    metrics = {"step": step, "train_loss": 2 / step, "full_valid_loss": 1 / step + 0.1}
    made = {"object": "fine_tuning.job.checkpoint", "id": f"ftckpt_{told['id'][6:16]}{step}", "metrics": metrics}
    made |= {"created_at": told["created_at"] + 1000 + step, "fine_tuning_job_id": told["id"], "step_number": step}
    rows.append(made | {"fine_tuned_model_checkpoint": name})


def _others(platform: Platform) -> None:
    """One of each that behaves otherwise."""
    continued = job(
        "ftjob-More00000000000000000001",
        numbers=numbers(multiplier=3.6),
        model=MODEL,
        created_at=BORN + 5_000,
        finished_at=BORN + 6_000,
        fine_tuned_model=CONTINUED,
        result_files=["file-Res00000000000000000002"],  # its events are gone, the file still tells the curve
        trained_tokens=900,
        error={},
    )
    dpo = job(
        "ftjob-Dpo000000000000000000001",
        method="dpo",
        numbers=numbers(batch_size=512) | {"beta": 0.2},
        model=EARLY,
        created_at=BORN + 7_000,
        finished_at=BORN + 8_000,
        training_file="file-Pairs000000000000000001",
        fine_tuned_model=f"ft:{BASE}:acme:liked:Zx9cVb3n",
        error=None,
    )
    reinforced = job(
        "ftjob-Rft000000000000000000001",
        method="reinforcement",
        numbers=numbers() | {"reasoning_effort": "medium", "compute_multiplier": 1.0},
        model="o4-mini-2025-04-16",
        created_at=BORN + 9_000,
        finished_at=BORN + 9_900,
        training_file="file-Sums0000000000000000001",
        fine_tuned_model="ft:o4-mini-2025-04-16:acme::Rf7tGh2j",
    )
    reason = "Training file has 7 example(s), but must have at least 10 examples"
    failed = job(
        "ftjob-Fail00000000000000000001",
        numbers=numbers("auto", "auto", "auto"),
        created_at=BORN + 10_000,
        status="failed",
        training_file="file-Gone0000000000000000001",
        validation_file="file-Lost0000000000000000001",
        error={"code": "invalid_n_examples", "message": reason, "param": "training_file"},
    )
    goes_on = job("ftjob-Runs00000000000000000001", numbers=numbers(), created_at=BORN + 11_000, status="running")
    platform.jobs += [continued, dpo, reinforced, failed, goes_on]
    _teller(platform, failed)(reason, level="error")
    say = _teller(platform, reinforced)
    for step in (1, 2):
        data = {"step": step, "total_steps": 2, "train_mean_reward": 0.4 * step, "usage": {"samples": 9}}
        say(f"Step {step}/2 , train mean reward={0.4 * step:.2f}", data=data, type="metrics")
