"""What is known of a base model or of a checkpoint without loading its weights. No torch."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine.errors import ModelProblem
from training.engine.spec import Adaptation, LoraVariant, ModelFacts
from training.engine.weights import SCRATCH_FILE, is_adapter, tensor_shapes

TOKENIZER_FILES = [  # what turns text into tokens and answers; a checkpoint carries its base model's
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
]


def read_model_facts(folder: Path, name: str) -> ModelFacts:
    """From config.json and the headers of the weights; raises ModelProblem when the folder is no usable model."""
    config = _config(folder)
    shapes = tensor_shapes(folder)
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    heads = _first(config, "num_attention_heads", "n_head", "num_heads")
    return ModelFacts(
        name=name,
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        hidden_size=hidden,
        intermediate_size=config.get("intermediate_size") or config.get("n_inner") or 4 * hidden,
        layers=_first(config, "num_hidden_layers", "n_layer", "num_layers"),
        vocabulary=_first(config, "vocab_size"),
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        context_length=_first(config, "max_position_embeddings", "n_positions", "seq_length"),
        has_chat_template=_has_template(folder),
        linear_modules=_linear_modules(shapes),
        other_modules=_other_modules(shapes),
        untrained=(folder / SCRATCH_FILE).exists(),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
    )


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        raise ModelProblem(f"{folder} has no config.json: the model's folder is gone or incomplete. Add it again.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelProblem(f"{path} is not valid JSON: {error}") from error
    if config.get("quantization_config"):
        raise ModelProblem(f"{folder} holds quantised weights, which cannot be trained on. Use the original model.")
    return {**config, **config.get("text_config", {})}


def _first(config: dict[str, Any], *names: str) -> int:
    for name in names:
        if isinstance(config.get(name), int):
            return config[name]
    raise ModelProblem(f"config.json has no {names[0]}. This kind of model is not supported.")


def _has_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists():
        return True
    for name in ("tokenizer_config.json", "chat_template.json"):
        path = folder / name
        if path.exists() and json.loads(path.read_text(encoding="utf-8")).get("chat_template"):
            return True
    return False


def _linear_modules(shapes: dict[str, list[int]]) -> list[str]:
    """Short names of the matrices in the layers; experts and routers of a mixture are left out."""
    names = []
    for tensor, shape in shapes.items():
        found = re.search(r"\.\d+\.(?:.*\.)?([^.]+)\.weight$", tensor)
        if found and len(shape) == 2 and ".experts." not in tensor and found[1] not in ("gate", "router"):
            names.append(found[1])
    return list(dict.fromkeys(names))


def _other_modules(shapes: dict[str, list[int]]) -> list[str]:
    """Short names of what else has weights: embeddings, norms, the output layer; experts are left out."""
    tensors = (tensor.split(".") for tensor in shapes if tensor.endswith(".weight") and ".experts." not in tensor)
    names = dict.fromkeys(parts[-2] for parts in tensors if len(parts) > 1)
    linear = _linear_modules(shapes)
    return [name for name in names if name not in linear]


@dataclass(frozen=True)
class StartFacts:
    """The shape of the checkpoint that a job continues from."""

    kind: Adaptation
    lora_r: int | None = None
    lora_alpha: int | None = None
    target_modules: tuple[str, ...] = ()
    variant: LoraVariant = "lora"

    def has_shape(
        self, r: int | str | None, alpha: int | str | None, modules: Iterable[str] | str, variant: str = "auto"
    ) -> bool:
        """Whether an adapter asked for like this is this one; "auto" takes what is there."""
        modules = modules if modules == "auto" else tuple(sorted(modules))
        pairs = [(r, self.lora_r), (alpha, self.lora_alpha), (modules, self.target_modules), (variant, self.variant)]
        return self.kind == "lora" and all(asked in ("auto", has) for asked, has in pairs)


def read_start_facts(folder: Path) -> StartFacts:
    """Raises ModelProblem when the folder holds no checkpoint."""
    if not is_adapter(folder):
        _config(folder)
        return StartFacts(kind="full")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    modules = config.get("target_modules") or []
    variant: LoraVariant = "rslora" if config.get("use_rslora") else "lora"
    return StartFacts("lora", config["r"], config["lora_alpha"], tuple(sorted(modules)), variant)
