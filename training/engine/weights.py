"""Safetensors files seen from outside: their names, tensor shapes and hash. No torch."""

import hashlib
import json
import struct
from pathlib import Path

from training.engine.errors import ModelProblem

ADAPTER_FILE = "adapter_model.safetensors"
SCRATCH_FILE = "hone-scratch.json"  # beside weights that are random (scratch.py)


def weight_files(folder: Path) -> list[Path]:
    """The adapter file, or all files of full weights, in order of name."""
    adapter = folder / ADAPTER_FILE
    return [adapter] if adapter.exists() else sorted(folder.glob("model*.safetensors"))


def is_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").exists()


def weights_sha256(folder: Path) -> str:
    """Of the weights file; of several files, the hash over their hashes, a line each."""
    hashes = [_sha256(path) for path in weight_files(folder)]
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Shape of every tensor in a model folder, read from the files' headers only. Raises ModelProblem."""
    files = weight_files(folder)
    if not files:
        raise ModelProblem(f"{folder} has no .safetensors weights. Other weight formats are not read.")
    shapes: dict[str, list[int]] = {}
    for path in files:
        shapes.update({name: entry["shape"] for name, entry in _header(path).items() if name != "__metadata__"})
    return shapes


def _header(path: Path) -> dict[str, dict]:
    """Eight bytes of length, then JSON: https://huggingface.co/docs/safetensors."""
    try:
        with path.open("rb") as source:
            (length,) = struct.unpack("<Q", source.read(8))
            if length > path.stat().st_size:
                raise ValueError("the header is longer than the file")
            return json.loads(source.read(length))
    except (OSError, ValueError, struct.error) as error:
        raise ModelProblem(f"{path} is not a whole safetensors file: {error}. Add the model again.") from error
