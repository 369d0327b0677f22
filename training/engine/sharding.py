"""FSDP2: weights, gradients and Adam's averages are shared out over the processes of a run, so that a model may be
larger than one device.

Each process keeps a slice of every parameter (torch.distributed.fsdp.fully_shard cuts along its first dimension) and a
layer is put together just before it computes. Four things are special here:

- The body and the output layer are called apart, the output layer in chunks, and their number differs from process to
  process. So a whole pass runs inside one forward of `Pass`, where embeddings, last norm and output layer stay whole.
- Every process has to do the same number of passes: see `in_step`.
- Gradients are summed, not averaged: the loop divides by the weight of the global batch.
- Checkpoints hold whole tensors, put together one after another in the first process's main memory (`gathered`).
  They are the very files that one process writes, so a run goes on with any number of processes, and a checkpoint is
  served without conversion. docs/adr/0004 weighs it against files of slices.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

Found = TypeVar("Found")
BUCKET_ELEMENTS = 1 << 24  # of gradients that are summed over processes at once


class Pass(nn.Module):
    """Around the network: what it forwards is any work with it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, work: Callable[[], Found]) -> Found:
        return work()


def shard(network: nn.Module, layers: Iterable[nn.Module], device: torch.device) -> Pass:
    """Shares out `layers` one by one and the rest together, in place; from main memory to `device` on the way."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    whole = Pass(network)
    for module in (*layers, whole):
        fully_shard(
            module,
            mesh=mesh,
            reshard_after_forward=True,  # the rest too: its copies would be older than what the optimizer has updated
            mp_policy=MixedPrecisionPolicy(reduce_dtype=torch.float32),
        )
        module.set_gradient_divide_factor(1.0)  # type: ignore[operator]  # fully_shard made it an FSDPModule
        module.set_force_sum_reduction_for_comms(True)  # type: ignore[operator]
    return whole


def in_step(passes: list[list[int]], filler: int) -> list[tuple[list[int], bool]]:
    """As many passes as the process with the most has: (rows, whether they count). Putting a layer together is work of
    all processes, so one with fewer passes goes along with the row `filler`, whose loss counts nothing."""
    count = torch.tensor([len(passes)], device=_device())
    dist.all_reduce(count, dist.ReduceOp.MAX)
    return [(rows, True) for rows in passes] + [([filler], False)] * (int(count) - len(passes))


def _device() -> torch.device:
    """Where tensors have to be that processes tell each other."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


# ---- slices and whole tensors ----


def mine(tensor: Tensor) -> Tensor:
    """This process's slice; a tensor that is not shared out as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Put together in every process; all have to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(slice_: Tensor, parameter: Tensor) -> Tensor:
    """A slice that belongs to a shared-out parameter, such as Adam's averages of it, as a tensor shared out alike."""
    if not isinstance(parameter, DTensor) or slice_.dim() != parameter.dim():
        return slice_
    shape = {"shape": parameter.shape, "stride": parameter.stride()}
    return DTensor.from_local(slice_, parameter.device_mesh, parameter.placements, run_check=False, **shape)


def slice_of(tensor: Tensor, parameter: Tensor) -> Tensor:
    """This process's part of a whole tensor, cut as `parameter` is."""
    if not isinstance(parameter, DTensor) or tensor.dim() != parameter.dim():
        return tensor
    mesh = parameter.device_mesh
    parts = tensor.chunk(mesh.size(), dim=0)
    rank = mesh.get_local_rank()
    return parts[rank] if rank < len(parts) else tensor[:0]


def gathered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors in the main memory of the first process, one after another; elsewhere nothing. All have to ask.
    Parameters that are one stay one."""
    kept = dist.get_rank() == 0
    found: dict[int, Tensor] = {}
    for tensor in tensors.values():
        if id(tensor) not in found:
            full = whole(tensor.detach())
            found[id(tensor)] = full.to("cpu", copy=not isinstance(tensor, DTensor)) if kept else torch.empty(0)
            del full
    return {name: found[id(tensor)] for name, tensor in tensors.items()} if kept else {}


def is_shared_out(tensors: dict[str, Any]) -> bool:
    return any(isinstance(tensor, DTensor) for tensor in tensors.values())


# ---- gradients ----


def norm_over_slices(gradients: Sequence[Tensor]) -> Tensor:
    """Of the gradient as a whole, where each process has slices of it."""
    squares = nn.utils.get_total_norm(gradients).square().to(_device())
    dist.all_reduce(squares)
    return squares.sqrt()


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Every process gets the sum of all processes' gradients, in place; one that has none of its own counts as 0."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter)
        if sum(one.numel() for one in bucket) >= BUCKET_ELEMENTS or parameter is parameters[-1]:
            _sum_bucket([one.grad for one in bucket if one.grad is not None])
            bucket = []


def _sum_bucket(gradients: list[Tensor]) -> None:
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
        gradient.copy_(summed.view_as(gradient))
