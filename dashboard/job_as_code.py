"""The job of a filled-in form as code: for the openai SDK and for curl."""

import json
import shlex
from dataclasses import dataclass
from typing import Any

from dashboard.forms import JobForm
from training.rules import OPENAI_METHODS

OPENAI_FIELDS = ("n_epochs", "batch_size", "learning_rate_multiplier", "beta")
LORA_WORDS = {
    "lora_r": "r",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "target_modules",
    "lora_variant": "variant",
    "modules_to_save": "modules_to_save",
    "quantization": "quantization",
}


@dataclass(frozen=True)
class CodeTab:
    name: str
    text: str


def as_code(form: JobForm, address: str) -> list[CodeTab]:
    """The same job for the openai SDK and for curl. A split is a file of its own once it is made."""
    asked = form.recipe.model_dump(exclude_defaults=True) if form.recipe else {}
    cleaned = form.cleaned_data
    training, validation = cleaned.get("training_file"), cleaned.get("validation_file")
    body: dict[str, Any] = {
        "model": _model_name(form),
        "training_file": training.id if training else "file-…",
        **({"validation_file": validation.id} if validation else {}),
        **({"suffix": cleaned["suffix"]} if cleaned.get("suffix") else {}),
        **({"seed": cleaned["seed"]} if cleaned.get("seed") is not None else {}),
        **({"integrations": _integrations(form)} if form.trackers.wishes else {}),
    }
    hyperparameters = {name: asked[name] for name in OPENAI_FIELDS if name in asked}
    method = OPENAI_METHODS[asked.get("method", "sft")]
    if hyperparameters or method != "supervised":
        body["method"] = {"type": method, method: {"hyperparameters": hyperparameters}}
    note = ""
    if cleaned.get("validation") == "split":
        body |= {"training_file": "file-… (train)", "validation_file": "file-… (valid)"}
        note = "# Split the file first (its page, or `Create job` here does it) and name both parts.\n"
    ours = _our_options(asked)
    return [CodeTab("Python", note + _python(body, ours, address)), CodeTab("curl", note + _curl(body | ours, address))]


def _our_options(asked: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's API has no place for; see docs/api.md."""
    lora = {short: asked[name] for name, short in LORA_WORDS.items() if name in asked}
    known = {"method", *OPENAI_FIELDS, *LORA_WORDS}
    training = {name: value for name, value in asked.items() if name not in known}
    return {**({"lora": lora} if lora else {}), **({"training": training} if training else {})}


def _integrations(form: JobForm) -> list[dict[str, Any]]:
    return [wish.model_dump(exclude_defaults=True) for wish in form.trackers.wishes]


def _model_name(form: JobForm) -> str:
    if form.start_checkpoint:
        return form.start_checkpoint.name
    return form.base_model.name if form.base_model else "…"


def _python(body: dict[str, Any], ours: dict[str, Any], address: str) -> str:
    body = {**body, **({"extra_body": ours} if ours else {})}
    # JSON's strings, numbers, lists and objects are Python's too; the body holds no true, false or null
    arguments = "".join(f"    {name}={json.dumps(value, ensure_ascii=False)},\n" for name, value in body.items())
    return (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{address}/v1", api_key="YOUR_KEY")\n'
        f"job = client.fine_tuning.jobs.create(\n{arguments})\nprint(job.id)\n"
    )


def _curl(body: dict[str, Any], address: str) -> str:
    return (
        f"curl {address}/v1/fine_tuning/jobs \\\n"
        '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))}\n"
    )
