"""How much memory and context a vLLM server of a model takes, read from the model's folder before it is started."""

import json
import math
from pathlib import Path
from typing import Any

from playground.vllm import CONTEXT_TOKENS, VllmError

GIB = 1 << 30
PROCESSES_BYTES = int(2.2 * GIB)  # of the server's processes on a CPU, without weights and cache (measured 2.1)
CUDA_CONTEXT_BYTES = 2 * GIB


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json, of its text part."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise VllmError(f"{folder} holds no readable config.json, so its model cannot be loaded: {error}") from error
    return config | config.get("text_config", {})


def context_of(folder: Path) -> int:
    """Tokens of context that a server of this model is started with."""
    limit = read_config(folder).get("max_position_embeddings") or CONTEXT_TOKENS
    return min(int(limit), CONTEXT_TOKENS)


def weights_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def cache_gib(folder: Path, context_tokens: int) -> int:
    """Key-value cache for four conversations of full length, in whole GiB as vLLM's CPU build wants it."""
    config = read_config(folder)
    heads = config.get("num_attention_heads") or 1
    head_size = config.get("head_dim") or (config.get("hidden_size") or 1024) // heads
    kv_heads = config.get("num_key_value_heads") or heads
    per_token = 2 * (config.get("num_hidden_layers") or 32) * kv_heads * head_size * 2
    return max(1, min(16, math.ceil(per_token * context_tokens * 4 / GIB)))


def needed_bytes(folder: Path, kind: str) -> int:
    """Memory that a server of this model takes, of the machine or of the GPU."""
    cache = cache_gib(folder, context_of(folder)) * GIB
    return weights_bytes(folder) + cache + (PROCESSES_BYTES if kind == "cpu" else CUDA_CONTEXT_BYTES)
