"""The numbers behind every "auto", and what a job will take. No torch.

The rules are stated in the reasons they give, and nowhere else; the form shows them beside the fields.
"""

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

from training.engine.errors import InvalidRecipe, InvalidTrainingFile
from training.engine.facts import StartFacts
from training.engine.facts import read_model_facts as read_model_facts
from training.engine.facts import read_start_facts as read_start_facts
from training.engine.spec import Adaptation, DataFacts, DeviceFacts, Estimate, ModelFacts, Recipe, Resolved

# Base learning rate for LoRA by the model's size: the first row whose limit is not below the number of parameters.
# Full weights take a tenth of it: LoRA's best rate is about ten times that of full training at every size that was
# measured (Schulman et al., "LoRA Without Regret", 2025), and it falls with the width of the model.
LORA_LEARNING_RATES = [(0.5e9, 5e-4), (2e9, 3e-4), (15e9, 2e-4), (math.inf, 1e-4)]
FULL_SHARE = 0.1
LORA_R = 16
WARMUP_RATIO = 0.03
LARGEST_SERVED_RANK = 512  # vLLM's limit


# ---- auto ----


def auto_epochs(rows: int) -> int:
    """OpenAI's published default: 3, more for small files, fewer for large ones."""
    if 3 * rows < 100:
        return min(25, 100 // rows)
    if 3 * rows > 25_000:
        return max(1, 25_000 // rows)
    return 3


def auto_batch_size(rows: int) -> int:
    """OpenAI's 0.2 % of the rows, at most 256; ours: a row for every 25, up to 4, for steadier steps on small files."""
    share = max(1, min(256, round(0.002 * rows)))
    return max(share, min(4, rows // 25))


def base_learning_rate(model: ModelFacts, adaptation: Adaptation) -> float:
    rate = next(rate for limit, rate in LORA_LEARNING_RATES if model.parameters <= limit)
    return rate if adaptation == "lora" else rate * FULL_SHARE


def resolve(
    recipe: Recipe,
    data: DataFacts,
    model: ModelFacts,
    device: DeviceFacts,
    *,
    valid: DataFacts | None = None,
    start: StartFacts | None = None,
    data_format: str = "",
) -> Resolved:
    """Numbers for every auto, each with its reason.

    Raises InvalidRecipe, InvalidTrainingFile or ModelProblem for pairs that cannot work. `start` describes the
    checkpoint that is continued from; `data_format` "chat" or "completion" where it is known.
    """
    _check_pairs(recipe, data, model, device, data_format)
    reasons: dict[str, str] = {}

    def pick(field: str, value: Any, reason: str) -> Any:
        """The person's own value, else ours with its reason."""
        asked = getattr(recipe, field)
        if asked != "auto":
            return asked
        reasons[field] = reason
        return value

    lora = recipe.adaptation == "lora"
    shape = start if start and _trains_on(recipe, start) else None
    kind = "LoRA" if lora else "full weights"
    rate = base_learning_rate(model, recipe.adaptation)
    multiplier = pick(
        "learning_rate_multiplier",
        1.0,
        f"1 x the base rate {rate:g} for {kind} on a model of {_count(model.parameters)} parameters.",
    )
    longest = max(data.longest_tokens, valid.longest_tokens if valid else 0)
    r = pick("lora_r", *_auto_rank(shape)) if lora else None
    if start:
        reasons["adaptation"] = continuing(recipe.adaptation, r, start, trains_on=shape is not None)
    if lora and r and start and start.lora_r and not shape and start.lora_r + r > LARGEST_SERVED_RANK:
        raise InvalidRecipe(
            f"The checkpoint's adapter has rank {start.lora_r}; with a new one of rank {r} beside it the saved adapter "
            f"would have rank {start.lora_r + r}, and vLLM serves at most {LARGEST_SERVED_RANK}. Choose a smaller "
            "rank, the checkpoint's own shape (auto), or full weights.",
            param="lora_r",
        )
    return Resolved(
        n_epochs=pick("n_epochs", auto_epochs(data.rows), _epochs_reason(data.rows)),
        batch_size=pick("batch_size", auto_batch_size(data.rows), _batch_reason(data.rows)),
        learning_rate_multiplier=multiplier,
        base_learning_rate=rate,
        learning_rate=rate * multiplier,
        adaptation=recipe.adaptation,
        lora_r=r,
        lora_alpha=pick("lora_alpha", *_auto_alpha(r, shape)) if lora and r else None,
        lora_dropout=recipe.lora_dropout if lora else 0.0,
        target_modules=pick("target_modules", *_auto_modules(model, shape)) if lora else [],
        max_length=pick("max_length", *_auto_length(longest, model.context_length)),
        lr_scheduler=pick("lr_scheduler", "linear", "The rate falls evenly to zero: every job can end well settled."),
        warmup_ratio=pick("warmup_ratio", WARMUP_RATIO, "The first 3 % of the steps, while Adam's averages fill."),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        dtype=pick("dtype", *_auto_dtype(device)),
        reasons=reasons,
    )


def _check_pairs(
    recipe: Recipe,
    data: DataFacts,
    model: ModelFacts,
    device: DeviceFacts,
    data_format: str,
) -> None:
    if data.rows < 1:
        raise InvalidTrainingFile("The training file has no rows. Upload a file with at least one example.")
    if data.trained_tokens < 1:
        raise InvalidTrainingFile(
            "The training file has nothing to train on: no assistant message, or every one has weight 0."
        )
    if data_format == "chat" and not model.has_chat_template:
        raise InvalidTrainingFile(
            f"{model.name} has no chat template, so it cannot be trained on chat messages. "
            "Use rows of prompt and completion, or another base model."
        )
    if recipe.max_length != "auto" and recipe.max_length > model.context_length:
        raise InvalidRecipe(
            f"max_length {recipe.max_length} is over the context of {model.name}, "
            f"{model.context_length} tokens. Choose at most that.",
            param="max_length",
        )
    if recipe.dtype == "bfloat16" and not device.bfloat16:
        raise InvalidRecipe(f"{device.name} cannot compute in bfloat16. Choose float32 or auto.", param="dtype")
    if recipe.adaptation == "lora":
        _check_lora(recipe, model)
    else:
        _check_full(recipe)


def _check_lora(recipe: Recipe, model: ModelFacts) -> None:
    if recipe.target_modules != "auto":
        unknown = [name for name in recipe.target_modules if name not in model.linear_modules]
        if unknown or not recipe.target_modules:
            what = f"has no linear layer named {', '.join(unknown)}" if unknown else "needs at least one target module"
            raise InvalidRecipe(
                f"{model.name} {what}. Choose among: {', '.join(model.linear_modules)}.", param="target_modules"
            )


def _trains_on(recipe: Recipe, start: StartFacts) -> bool:
    """Whether the checkpoint's own adapter is the one that learns."""
    return recipe.adaptation == "lora" and start.has_shape(recipe.lora_r, recipe.lora_alpha, recipe.target_modules)


def _joins(resolved: Resolved, start: StartFacts) -> bool:
    """Whether a new adapter learns beside the checkpoint's."""
    same = start.has_shape(resolved.lora_r, resolved.lora_alpha, resolved.target_modules)
    return start.kind == resolved.adaptation == "lora" and not same


def continuing(adaptation: Adaptation, r: int | None, start: StartFacts, *, trains_on: bool) -> str:
    """What happens to the checkpoint that a job starts from, for people."""
    if adaptation == "full":
        what = "merged into the base" if start.kind == "lora" else "all of them trained on"
        return f"Starts from the checkpoint's weights, {what}."
    if start.kind == "full":
        return (
            "The checkpoint has full weights: an adapter learns on top of them and is merged when saved, "
            "so that the new checkpoints are full weights too."
        )
    if trains_on:
        return "The checkpoint's own adapter is trained on."
    return (
        f"Another shape than the checkpoint's adapter (rank {start.lora_r}): that one stays as it is, a new one learns "
        f"beside it, and both are saved as one adapter of rank {(start.lora_r or 0) + (r or 0)}."
    )


def _check_full(recipe: Recipe) -> None:
    for field in ("lora_r", "lora_alpha", "target_modules"):
        if getattr(recipe, field) != "auto":
            raise InvalidRecipe(
                f"{field} belongs to LoRA and has no meaning for full weights. Leave it on auto or choose LoRA.",
                param=field,
            )


def _epochs_reason(rows: int) -> str:
    if 3 * rows < 100:
        return f"{rows} rows are few: OpenAI's rule, 100 / rows, at most 25."
    if 3 * rows > 25_000:
        return f"{_count(rows)} rows are many: OpenAI's rule, 25,000 / rows, at least 1."
    return "3, OpenAI's default between 34 and 8,333 rows."


def _batch_reason(rows: int) -> str:
    if auto_batch_size(rows) == max(1, min(256, round(0.002 * rows))):
        return f"0.2 % of {_count(rows)} rows, between 1 and 256: OpenAI's rule."
    return f"One row for every 25 of {_count(rows)}, up to 4: steadier steps on a small file than OpenAI's 0.2 %."


def _auto_rank(start: StartFacts | None) -> tuple[int, str]:
    if start and start.lora_r:
        return start.lora_r, "The rank of the checkpoint that is continued."
    return LORA_R, "16: enough for style, format and task; higher ranks cost memory and serving speed."


def _auto_alpha(r: int | None, start: StartFacts | None) -> tuple[int, str]:
    if start and start.lora_alpha:
        return start.lora_alpha, "The alpha of the checkpoint that is continued."
    return 2 * (r or LORA_R), "Twice the rank, so that changing the rank does not change the step size."


def _auto_modules(model: ModelFacts, start: StartFacts | None) -> tuple[list[str], str]:
    if start and start.target_modules:
        return list(start.target_modules), "The modules of the checkpoint that is continued."
    return model.linear_modules, "Every linear layer: adapters on attention alone learn less at equal size."


def _auto_length(longest: int, context: int) -> tuple[int, str]:
    if longest > context:
        return context, f"The model's context; the longest row has {_count(longest)} tokens and will be cut."
    return min(context, max(64, 64 * math.ceil(longest / 64))), (
        f"The longest row has {_count(longest)} tokens: nothing is cut."
    )


def _auto_dtype(device: DeviceFacts) -> tuple[Literal["float32", "bfloat16"], str]:
    if device.bfloat16:
        return "bfloat16", f"{device.name} computes in bfloat16, about twice as fast; updates are kept in float32."
    return "float32", f"{device.name} has no bfloat16."


def _count(number: int) -> str:
    for limit, sign in ((1e9, "B"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.3g}{sign}"
    return f"{number:,}"


# ---- memory ----

# Sustained training speed in FLOP/s, well under the peaks that data sheets name.
GPU_FLOPS = {"H200": 4.0e14, "H100": 3.5e14, "A100": 1.4e14, "L40": 0.8e14, "4090": 0.7e14, "L4": 0.4e14, "T4": 0.15e14}
OTHER_GPU_FLOPS = 0.5e14
CPU_CORE_FLOPS = {"bfloat16": 7.0e10, "float32": 2.5e10}
START_SECONDS = 12.0  # interpreter, imports, weights
OWN_BYTES = 700 << 20  # interpreter and libraries on a CPU, kernels and caches on a GPU


@dataclass(frozen=True)
class MemoryPlan:
    """How a job is put into memory. Tokens are padded ones of one forward pass."""

    micro_batch_tokens: int
    checkpoint_activations: bool
    peak_bytes: int


def plan_memory(
    model: ModelFacts, trainable: int, dtype: str, max_length: int, rows: int, device: DeviceFacts
) -> MemoryPlan:
    """Chooses the size of a forward pass; `rows` is the batch.

    A row of any length up to max_length has to fit alone; activations are recomputed when it would not otherwise.
    """
    size = 2 if dtype == "bfloat16" else 4
    fixed = OWN_BYTES + model.parameters * size + state_bytes(trainable, dtype)
    per_token = model.layers * (16 * model.hidden_size + 6 * model.intermediate_size) * size
    per_token_recomputed = model.layers * model.hidden_size * size + per_token // max(1, model.layers)
    room = max(0, int(device.free_bytes * 0.85) - fixed)
    recompute = max_length * per_token > room
    cost = per_token_recomputed if recompute else per_token
    cap = 2048 if device.kind == "cpu" else 16_384
    tokens = max(max_length, min(cap, room // max(1, cost)))
    used = min(tokens, max_length * rows)
    logits = min(used, logit_rows(model.vocabulary)) * model.vocabulary * 12
    return MemoryPlan(tokens, recompute, fixed + used * cost + logits)


def state_bytes(trainable: int, dtype: str) -> int:
    """Gradients, Adam's two averages and, for bfloat16, the float32 copies of what is trained."""
    return trainable * (18 if dtype == "bfloat16" else 12)


def logit_rows(vocabulary: int) -> int:
    """How many positions go through the output layer at once: about half a GiB of float32 logits."""
    return max(128, (1 << 29) // (4 * vocabulary))


def trainable_parameters(resolved: Resolved, model: ModelFacts) -> int:
    """Adapters: r x (inputs + outputs) for each matrix; the split between module kinds follows Llama's shapes."""
    if resolved.adaptation == "full":
        return model.parameters
    head = model.hidden_size // model.heads
    kv = model.kv_heads * head
    hidden, inner = model.hidden_size, model.intermediate_size
    sides = {"k_proj": hidden + kv, "v_proj": hidden + kv, "gate_proj": hidden + inner, "up_proj": hidden + inner}
    sides["down_proj"] = inner + hidden
    widths = sum(sides.get(name, 2 * hidden) for name in resolved.target_modules)
    return (resolved.lora_r or 0) * widths * model.layers


# ---- estimate ----


def estimate(
    resolved: Resolved,
    data: DataFacts,
    model: ModelFacts,
    device: DeviceFacts,
    valid: DataFacts | None = None,
    start: StartFacts | None = None,
) -> Estimate:
    """Steps, tokens, time, memory and disk of a job, with warnings for people; `start` as in `resolve`."""
    steps_per_epoch = math.ceil(data.rows / resolved.batch_size)
    kept, cut_rows = _after_truncation(data, resolved.max_length)
    trainable = trainable_parameters(resolved, model)
    plan = plan_memory(model, trainable, resolved.dtype, resolved.max_length, resolved.batch_size, device)
    disk = resolved.n_epochs * checkpoint_bytes(resolved, model, trainable, start) + trainable * 12
    tokens = kept * resolved.n_epochs
    valid_tokens = valid.tokens * resolved.n_epochs if valid else 0
    fits = plan.peak_bytes <= device.free_bytes
    warnings = _warnings(resolved, data, model, device, valid, cut_rows, plan, fits)
    if start and resolved.adaptation == "lora" and (start.kind == "full" or _joins(resolved, start)):
        warnings.append(resolved.reasons["adaptation"])
    return Estimate(
        steps=steps_per_epoch * resolved.n_epochs,
        steps_per_epoch=steps_per_epoch,
        tokens=tokens,
        trained_tokens=round(data.trained_tokens * resolved.n_epochs * kept / max(1, data.tokens)),
        truncated_rows=cut_rows,
        seconds=_seconds(resolved, model, device, tokens, valid_tokens, plan.checkpoint_activations),
        memory_bytes=plan.peak_bytes,
        disk_bytes=disk,
        fits=fits,
        warnings=warnings,
    )


def _after_truncation(data: DataFacts, max_length: int) -> tuple[int, int]:
    """Tokens of a pass that are left, and rows that are cut; scaled up when `lengths` is only a sample."""
    if data.longest_tokens <= max_length or not data.lengths:
        return data.tokens, 0
    share = sum(min(length, max_length) for length in data.lengths) / sum(data.lengths)
    cut = sum(length > max_length for length in data.lengths) / len(data.lengths)
    return round(data.tokens * share), max(1, round(data.rows * cut))


def checkpoint_bytes(resolved: Resolved, model: ModelFacts, trainable: int, start: StartFacts | None = None) -> int:
    """Weights, tokenizer, and the optimizer's state for going on."""
    size = 2 if resolved.dtype == "bfloat16" else 4
    weights = trainable * size
    if resolved.adaptation == "full" or (start and start.kind == "full"):
        weights = model.parameters * size
    elif start and resolved.lora_r and _joins(resolved, start):
        weights = weights * (resolved.lora_r + (start.lora_r or 0)) // resolved.lora_r
    return weights + trainable * 12 + 80 * model.vocabulary


def _seconds(
    resolved: Resolved, model: ModelFacts, device: DeviceFacts, tokens: int, valid_tokens: int, recompute: bool
) -> float:
    """FLOP per token: 2 a weight forward, 2 for the activations' gradient, 2 more where weights are trained."""
    if device.kind == "cpu":
        speed = CPU_CORE_FLOPS[resolved.dtype] * (os.cpu_count() or 1)
    else:
        speed = next((rate for name, rate in GPU_FLOPS.items() if name in device.name), OTHER_GPU_FLOPS)
        speed *= 1 if resolved.dtype == "bfloat16" else 0.2
    per_token = (4 if resolved.adaptation == "lora" else 6) + (2 if recompute else 0)
    work = (tokens * per_token + valid_tokens * 2) * model.parameters
    load = model.parameters * 2 / 1e9  # a GB of weights a second from disk
    return START_SECONDS + load + work / speed + resolved.n_epochs * 1.5


def _warnings(
    resolved: Resolved,
    data: DataFacts,
    model: ModelFacts,
    device: DeviceFacts,
    valid: DataFacts | None,
    cut_rows: int,
    plan: MemoryPlan,
    fits: bool,
) -> list[str]:
    found = []
    if not fits:
        found.append(
            f"About {plan.peak_bytes / 2**30:.1f} GiB are needed and {device.free_bytes / 2**30:.1f} GiB are free on "
            f"{device.name}. Use LoRA, a smaller model or a smaller max_length."
        )
    if cut_rows:
        found.append(f"{cut_rows:,} rows are longer than {resolved.max_length:,} tokens and will be cut from the end.")
    if valid and valid.longest_tokens > resolved.max_length:
        found.append("Some validation rows are longer than max_length and will be cut too.")
    if valid is None:
        found.append("No validation file: checkpoints cannot be compared by validation loss.")
    if data.rows < resolved.batch_size:
        found.append(f"The batch holds {resolved.batch_size} rows but the file only {data.rows}: one step an epoch.")
    if data.rows < 10:
        found.append(f"Only {data.rows} rows; 50 to 100 good examples usually show a clear effect.")
    if plan.checkpoint_activations and fits:
        found.append("Long rows: activations are computed twice to save memory, which is slower.")
    if device.kind == "cpu" and model.parameters > 1e9:
        found.append("A model of this size trains very slowly without a GPU.")
    return found
