"""Loaded by vLLM's worker, inside vLLM's own process (`--worker-extension-cls`); never imported by Hone.

On a CPU, vLLM 0.32 applies adapters by picking each token's weights out of a stack, and a token of the base model bears
the index -1: which picks the last of the stack. So the base model answers with a checkpoint's weights, without an
error, whenever the two are computed together (vllm-project/vllm, pull requests 48421 and 49656, open in November
2026). On GPUs the kernels skip such tokens. Here the adapter's part of these tokens is nothing, as it should be.
"""

from collections.abc import Callable
from typing import Any

import torch
from vllm.lora.ops import torch_ops
from vllm.lora.ops.torch_ops import lora_ops
from vllm.lora.punica_wrapper import punica_cpu

Shrink = Callable[..., None]


def skipping(shrink: Shrink) -> Shrink:
    """x A, with nothing where no adapter is meant; times B that stays nothing."""

    def bgmv_shrink(inputs: Any, weights: Any, output: Any, indices: Any, scaling: float = 1.0) -> None:
        shrink(inputs, weights, output, indices, scaling)
        output.masked_fill_((indices < 0).unsqueeze(1), 0)

    return bgmv_shrink


def check(shrink: Shrink) -> None:
    """Raises where a token without an adapter is changed all the same: better no server than one that mixes models."""
    weights, found = torch.ones(2, 1, 4, 8), torch.full((2, 4), 9.0)
    shrink(torch.ones(2, 8), weights, found, torch.tensor([-1, 1]), 1.0)
    if found.tolist() != [[0.0] * 4, [8.0] * 4]:
        raise RuntimeError("This vLLM mixes an adapter into the base model's answers. Install the version Hone pins.")


for module in (lora_ops, torch_ops, punica_cpu):
    module.bgmv_shrink = skipping(module.bgmv_shrink)
check(punica_cpu.bgmv_shrink)


class Extension:
    """vLLM adds this to its worker's class; that the module is imported is all it is for."""
