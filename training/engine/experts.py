"""The settings for experts: which of them work together here, and the numbers behind their autos. No torch."""

import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from training.engine.errors import InvalidRecipe
from training.engine.facts import StartFacts
from training.engine.memory import plan_memory
from training.engine.spec import DeviceFacts, ModelFacts, Recipe, Resolved, Sharding, merges

Pick = Callable[[str, Any, str], Any]
EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")
NEEDS_GPU = "{what} needs an NVIDIA GPU: bitsandbytes computes it there only. This device is {device}. Choose {other}."
NOT_INSTALLED = (
    "{what} needs the package bitsandbytes, which is not installed here. Install it with `.venv/bin/pip install "
    "bitsandbytes`, or choose {other}."
)


def expert_checks(
    recipe: Recipe, model: ModelFacts, device: DeviceFacts, start: StartFacts | None
) -> list[Callable[[], None]]:
    """Each raises InvalidRecipe, naming the field, for what cannot work."""
    full = recipe.adaptation == "full"
    return [
        lambda: _check_quantization(recipe, device),
        lambda: _check_sharding(recipe, start),
        lambda: _check_optimizer(recipe, device),
        lambda: _check_full(recipe) if full else _check_adapter(recipe, model, start),
    ]


def _check_quantization(recipe: Recipe, device: DeviceFacts) -> None:
    if recipe.quantization == "4bit":
        _check_bitsandbytes("QLoRA (4-bit weights)", "quantization", device, "none")


def _check_sharding(recipe: Recipe, start: StartFacts | None) -> None:
    if recipe.sharding == "fsdp" and (trouble := whole_only(recipe, start)):
        raise InvalidRecipe(f"{trouble} cannot be shared out by FSDP. Choose data_parallel or auto.", param="sharding")


def _check_optimizer(recipe: Recipe, device: DeviceFacts) -> None:
    if recipe.optimizer == "adamw_8bit":
        _check_bitsandbytes("8-bit AdamW", "optimizer", device, "adamw")


def _check_bitsandbytes(what: str, param: str, device: DeviceFacts, other: str) -> None:
    if device.kind != "cuda":
        raise InvalidRecipe(NEEDS_GPU.format(what=what, device=device.name, other=other), param=param)
    if find_spec("bitsandbytes") is None:
        raise InvalidRecipe(NOT_INSTALLED.format(what=what, other=other), param=param)


def _check_full(recipe: Recipe) -> None:
    for field, usual in (("lora_variant", "auto"), ("modules_to_save", []), ("quantization", "none")):
        if getattr(recipe, field) != usual:
            raise InvalidRecipe(
                f"{field} belongs to LoRA and has no meaning for full weights. Leave it empty or choose LoRA.",
                param=field,
            )


def _check_adapter(recipe: Recipe, model: ModelFacts, start: StartFacts | None) -> None:
    asked = "modules_to_save" if recipe.modules_to_save else "lora_variant"
    both = set(recipe.modules_to_save) & set(model.linear_modules)
    if both:
        raise InvalidRecipe(
            f"{', '.join(sorted(both))} gets an adapter; a module is trained in full or by an adapter, not both. "
            "Name others, or choose full weights.",
            param=asked,
        )
    if model.tied_embeddings and set(recipe.modules_to_save) & set(EMBEDDINGS):
        raise InvalidRecipe(
            f"In {model.name} the embedding and the output layer are one matrix; training one of them in full would "
            "tear them apart. Leave both out, or choose full weights.",
            param=asked,
        )
    _check_known(recipe, model)
    if not merges(recipe.lora_variant, recipe.modules_to_save):
        return
    what = "DoRA" if recipe.lora_variant == "dora" else "modules_to_save"
    if recipe.quantization != "none":
        raise InvalidRecipe(
            f"{what} is saved merged into the weights, and 4-bit weights cannot be merged without loss. "
            "Choose one of the two.",
            param="quantization",
        )
    if start and start.kind == "lora":
        raise InvalidRecipe(
            f"The checkpoint is an adapter, and {what} cannot learn beside one. Start from the base model or from a "
            "checkpoint of full weights, or leave it out.",
            param=asked,
        )


def _check_known(recipe: Recipe, model: ModelFacts) -> None:
    """peft passes over a name that it does not find; then nothing would be trained in full."""
    known = [name for name in model.other_modules if not (model.tied_embeddings and name in EMBEDDINGS)]
    unknown = [name for name in recipe.modules_to_save if name.rpartition(".")[2] not in known]
    if model.other_modules and unknown:
        raise InvalidRecipe(
            f"{model.name} has no module named {', '.join(unknown)} to train in full. "
            f"Choose among: {', '.join(known)}.",
            param="modules_to_save",
        )


def resolve_experts(
    recipe: Recipe, model: ModelFacts, device: DeviceFacts, start: StartFacts | None, trains_on: bool, pick: Pick
) -> dict[str, Any]:
    """The fields of `Resolved` that this file is about."""
    lora = recipe.adaptation == "lora"
    continued = start.variant if start and trains_on else "lora"
    why = "The checkpoint's own kind." if start and trains_on else "Plain LoRA: the one that is served fastest."
    same = (
        "modules_to_save", "quantization", "min_learning_rate_ratio", "neftune_alpha", "validate_every_steps",
        "stop_metric", "stop_patience", "stop_min_change", "on_spike",
        "keep_checkpoints", "keep_count", "keep_metric",
    )  # fmt: skip
    return {
        **{name: getattr(recipe, name) for name in same},
        "lora_variant": pick("lora_variant", continued, why) if lora else "lora",
        "optimizer": pick("optimizer", "adamw", "AdamW with float32 averages: exact, and small beside the weights."),
    }


def resolve_checkpointing(
    resolved: Resolved, model: ModelFacts, trainable: int, device: DeviceFacts
) -> tuple[str, str]:
    """On or off by the memory that the rest needs, and why."""
    sizes = _sizes(resolved, device)
    ways = ("auto", resolved.quantization, resolved.optimizer)
    plan = plan_memory(model, trainable, *sizes, device, *ways, shards=shards(resolved, device))
    if plan.checkpoint_activations:
        return (
            "on",
            f"A row of {resolved.max_length:,} tokens does not fit otherwise; it costs about a third more time.",
        )
    return "off", f"A row of {resolved.max_length:,} tokens fits into the free memory without it."


def _sizes(resolved: Resolved, device: DeviceFacts) -> tuple[str, int, int]:
    """Number format, padded tokens of a row, rows of a batch on each device."""
    return resolved.dtype, resolved.row_tokens, math.ceil(resolved.batch_size / device.count)


def shards(resolved: Resolved, device: DeviceFacts) -> int:
    """Devices that share out weights and optimizer."""
    return device.count if resolved.sharding == "fsdp" else 1


def resolve_sharding(
    resolved: Resolved, model: ModelFacts, trainable: int, device: DeviceFacts, start: StartFacts | None
) -> tuple[Sharding, str]:
    """What several devices do with the weights, and why."""
    if device.count == 1:
        return "data_parallel", "A job has one device here; the setting HONE_DEVICES_PER_JOB gives it more."
    if trouble := whole_only(resolved, start):
        return "data_parallel", f"{trouble} cannot be shared out: each of the {device.count} devices has all weights."
    ways = (resolved.gradient_checkpointing, resolved.quantization, resolved.optimizer)
    needed = plan_memory(model, trainable, *_sizes(resolved, device), device, *ways).peak_bytes
    figures = (
        f"{needed / 2**30:.1f} GiB on each of {device.count} devices, {device.free_bytes / 2**30:.1f} GiB are free"
    )
    if needed <= device.free_bytes:
        return "data_parallel", f"All weights take about {figures}: they fit, which is the fastest way."
    return "fsdp", f"All weights would take about {figures}: weights, gradients and averages are shared out."


def whole_only(asked: Recipe | Resolved, start: StartFacts | None) -> str:
    """What FSDP has no slices of here; empty where it can be used."""
    if asked.quantization != "none":
        return "4-bit weights"
    if asked.optimizer == "adamw_8bit":
        return "The averages of 8-bit AdamW"
    if asked.adaptation == "lora" and merges(asked.lora_variant, asked.modules_to_save):
        return "DoRA adapters and modules trained in full beside an adapter, which are merged when saved,"
    if asked.adaptation == "lora" and start and start.kind == "full":
        return "An adapter on a checkpoint of full weights, which is merged when saved,"
    return ""


def merged_reason(resolved: Resolved) -> str:
    """Why the checkpoints are no adapters."""
    what = "DoRA adapters" if resolved.lora_variant == "dora" else "adapters with modules of their own"
    return f"vLLM does not serve {what}: checkpoints are saved as full weights with the adapter merged in."
