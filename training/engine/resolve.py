"""The numbers behind every "auto". No torch.

The rules are stated in the reasons they give, and nowhere else; the form shows them beside the fields.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

from training.engine.blocks import auto_block_batch, auto_block_length, auto_text_epochs, block_facts
from training.engine.errors import EngineError, InvalidRecipe, InvalidTrainingFile
from training.engine.experts import (
    Pick,
    expert_checks,
    merged_reason,
    resolve_checkpointing,
    resolve_experts,
    resolve_sharding,
)
from training.engine.facts import StartFacts
from training.engine.memory import trainable_parameters
from training.engine.preference_values import RATE_SHARE, auto_beta, auto_pair_epochs, check_method
from training.engine.spec import Adaptation, DataFacts, DeviceFacts, ModelFacts, Recipe, Resolved

# Base learning rate for LoRA by the model's size: the first row whose limit is not below the number of parameters.
# Full weights take a tenth of it: LoRA's best rate is about ten times that of full training at every size that was
# measured (Schulman et al., "LoRA Without Regret", 2025), and it falls with the width of the model.
LORA_LEARNING_RATES = [(0.5e9, 5e-4), (2e9, 3e-4), (15e9, 2e-4), (math.inf, 1e-4)]
FULL_SHARE = 0.1
# Random weights take what GPT-3 took by size (Brown et al., 2020, table 2.1), smaller ones than its smallest more.
SCRATCH_LEARNING_RATES = [(30e6, 1e-3), (0.2e9, 6e-4), (0.5e9, 3e-4), (1e9, 2.5e-4), (math.inf, 2e-4)]
LORA_R = 16
WARMUP_RATIO = 0.03
LARGEST_SERVED_RANK = 512  # vLLM's limit


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


def base_learning_rate(model: ModelFacts, adaptation: Adaptation, untrained: bool = False) -> float:
    table = SCRATCH_LEARNING_RATES if untrained else LORA_LEARNING_RATES
    rate = next(rate for limit, rate in table if model.parameters <= limit)
    if untrained:
        return rate
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
    checkpoint that is continued from; `data_format` "chat", "completion" or "preference" where it is known.
    """
    check_recipe(recipe, model, device, validated=valid is not None, start=start, data_format=data_format)
    _check_data(data, model, data_format)
    check_length(recipe, data, model)
    if valid:
        check_length(recipe, valid, model, "validation")
    reasons: dict[str, str] = {}

    def pick(field: str, value: Any, reason: str) -> Any:
        """The person's own value, else ours with its reason."""
        asked = getattr(recipe, field)
        if asked != "auto":
            return asked
        reasons[field] = reason
        return value

    shape = start if start and _trains_on(recipe, start) else None
    longest = max(data.longest_tokens, valid.longest_tokens if valid else 0)
    scheduler = pick("lr_scheduler", "linear", "The rate falls evenly to zero: every job can end well settled.")
    resolved = Resolved(
        method=recipe.method,
        **_sizes(recipe, data, longest, model, pick),
        **_rates(recipe, model, model.untrained and start is None, pick),
        beta=pick("beta", *auto_beta()) if recipe.method == "dpo" else None,
        adaptation=recipe.adaptation,
        **_adapter(recipe, model, shape, pick),
        lr_scheduler=scheduler,
        warmup_ratio=pick("warmup_ratio", *_auto_warmup(scheduler)),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        dtype=pick("dtype", *_auto_dtype(device)),
        **resolve_experts(recipe, model, device, start, shape is not None, pick),
        reasons={},
    )
    if start:
        _check_joined_rank(resolved, start, joined=shape is None)
        trains_on = shape is not None
        reasons["adaptation"] = continuing(recipe.adaptation, resolved.lora_r, start, trains_on=trains_on)
    trainable = trainable_parameters(resolved, model)
    resolved.sharding = pick("sharding", *resolve_sharding(resolved, model, trainable, device, start))
    value, reason = resolve_checkpointing(resolved, model, trainable, device)
    resolved.gradient_checkpointing = pick("gradient_checkpointing", value, reason)
    if resolved.saves_merged:
        reasons["adaptation"] = " ".join([reasons.get("adaptation", ""), merged_reason(resolved)]).strip()
    resolved.reasons = reasons
    return resolved


def check_recipe(
    recipe: Recipe,
    model: ModelFacts,
    device: DeviceFacts,
    *,
    validated: bool,
    start: StartFacts | None = None,
    data_format: str = "",
) -> None:
    """What can be said before the tokens are counted. Raises as `resolve` does; `validated`: there is a validation
    set."""
    for fault in recipe_faults(recipe, model, device, validated=validated, start=start, data_format=data_format):
        raise fault


def recipe_faults(
    recipe: Recipe,
    model: ModelFacts,
    device: DeviceFacts,
    *,
    validated: bool,
    start: StartFacts | None = None,
    data_format: str = "",
) -> list[EngineError]:
    """What `check_recipe` finds, all of it: what is wrong in one field does not hide what is wrong in another."""
    checks: list[Callable[[], None]] = [
        lambda: check_method(recipe, data_format),
        lambda: _check_context(recipe, model),
        lambda: _check_packing(recipe),
        lambda: _check_dtype(recipe, device),
        lambda: _check_lora(recipe, model) if recipe.adaptation == "lora" else _check_full(recipe),
        lambda: _check_trained(recipe, model, start),
        lambda: _check_stopping(recipe, validated),
        lambda: _check_keeping(recipe, validated),
        *expert_checks(recipe, model, device, start),
    ]
    found = []
    for check in checks:
        try:
            check()
        except EngineError as fault:
            found.append(fault)
    return found


def _check_trained(recipe: Recipe, model: ModelFacts, start: StartFacts | None) -> None:
    if model.untrained and start is None and recipe.adaptation == "lora":
        raise InvalidRecipe(
            f"{model.name} has random weights, in which an adapter finds nothing to adapt. Choose full weights.",
            param="adaptation",
        )


def _check_stopping(recipe: Recipe, validated: bool) -> None:
    if recipe.stop_metric != "none" and not validated:
        raise InvalidRecipe(
            "Stopping early looks at the validation set, and this job has none. Choose a validation file or a share.",
            param="stop_metric",
        )


def _check_keeping(recipe: Recipe, validated: bool) -> None:
    if recipe.keep_checkpoints == "best" and not validated:
        raise InvalidRecipe(
            "The best checkpoints are told by the validation set, and this job has none. Choose a validation file or "
            "a share, or keep all or the last ones.",
            param="keep_checkpoints",
        )


def _rates(recipe: Recipe, model: ModelFacts, untrained: bool, pick: Pick) -> dict[str, Any]:
    """The base rate for what is trained, and how it is scaled."""
    dpo, lora = recipe.method == "dpo", recipe.adaptation == "lora"
    kind = ("DPO with " if dpo else "") + ("random weights" if untrained else "LoRA" if lora else "full weights")
    rate = base_learning_rate(model, recipe.adaptation, untrained) * (RATE_SHARE if dpo else 1)
    reason = f"The base rate as it is: {rate:g} for {kind} on a model of {_count(model.parameters)} parameters."
    multiplier = pick("learning_rate_multiplier", 1.0, reason)
    return {
        "learning_rate_multiplier": multiplier,
        "base_learning_rate": rate,
        "learning_rate": rate * multiplier,
    }


def _adapter(recipe: Recipe, model: ModelFacts, shape: StartFacts | None, pick: Pick) -> dict[str, Any]:
    """Its shape: that of the checkpoint whose adapter is trained on, else ours. Full weights have none."""
    if recipe.adaptation == "full":
        return {"lora_r": None, "lora_alpha": None, "lora_dropout": 0.0, "target_modules": []}
    r = pick("lora_r", *_auto_rank(shape))
    return {
        "lora_r": r,
        "lora_alpha": pick("lora_alpha", *_auto_alpha(r, shape)),
        "lora_dropout": recipe.lora_dropout,
        "target_modules": pick("target_modules", *_auto_modules(model, shape)),
    }


def _check_joined_rank(resolved: Resolved, start: StartFacts, *, joined: bool) -> None:
    """A new adapter beside the checkpoint's is saved with it as one, which vLLM has to serve."""
    r = resolved.lora_r
    if joined and r and start.lora_r and start.lora_r + r > LARGEST_SERVED_RANK:
        raise InvalidRecipe(
            f"The checkpoint's adapter has rank {start.lora_r}; with a new one of rank {r} beside it the saved adapter "
            f"would have rank {start.lora_r + r}, and vLLM serves at most {LARGEST_SERVED_RANK}. Choose a smaller "
            "rank, the checkpoint's own shape (auto), or full weights.",
            param="lora_r",
        )


def _sizes(recipe: Recipe, data: DataFacts, longest: int, model: ModelFacts, pick: Pick) -> dict[str, Any]:
    """How long a row is, how many are a step, how often all are gone through."""
    packing = pick("packing", *_auto_packing(recipe))
    if recipe.method == "pretrain":
        max_length = pick("max_length", *auto_block_length(data, model.context_length))
        blocks = block_facts(data, max_length, packing == "on")
        epochs, batch = auto_text_epochs(data), auto_block_batch(blocks, max_length)
    else:
        max_length = pick("max_length", *auto_length(longest, model.context_length))
        usual = auto_epochs(data.rows), _epochs_reason(data.rows)
        epochs = auto_pair_epochs(data.rows) if recipe.method == "dpo" else usual
        batch = auto_batch_size(data.rows), _batch_reason(data.rows)
    sizes = {"max_length": max_length, "packing": packing}
    return sizes | {"n_epochs": pick("n_epochs", *epochs), "batch_size": pick("batch_size", *batch)}


def _check_data(data: DataFacts, model: ModelFacts, data_format: str) -> None:
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


def check_length(recipe: Recipe, data: DataFacts, model: ModelFacts, name: str = "training") -> None:
    """Raises InvalidRecipe or InvalidTrainingFile where every answer of the file would be cut away."""
    if recipe.method == "pretrain":  # a document goes on in the next block
        return
    if data.least_length > model.context_length:
        raise InvalidTrainingFile(
            f"Every answer of the {name} file would be cut away: the earliest begins with token "
            f"{_count(data.least_length)}, and {model.name} reads {_count(model.context_length)} at once. Shorten what "
            "stands before the answers, or choose a model with a longer context.",
            param=f"{name}_file",
        )
    if recipe.max_length != "auto" and recipe.max_length < data.least_length:
        raise InvalidRecipe(
            f"max_length {recipe.max_length} cuts every answer of the {name} file away: the earliest begins with "
            f"token {data.least_length}. Choose at least {data.least_length}, or auto.",
            param="max_length",
        )


def _check_context(recipe: Recipe, model: ModelFacts) -> None:
    if recipe.max_length != "auto" and recipe.max_length > model.context_length:
        raise InvalidRecipe(
            f"max_length {recipe.max_length} is over the context of {model.name}, "
            f"{model.context_length} tokens. Choose at most that.",
            param="max_length",
        )


def _check_packing(recipe: Recipe) -> None:
    if recipe.packing == "on" and recipe.method == "dpo":
        raise InvalidRecipe("Preference pairs are not packed. Choose packing: off or auto.", param="packing")


def _check_dtype(recipe: Recipe, device: DeviceFacts) -> None:
    if recipe.dtype == "bfloat16" and not device.bfloat16:
        raise InvalidRecipe(f"{device.name} cannot compute in bfloat16. Choose float32 or auto.", param="dtype")


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
    asked = (recipe.lora_r, recipe.lora_alpha, recipe.target_modules, recipe.lora_variant)
    return recipe.adaptation == "lora" and start.has_shape(*asked)


def joins(resolved: Resolved, start: StartFacts) -> bool:
    """Whether a new adapter learns beside the checkpoint's."""
    asked = (resolved.lora_r, resolved.lora_alpha, resolved.target_modules, resolved.lora_variant)
    same = start.has_shape(*asked)
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
    return "OpenAI's default between 34 and 8,333 rows."


def _batch_reason(rows: int) -> str:
    if auto_batch_size(rows) == max(1, min(256, round(0.002 * rows))):
        return f"0.2 % of {_count(rows)} rows, between 1 and 256: OpenAI's rule."
    return f"One row for every 25 of {_count(rows)}, up to 4: steadier steps on a small file than OpenAI's 0.2 %."


def _auto_rank(start: StartFacts | None) -> tuple[int, str]:
    if start and start.lora_r:
        return start.lora_r, "The rank of the checkpoint that is continued."
    return LORA_R, "Enough for style, format and task; higher ranks cost memory and serving speed."


def _auto_alpha(r: int | None, start: StartFacts | None) -> tuple[int, str]:
    if start and start.lora_alpha:
        return start.lora_alpha, "The alpha of the checkpoint that is continued."
    return 2 * (r or LORA_R), "Twice the rank, so that changing the rank does not change the step size."


def _auto_modules(model: ModelFacts, start: StartFacts | None) -> tuple[list[str], str]:
    if start and start.target_modules:
        return list(start.target_modules), "The modules of the checkpoint that is continued."
    return model.linear_modules, "Every linear layer: adapters on attention alone learn less at equal size."


def auto_length(longest: int, context: int) -> tuple[int, str]:
    if longest > context:
        return context, f"The model's context; the longest row has {_count(longest)} tokens and will be cut."
    return min(context, max(64, 64 * math.ceil(longest / 64))), (
        f"The longest row has {_count(longest)} tokens: nothing is cut."
    )


def _auto_warmup(scheduler: str) -> tuple[float, str]:
    if scheduler == "constant":
        return 0.0, "A constant rate without warm-up, as its name says."
    return WARMUP_RATIO, "The first 3 % of the steps, while Adam's averages fill."


def _auto_dtype(device: DeviceFacts) -> tuple[Literal["float32", "bfloat16"], str]:
    if device.bfloat16:
        return "bfloat16", f"{device.name} computes in bfloat16, about twice as fast; updates are kept in float32."
    return "float32", f"{device.name} has no bfloat16."


def _auto_packing(recipe: Recipe) -> tuple[Literal["on", "off"], str]:
    if recipe.method == "pretrain":
        return "on", "Documents of all lengths fill blocks of one length, their borders kept."
    return "off", "Rows of similar length go together, which leaves little padding to save."


def _count(number: int) -> str:
    for limit, sign in ((1e9, "B"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.3g}{sign}"
    return f"{number:,}"
