"""The adapted linear layer as one step of autograd. M positions, I inputs, O outputs, r rank.

peft's layer computes  y = x W^T + (dropout(x) A^T) B^T * scaling  in six steps, each with a tensor as large as y and
a node in autograd's graph. Here the adapter's part is added inside the matrix product, and the backward pass is written
by hand: with g = dL/dy, u = dropout(x) A^T and v = g B * scaling,

    dL/dx = g W + v A,    dL/dA = v^T dropout(x),    dL/dB = g^T u * scaling,

where v A goes through the dropout. W is frozen and gets no gradient. Parameters stay where peft put them, under the
same names, so that what is saved and loaded does not change.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class AdaptedLinear(Linear):
    """peft's layer with our forward pass; whatever is not plain LoRA on a plain linear layer still takes peft's."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args or kwargs or self.disable_adapters or self.merged or self.lora_variant:
            return super().forward(x, *args, **kwargs)
        names = [name for name in self.active_adapters if name in self.lora_A]
        dropout = self._dropout(names)
        if not names or dropout is None or x.dtype != self.lora_A[names[0]].weight.dtype:
            return super().forward(x)
        base: Any = self.get_base_layer()
        A_rI, B_Or, scaling = self._joined(names)
        dropped = F.dropout(x, dropout) if dropout else None
        return adapted_linear(x, base.weight, base.bias, A_rI, B_Or, scaling, dropped)

    def _dropout(self, names: list[str]) -> float | None:
        """The share that is dropped now; None when several adapters would each draw their own."""
        shares = [getattr(self.lora_dropout[name], "p", 0.0) for name in names]
        if not self.training or not any(shares):
            return 0.0
        return shares[0] if len(shares) == 1 else None

    def _joined(self, names: list[str]) -> tuple[Tensor, Tensor, float]:
        """Several adapters are one with their A under each other and their scaled B side by side."""
        A: list[Any] = [self.lora_A[name].weight for name in names]
        B: list[Any] = [self.lora_B[name].weight for name in names]
        if len(names) == 1:
            return A[0], B[0], self.scaling[names[0]]
        return torch.cat(A), torch.cat([b * self.scaling[name] for b, name in zip(B, names, strict=True)], dim=1), 1.0


def speed_up_adapters(network: nn.Module) -> int:
    """Gives peft's plain LoRA layers our forward pass, in place. Returns how many."""
    found = [module for module in network.modules() if _is_plain(module)]
    for module in found:
        module.__class__ = AdaptedLinear
    return len(found)


def _is_plain(module: nn.Module) -> bool:
    """Not a quantised layer, not a transposed one (GPT-2), no bias of the adapter's own."""
    if type(module) is not Linear or type(module.get_base_layer()) is not nn.Linear:
        return False
    return not module.fan_in_fan_out and not any(module.lora_bias.values())


def adapted_linear(
    x: Tensor,
    weight_OI: Tensor,
    bias_O: Tensor | None,
    A_rI: Tensor,
    B_Or: Tensor,
    scaling: float,
    dropped: Tensor | None = None,
) -> Tensor:
    """x (..., I) -> (..., O). `dropped` is x after dropout, for the adapter; None when nothing is dropped."""
    x_MI = x.reshape(-1, x.shape[-1])
    dropped_MI = None if dropped is None else dropped.reshape(x_MI.shape)
    y_MO = _AdaptedLinear.apply(x_MI, dropped_MI, weight_OI, bias_O, A_rI, B_Or, scaling)
    return y_MO.view(*x.shape[:-1], -1)


class _AdaptedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_MI, dropped_MI, weight_OI, bias_O, A_rI, B_Or, scaling):  # type: ignore[no-untyped-def]
        seen_MI = x_MI if dropped_MI is None else dropped_MI
        u_Mr = seen_MI @ A_rI.t()
        y_MO = F.linear(x_MI, weight_OI, bias_O)
        y_MO.addmm_(u_Mr, B_Or.t(), alpha=scaling)
        ctx.save_for_backward(seen_MI, u_Mr, weight_OI, A_rI, B_Or)
        ctx.scaling, ctx.drops = scaling, dropped_MI is not None
        return y_MO

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_MO):  # type: ignore[no-untyped-def]
        seen_MI, u_Mr, weight_OI, A_rI, B_Or = ctx.saved_tensors
        v_Mr = (g_MO @ B_Or).mul_(ctx.scaling)
        dx_MI = ddropped_MI = dA_rI = dB_Or = None
        if ctx.needs_input_grad[0]:
            dx_MI = g_MO @ weight_OI
            if not ctx.drops:
                dx_MI.addmm_(v_Mr, A_rI)
        if ctx.needs_input_grad[1]:
            ddropped_MI = v_Mr @ A_rI
        if ctx.needs_input_grad[4]:
            dA_rI = v_Mr.t() @ seen_MI
        if ctx.needs_input_grad[5]:
            dB_Or = (u_Mr.t() @ g_MO).mul_(ctx.scaling).t()  # the thin side first is the faster product
        return dx_MI, ddropped_MI, None, None, dA_rI, dB_Or, None
