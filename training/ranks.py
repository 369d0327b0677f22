"""The rank of an adapter on disk, and the sizes that vLLM has room for."""

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from training.models import Checkpoint

VLLM_RANKS: Final = (8, 16, 32, 64, 128, 256, 320, 512)


def rank_of(checkpoint: "Checkpoint") -> int:
    """The highest rank in an adapter; 0 when it cannot be read."""
    try:
        config = json.loads((checkpoint.path / "adapter_config.json").read_text())
        return max([int(config["r"]), *map(int, (config.get("rank_pattern") or {}).values())])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def room_for(rank: int) -> int | None:
    """The smallest size vLLM offers for adapters of this rank; None above the largest."""
    return next((size for size in VLLM_RANKS if size >= rank), None)
