"""The job of a filled-in form as code: for the openai SDK and for curl."""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS

from dashboard.forms import LABELS, JobForm
from playground.film import prompts
from playground.film.written import Entry
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
    asked = form.readable_recipe.model_dump(exclude_defaults=True) if form.readable_recipe else {}
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
    note = _left_out(form)
    if cleaned.get("validation") == "split":
        body |= {"training_file": "file-… (train)", "validation_file": "file-… (valid)"}
        note += "# Split the file first (its page, or `Create job` here does it) and name both parts.\n"
    ours = _our_options(asked)
    if (pinned := _pinned(form)) is not None:
        ours["pinned_prompts"] = pinned
    return [CodeTab("Python", note + _python(body, ours, address)), CodeTab("curl", note + _curl(body | ours, address))]


def _pinned(form: JobForm) -> list[Entry] | None:
    """With those that a rerun has of its parent; None: what would be drawn is the same."""
    if form.pinned is not None or form.film_is != "drawn" or not form.parent_job:
        return form.pinned
    return prompts.of_rerun(form.parent_job, form.cleaned_data.get("validation_file"), form.cleaned_data.get("seed"))


def _our_options(asked: dict[str, Any]) -> dict[str, Any]:
    """What OpenAI's API has no place for; see docs/api.md."""
    lora = {short: asked[name] for name, short in LORA_WORDS.items() if name in asked}
    known = {"method", *OPENAI_FIELDS, *LORA_WORDS}
    training = {name: value for name, value in asked.items() if name not in known}
    return {**({"lora": lora} if lora else {}), **({"training": training} if training else {})}


def _left_out(form: JobForm) -> str:
    """Names the fields that the form refuses, whose values the code therefore lacks; empty when there are none."""
    names = [LABELS.get(name, name) for name in form.errors if name != NON_FIELD_ERRORS]
    return f"# Left out, because the form refuses what stands there: {', '.join(names)}.\n" if names else ""


def _integrations(form: JobForm) -> list[dict[str, Any]]:
    return [wish.model_dump(exclude_defaults=True) for wish in form.trackers.wishes]


def _model_name(form: JobForm) -> str:
    if form.start_checkpoint:
        return form.start_checkpoint.name
    return form.base_model.name if form.base_model else "…"


def _python(body: dict[str, Any], ours: dict[str, Any], address: str) -> str:
    body = {**body, **({"extra_body": ours} if ours else {})}
    arguments = "".join(f"    {name}={_literal(value)},\n" for name, value in body.items())
    return (
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{address}/v1", api_key="YOUR_KEY")\n'
        f"job = client.fine_tuning.jobs.create(\n{arguments})\nprint(job.id)\n"
    )


def _literal(value: Any) -> str:
    """JSON's strings, numbers, lists and objects are Python's too; its true, false and null are not."""
    shown = json.dumps(value, ensure_ascii=False)
    return repr(value) if re.search(r"\b(true|false|null)\b", shown) else shown


def _curl(body: dict[str, Any], address: str) -> str:
    return (
        f"curl {address}/v1/fine_tuning/jobs \\\n"
        '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))}\n"
    )
