"""Tensors to a .safetensors file while others compute: the library's own writer holds Python's lock until the last byte
is written, so that a training step beside it would stand still.

The format: eight bytes with the header's length, a JSON header with type, shape and place of each tensor, the bytes.
https://huggingface.co/docs/safetensors/index#format
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.engine.sharding import gathered, is_shared_out

TYPE_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


def write_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """CPU tensors, by name."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    place = 0
    for name, tensor in tensors.items():
        end = place + tensor.numel() * tensor.element_size()
        kind = TYPE_NAMES[tensor.dtype]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            if tensor.numel():
                file.write(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def in_main_memory(tensors: dict[str, Tensor], copy: bool) -> dict[str, Tensor]:
    """With `copy` they stay as they are now; tensors that share their place share it in the copy too. Those that are
    shared out over processes come whole and as copies, and only in the first process; all processes have to ask."""
    if is_shared_out(tensors):
        return gathered(tensors)
    found: dict[tuple[Any, ...], Tensor] = {}
    moved = {}
    for name, tensor in tensors.items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else (name,)
        if key not in found:
            found[key] = tensor.detach().to("cpu", copy=copy).contiguous()
        moved[name] = found[key]
    return moved


def size_of(tensors: dict[str, Tensor]) -> int:
    """Bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
