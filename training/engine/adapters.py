"""LoRA adapters as they are saved: several as one, or merged into the weights. r rank, I inputs, O outputs of a layer.

peft adds x A^T B^T * scaling to a layer's answer. Two adapters on one layer add both, which is what one adapter adds
that has their A under each other and their scaled B side by side.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper, transpose
from torch import Tensor, nn

from training.engine.sharding import mine, whole


def adapted_layers(causal: nn.Module) -> dict[str, Any]:
    """The layers that carry an adapter, by their full names."""
    return {name: module for name, module in causal.named_modules() if hasattr(module, "lora_A")}


def ranks(network: PeftModel) -> dict[str, int]:
    """Of each adapter by its name."""
    return {name: config.to_dict()["r"] for name, config in network.peft_config.items()}


@torch.no_grad()
def joined_tensors(network: PeftModel, causal: nn.Module) -> dict[str, Tensor]:
    """All adapters of `network` as one of the sum of their ranks and scaling 1, by peft's names in a file.

    A layer that lacks one of them gets zeros in its place, so that the rank is the same everywhere: vLLM wants that.
    """
    tensors: dict[str, Tensor] = {}
    for name, layer in adapted_layers(causal).items():
        parts_A, parts_B = [], []
        kind = mine(next(iter(layer.lora_A.values())).weight)
        for adapter, rank in ranks(network).items():
            if adapter in layer.lora_A:
                parts_A.append(whole(layer.lora_A[adapter].weight))
                parts_B.append((whole(layer.lora_B[adapter].weight).float() * layer.scaling[adapter]).to(kind.dtype))
            else:
                parts_A.append(kind.new_zeros(rank, layer.in_features))
                parts_B.append(kind.new_zeros(layer.out_features, rank))
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.cat(parts_A, dim=0)  # (r, I)
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.cat(parts_B, dim=1)  # (O, r)
    return tensors


@torch.no_grad()
def merged_weight(layer: Any) -> Tensor:
    """The layer's weight with its adapters added; the sum is float32's, the result has the weight's type.

    DoRA (Liu et al., 2024, https://arxiv.org/abs/2402.09353) then gives each output's row the length that was learnt.
    """
    weight = layer.get_base_layer().weight
    merged_OI = transpose(weight.float(), layer.fan_in_fan_out)
    for adapter, scaling in layer.scaling.items():
        product_OI = layer.lora_B[adapter].weight.float() @ layer.lora_A[adapter].weight.float()
        merged_OI = merged_OI + product_OI * scaling
        if adapter in layer.lora_magnitude_vector:
            lengths_O = layer.lora_magnitude_vector[adapter].weight.float() / torch.linalg.norm(merged_OI, dim=1)
            merged_OI = merged_OI * lengths_O[:, None]
    return transpose(merged_OI, layer.fan_in_fan_out).to(weight.dtype)


def _merged_tensors(causal: nn.Module) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """Each parameter that is another one when merged: of adapted layers, and of modules trained in full beside them."""
    for layer in adapted_layers(causal).values():
        yield layer.get_base_layer().weight, merged_weight(layer)
    for module in causal.modules():
        if isinstance(module, ModulesToSaveWrapper):
            trained = dict(module.modules_to_save[module.active_adapters[0]].named_parameters())
            for name, parameter in module.original_module.named_parameters():
                yield parameter, trained[name].detach().clone()


@contextmanager
def merged(causal: nn.Module) -> Iterator[None]:
    """Adapters are part of the weights while it lasts; afterwards these are bit for bit what they were."""
    kept: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for parameter, tensor in _merged_tensors(causal):
            kept.append((parameter, parameter.data))
            parameter.data = tensor
        yield
    finally:
        for parameter, tensor in kept:
            parameter.data = tensor


def tensors_without_adapters(causal: nn.Module) -> dict[str, Tensor]:
    """The weights by the names that they have in a model without adapters."""
    return {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): tensor
        for name, tensor in causal.state_dict(keep_vars=True).items()
        if ".lora_" not in name and ".modules_to_save." not in name
    }
