"""AdamW on float32 copies of what is trained, and the learning rate of each step."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from training.engine.sharding import is_shared_out, like, mine, norm_over_slices, slice_of
from training.engine.spec import JobSpec


class MasterAdamW:
    """AdamW whose weights, gradients and averages are float32 whatever type the model computes in.

    Parameters that are float32 themselves are updated in place and have no copy. A bfloat16 weight alone would lose
    most updates: its steps are 0.4 % of its size. Of parameters that are shared out over processes (sharding.py) each
    process updates its slice.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], weight_decay: float, eight_bit: bool = False) -> None:
        self._live = parameters
        self.shared_out = is_shared_out(parameters)
        self._masters = {name: _master(parameter) for name, parameter in parameters.items()}
        self._adam = _adamw(list(self._masters.values()), weight_decay, eight_bit)

    @property
    def masters(self) -> dict[str, nn.Parameter]:
        return self._masters

    def collect(self) -> None:
        """Adds the gradients of one backward pass to the float32 ones."""
        for name, live in self._live.items():
            master = self._masters[name]
            if master is live or live.grad is None:
                continue
            gradient = mine(live.grad).float()
            master.grad = gradient if master.grad is None else master.grad.add_(gradient)
            live.grad = None

    def forget(self) -> None:
        """Drops what the passes of a step have gathered so far."""
        for name, live in self._live.items():
            live.grad = self._masters[name].grad = None

    def clip(self, max_norm: float, scale: float) -> float:
        """Multiplies all gradients by `scale`, then clips; returns the norm between the two."""
        gradients = [master.grad for master in self._masters.values() if master.grad is not None]
        torch._foreach_mul_(gradients, scale)
        if not self.shared_out:
            return float(nn.utils.clip_grad_norm_(self._masters.values(), max_norm))
        norm = norm_over_slices(gradients)
        nn.utils.clip_grads_with_norm_(self._masters.values(), max_norm, norm)
        return float(norm)

    def step(self, learning_rate: float) -> None:
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Copies the float32 weights into the model."""
        for name, live in self._live.items():
            if live.dtype != torch.float32:
                mine(live).copy_(self._masters[name])

    def state(self) -> dict[str, Tensor]:
        """Everything to go on exactly: weights in float32 and Adam's averages, by parameter name. What is shared out
        is so here too."""
        tensors: dict[str, Tensor] = {}
        for name, master in self._masters.items():
            live = self._live[name]
            tensors[f"weight/{name}"] = like(master.detach(), live)
            for key, value in self._adam.state.get(master, {}).items():
                tensors[f"{key}/{name}"] = like(value if isinstance(value, Tensor) else torch.tensor(value), live)
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Whole tensors, as one process or several have left them."""
        weights = {name: tensors[f"weight/{name}"] for name in self._masters}  # all there, before any is changed
        averages: dict[str, dict[str, Any]] = {name: {} for name in self._masters}
        for full_name, tensor in tensors.items():
            key, _, name = full_name.partition("/")
            if key != "weight" and name in averages:
                averages[name][key] = tensor
        for name, master in self._masters.items():
            live = self._live[name]
            master.copy_(slice_of(weights[name], live))
            if averages[name]:
                own = {key: slice_of(tensor, live) for key, tensor in averages[name].items()}
                self._adam.state[master] = {key: self._as_kept(key, tensor, master) for key, tensor in own.items()}
        self.publish()

    def _as_kept(self, key: str, tensor: Tensor, master: nn.Parameter) -> Tensor | int:
        """As the optimizer has it: bitsandbytes counts steps in a plain number."""
        if key == "step" and not isinstance(self._adam, torch.optim.AdamW):
            return int(tensor)
        return tensor.to(master.device)


def _adamw(weights: list[nn.Parameter], weight_decay: float, eight_bit: bool) -> Any:
    """torch's, or bitsandbytes' whose averages take a byte each (Dettmers et al., 2021, arXiv 2110.02861)."""
    if eight_bit:
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(weights, lr=0.0, weight_decay=weight_decay)
    return torch.optim.AdamW(weights, lr=0.0, weight_decay=weight_decay, fused=True)


def _master(parameter: nn.Parameter) -> nn.Parameter:
    """Of float32 the parameter itself, or its slice in the same memory."""
    if parameter.dtype == torch.float32:
        return nn.Parameter(mine(parameter.detach())) if isinstance(parameter, DTensor) else parameter
    return nn.Parameter(mine(parameter.detach()).float())


def learning_rate(spec: JobSpec, step: int, total_steps: int) -> float:
    """The rate of step `step` (from 1): rises evenly over the warm-up, then follows the schedule towards zero."""
    warmup = math.ceil(spec.warmup_ratio * total_steps)
    if step <= warmup:
        return spec.learning_rate * step / (warmup + 1)
    if spec.lr_scheduler in ("constant", "constant_with_warmup"):
        return spec.learning_rate
    done = (step - 1 - warmup) / max(1, total_steps - warmup)
    if spec.lr_scheduler in ("cosine", "cosine_with_min"):
        least = spec.min_learning_rate_ratio if spec.lr_scheduler == "cosine_with_min" else 0.0
        return spec.learning_rate * (least + (1 - least) * 0.5 * (1 + math.cos(math.pi * done)))
    return spec.learning_rate * (1 - done)
