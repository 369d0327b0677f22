"""The model card that goes with every download: what it is, how to load it, and where it comes from."""

import json
from collections.abc import Iterator
from typing import Any

from training.models import BaseModel, Checkpoint, TrainingJob

WORDS = {"adapter": "a LoRA adapter", "merged": "full weights, the adapter merged in", "full": "full weights"}
LOADING = {
    "adapter": """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{base}"), "{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")""",
    "merged": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")""",
}
SERVING = {
    "adapter": "vllm serve {base} --enable-lora --max-lora-rank 64 --lora-modules mine={folder}",
    "merged": "vllm serve {folder}",
}
FIGURES = {
    "train_loss": "training loss of its last step",
    "full_valid_loss": "loss over the whole validation set",
    "full_valid_accuracy": "token accuracy over the whole validation set",
}


def public_name(base: BaseModel) -> str:
    """What others know the base by: its hub id, else its name here."""
    return base.source_id if base.source == "hub" else base.name


def card(checkpoint: Checkpoint, form: str, report: dict[str, Any]) -> str:
    """README.md. `form`: adapter, merged or full; `report`: the ExportReport of merged weights."""
    base = checkpoint.base_model
    parts = [
        _front_matter(base, form),
        f"# {checkpoint.name}",
        f"Epoch {checkpoint.epoch} (step {checkpoint.step}) of the training job {checkpoint.job_id}: {WORDS[form]}, "
        f"made from {public_name(base)} by Hone." + (f" Licence of the base: {base.licence}." if base.licence else ""),
        _section("Loading", _loading(base, form)),
        _section("Figures", _figures(checkpoint)),
        _section("Proof", _proof(report)) if report else "",
        _section("Lineage", "\n\n".join(_lineage(checkpoint))),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}"


def _front_matter(base: BaseModel, form: str) -> str:
    library = "peft" if form == "adapter" else "transformers"
    lines = [
        f"base_model: {json.dumps(public_name(base))}",
        f"library_name: {library}",
        "pipeline_tag: text-generation",
    ]
    return "\n".join(["---", *lines, "tags:", "- fine-tuned", "- hone", "---"])


def _loading(base: BaseModel, form: str) -> str:
    form = "adapter" if form == "adapter" else "merged"
    names = {"base": public_name(base), "folder": "this-folder"}
    return f"```python\n{LOADING[form].format(**names)}\n```\n\n```sh\n{SERVING[form].format(**names)}\n```"


def _figures(checkpoint: Checkpoint) -> str:
    found = {words: getattr(checkpoint, name) for name, words in FIGURES.items()} | checkpoint.more
    lines = [f"- {words}: {value:.4f}" for words, value in found.items() if isinstance(value, int | float)]
    return "\n".join([*lines, f"- sha256 of the trained weights: `{checkpoint.sha256}`"])


def _proof(report: dict[str, Any]) -> str:
    return (
        f"Before these weights were offered, their log-probabilities of {report['tokens']} tokens were compared with "
        f"the adapter's, both in float32: on average {report['mean_to_adapter']:.5f} nats a token apart, at most "
        f"{report['max_to_adapter']:.5f}. Training had moved them by {report['adapter_to_base']:.5f}. The weights are "
        f"{report['dtype']}; their sha256 is `{report['sha256']}`."
    )


def _lineage(checkpoint: Checkpoint) -> Iterator[str]:
    """From this job back to the base."""
    current: Checkpoint | None = checkpoint
    while current is not None:
        yield _stage(current)
        current = current.job.start_checkpoint
    base = checkpoint.base_model
    yield f"### {public_name(base)}\n\nThe base model." + (f" {base.source_note}" if base.source_note else "")


def _stage(checkpoint: Checkpoint) -> str:
    job = checkpoint.job
    lines = [f"### {checkpoint.name}", f"Job {job.pk}, method {job.recipe.method}, seed {job.seed}."]
    lines += [_data(job)]
    if job.resolved:
        numbers = job.resolved.model_dump(exclude={"reasons"}, exclude_none=True)
        lines += [f"```json\n{json.dumps(numbers, indent=2)}\n```"]
    return "\n\n".join(lines)


def _data(job: TrainingJob) -> str:
    files = [
        ("Training data", job.training_file, job.training_file_name),
        ("Validation data", job.validation_file, job.validation_file_name),
    ]
    lines = []
    for words, file, name in files:
        if file:
            lines.append(f"- {words}: {name}, {file.rows} rows, sha256 `{file.sha256 or 'not computed'}`")
        elif name:
            lines.append(f"- {words}: {name}, deleted since")
    return "\n".join(lines)
