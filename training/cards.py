"""The model card that goes with every download: what it is, how to load it, and where it comes from."""

import json
import re
from collections.abc import Iterator
from typing import Any

from training import starter
from training.engine import tools
from training.engine.errors import EngineError
from training.engine.template import Template
from training.engine.tools_template import with_tools
from training.models import BaseModel, Checkpoint, TrainingJob
from training.ranks import rank_of, room_for

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
    "adapter": "vllm serve {base} --enable-lora --max-lora-rank {rank} --lora-modules mine={folder}",
    "merged": "vllm serve {folder}",
}
TOOL_FLAGS = "vLLM reads its calls with `--enable-auto-tool-choice --tool-call-parser {parser}`."
TOOLS_AS_TEXT = """\
It was trained with functions. Its chat template does not show them: it knows them as text, which Hone writes by itself
and other software must. At the end of the system message:

```text
{introduction}
```

A call comes as `<tool_call>`, a line with `{{"name": ..., "arguments": {{...}}}}`, `</tool_call>`; its result goes into
a user message as `<tool_response>`, the content, `</tool_response>`. Such text goes through the chat template without
`tools`."""
TOOLS_ADDED = """\
It was trained with functions, which the chat template of its base does not show. The one in this folder does, in the
words that were trained: `tokenizer.apply_chat_template(messages, tools=...)`. A call comes as `<tool_call>`, a line
with `{"name": ..., "arguments": {...}}`, `</tool_call>`; its result is a message with the role `tool`."""
OTHER_WEIGHTS = """\
The adapter learned on other weights than the published ones of that name (see the base model under Lineage): on those
it acts a little differently than the figures here say. Merged weights act exactly as measured."""
CACHED = re.compile(r"models--[\w.-]+?--[\w.-]+")  # a folder of the hub's own cache
FIGURES = {
    "train_loss": "training loss of its last step",
    "full_valid_loss": "loss over the whole validation set",
    "full_valid_accuracy": "token accuracy over the whole validation set",
}


def public_name(base: BaseModel) -> str:
    """What others know the base by: its hub id, where it is known, else its name here."""
    if base.source == "hub":
        return base.source_id
    if base.source == "package":  # other weights of the same model; the card says so
        return starter.STARTER_HUB_ID if base.source_id == starter.STARTER_PACKAGE else base.name
    cached = next((part for part in reversed(base.path.parts) if CACHED.fullmatch(part)), None)
    return cached.removeprefix("models--").replace("--", "/", 1) if cached and base.source == "folder" else base.name


def card(checkpoint: Checkpoint, form: str, report: dict[str, Any]) -> str:
    """README.md. `form`: adapter, merged or full; `report`: the ExportReport of merged weights."""
    base = checkpoint.base_model
    parts = [
        _front_matter(base, form),
        f"# {checkpoint.name}",
        f"Epoch {checkpoint.epoch} (step {checkpoint.step}) of the training job {checkpoint.job_id}: {WORDS[form]}, "
        f"made from {public_name(base)} by Hone." + (f" Licence of the base: {base.licence}." if base.licence else ""),
        _section("Loading", _loading(checkpoint, form)),
        _section("Function calling", words) if (words := _tools(checkpoint)) else "",
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


def _loading(checkpoint: Checkpoint, form: str) -> str:
    base, rank = checkpoint.base_model, rank_of(checkpoint)
    form = "adapter" if form == "adapter" else "merged"
    names = {"base": public_name(base), "folder": "this-folder", "rank": room_for(rank) or rank}
    code = f"```python\n{LOADING[form].format(**names)}\n```\n\n```sh\n{SERVING[form].format(**names)}\n```"
    return f"{code}\n\n{OTHER_WEIGHTS}" if form == "adapter" and base.source == "package" else code


def _tools(checkpoint: Checkpoint) -> str:
    """How others hand it functions, where it was trained with some: the words that it knows."""
    template = _template(checkpoint.base_model) if _saw_tools(checkpoint) else None
    if template is None:
        return ""
    flags = TOOL_FLAGS.format(parser=template.style.parser)
    if template.style.native:
        return f"It was trained with functions, which its chat template shows. {flags}"
    if with_tools(template):
        return f"{TOOLS_ADDED} {flags}"
    introduction = tools.INTRODUCTION.format(functions="{one function a line, as JSON}")
    return f"{TOOLS_AS_TEXT.format(introduction=introduction)}\n\n{flags}"


def template_with_tools(checkpoint: Checkpoint) -> str | None:
    """The chat template to hand out instead of the base's: only where it was trained with functions that the base's
    does not show, and where both say the same."""
    template = _template(checkpoint.base_model) if _saw_tools(checkpoint) else None
    return with_tools(template) if template else None


def _saw_tools(checkpoint: Checkpoint) -> bool:
    """In this job or in one before it."""
    current: Checkpoint | None = checkpoint
    while current is not None:
        file = current.job.training_file
        if file and file.statistics.get("rows_with_tools"):
            return True
        current = current.job.start_checkpoint
    return False


def _template(base: BaseModel) -> Template | None:
    try:
        return Template.load(base.path)
    except (EngineError, OSError):  # its files are gone or broken: the download goes on without this section
        return None


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
