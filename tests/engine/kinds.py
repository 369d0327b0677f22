"""The kinds of training that are promised, each as a small run folder: what golden curves, kills and references run."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engine.runs import FULL
from tests.factories import chat_row, chat_rows, preference_rows, tiny_model, write_jsonl
from training.engine.method import Method
from training.engine.scratch import Shape, write_model
from training.engine.spec import JobSpec

ADAPTATIONS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"lora_variant": "rslora"},
    "dora": {"lora_variant": "dora"},
    "full": FULL,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "track_order",
        "description": "Where an order is",
        "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
    },
}


def call_row(number: int) -> dict[str, Any]:
    """A question, the call that it needs, what came back, and the answer."""
    call = {"name": "track_order", "arguments": f'{{"order": {number}}}'}
    return {
        "messages": [
            {"role": "user", "content": f"Order {number}?"},
            {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": "call_1", "content": '{"done": true}'},
            {"role": "assistant", "content": f"Order {number} is done."},
        ],
        "tools": [TOOL],
    }


def of_many_lengths(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [*chat_rows(count // 2, start), *(chat_row("Say it", "word " * (1 + 3 * n)) for n in range(count // 2))]


def completion_row(number: int) -> dict[str, Any]:
    return {"prompt": f"{number} plus {number} is", "completion": f" {2 * number}, thank you."}


def story(number: int) -> dict[str, Any]:
    return {"text": f"Order {number} is done. " + "The fox asks for the dog. " * (1 + number % 5) + "The end."}


@dataclass(frozen=True)
class Kind:
    """12 rows (raw text: 24 documents) to train on and 4 to validate with, in three batches an epoch or about so."""

    method: str
    rows: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    changes: dict[str, Any]
    from_scratch: bool = False

    @property
    def code(self) -> Method:
        found: Method = importlib.import_module(f"training.engine.{self.method}").METHOD
        return found


def _of(row: Any, count: int = 12) -> dict[str, list[dict[str, Any]]]:
    return {"rows": [row(n) for n in range(count)], "valid": [row(n) for n in range(50, 54)]}


MANY_LENGTHS = {"rows": of_many_lengths(12), "valid": of_many_lengths(4, start=50)}
TEXT = {"max_length": 48, "packing": True}
KINDS = {
    "sft-chat": Kind("sft", **MANY_LENGTHS, changes={}),
    "sft-packed": Kind("sft", **MANY_LENGTHS, changes={"packing": True}),
    "sft-completion": Kind("sft", **_of(completion_row), changes={}),
    "sft-calls": Kind("sft", **_of(call_row), changes={"max_length": 640}),
    "dpo": Kind("dpo", preference_rows(12), preference_rows(4, start=50), {"beta": 0.02}),
    "text": Kind("pretrain", **_of(story, 24), changes=TEXT),
    "scratch": Kind("pretrain", **_of(story, 24), changes=TEXT, from_scratch=True),
}
# Random weights are trained in full; the variants of LoRA differ in what an adapter is, not in the method.
PAIRS = [
    *(("sft-chat", adaptation) for adaptation in ADAPTATIONS),
    *((name, adaptation) for name in KINDS if name not in ("sft-chat", "scratch") for adaptation in ("lora", "full")),
    ("scratch", "full"),
]
# The lines of the table in docs/methods.md: each method once, and on chat rows each way to adapt.
PROMISED = [
    ("sft-chat", "lora"), ("sft-completion", "lora"), ("sft-calls", "lora"), ("dpo", "lora"), ("text", "lora"),
    ("scratch", "full"), ("sft-chat", "rslora"), ("sft-chat", "dora"), ("sft-chat", "full"),
]  # fmt: skip


def make_bases(folder: Path) -> dict[bool, Path]:
    """The base model of most kinds, and (True) the one of those from scratch, with a tokenizer of its own."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    shape = Shape(layers=2, width=64, vocabulary=400, context=128)
    write_model(scratch, shape, [row["text"] for row in KINDS["scratch"].rows], 1, lambda text: None)
    return {False: tiny_model(folder / "tiny"), True: scratch}


def write_run(folder: Path, bases: dict[bool, Path], name: str, adaptation: str, **changes: Any) -> Path:
    """A run folder in float32; two epochs unless told."""
    kind = KINDS[name]
    fields = {
        "job_id": "ftjob-kind",
        "method": kind.method,
        "base_model": "tiny",
        "base_path": bases[kind.from_scratch],
        "training_file": write_jsonl(folder / "train.jsonl", kind.rows),
        "validation_file": write_jsonl(folder / "valid.jsonl", kind.valid),
        "n_epochs": 2,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "warmup_ratio": 0.1,
        "weight_decay": 0.01,
        "max_length": 128,
        "lora_r": 4,
        "lora_alpha": 8,
        "seed": 7,
    }
    spec = JobSpec.model_validate(fields | kind.changes | ADAPTATIONS[adaptation] | changes)
    (folder / "spec.json").write_text(spec.model_dump_json())
    return folder
