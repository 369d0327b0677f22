"""RMSNorm with frozen weights as one step of autograd. M positions, D hidden size.

transformers writes  y = w * (x * r),  r = 1 / sqrt(mean(x^2) + eps)  in six steps, and autograd keeps several float32
tensors of x's size for it. Here x and r are kept, and backwards, with h = x * r and v = w * dL/dy,

    dL/dx = r * (v - h * mean(v * h)).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def speed_up_norms(network: nn.Module) -> int:
    """Gives every RMSNorm whose weights are frozen our forward pass, in place; returns how many.

    What a norm computes is not read off its name: one whose answers to a trial differ from ours stays as it is."""
    found = [module for module in network.modules() if _is_plain(module)]
    for module in found:
        module.forward = _Forward(module)  # type: ignore[method-assign]
    return len(found)


class _Forward:
    """In the place of a module's `forward`. The weight is looked up at each call, as it may be moved."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._own, self._epsilon = module, module.forward, _epsilon(module)

    def __call__(self, x: Tensor) -> Tensor:
        weight_D: Any = self._module.weight
        if weight_D.requires_grad or not torch.is_grad_enabled():
            return self._own(x)
        return _RMSNorm.apply(x, weight_D, self._epsilon)


def _epsilon(module: nn.Module) -> float | None:
    return getattr(module, "variance_epsilon", getattr(module, "eps", None))


def _is_plain(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    if not type(module).__name__.endswith("RMSNorm") or _epsilon(module) is None or weight is None:
        return False
    if weight.requires_grad or weight.dim() != 1:
        return False
    x = torch.linspace(-3, 4, 4 * len(weight), device=weight.device).view(4, -1).to(weight.dtype)
    with torch.no_grad():
        return torch.allclose(module(x), _RMSNorm.apply(x, weight, _epsilon(module)), rtol=1e-2, atol=1e-5)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, weight_D, epsilon):  # type: ignore[no-untyped-def]
        h = x.float()
        r = torch.linalg.vector_norm(h, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight_D, r)
        return (h * r).to(x.dtype) * weight_D

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy):  # type: ignore[no-untyped-def]
        x, weight_D, r = ctx.saved_tensors
        h, v = x.float() * r, (dy * weight_D).float()
        mean = torch.linalg.vecdot(v, h).unsqueeze(-1).div_(-x.shape[-1])
        return v.addcmul_(h, mean).mul_(r).to(x.dtype), None, None
