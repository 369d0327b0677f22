"""How much memory serving may take and where a new server finds it: the machine's, or that of one of its GPUs."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
from django.conf import settings

SHARE_OF_MACHINE = 0.6  # of its memory, where HONE_SERVE_MEMORY_GB does not say otherwise; training needs the rest
KEPT_FREE_BYTES = 512 << 20


@dataclass(frozen=True)
class Place:
    """Where a server can run. `gpu` is empty for the machine's own memory."""

    gpu: str
    total_bytes: int
    budget_bytes: int
    free_bytes: int  # right now, by whoever uses it


def machine() -> Place:
    memory = psutil.virtual_memory()
    budget = settings.HONE_SERVE_MEMORY_GB * 1e9 or memory.total * SHARE_OF_MACHINE
    return Place("", memory.total, int(budget), memory.available - KEPT_FREE_BYTES)


def gpus() -> list[Place]:
    """The GPUs that serving may use, by HONE_SERVE_GPUS; of each the share HONE_SERVE_GPU_FRACTION."""
    question = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    places = []
    for line in answer.strip().splitlines():
        index, uuid, total, free = (word.strip() for word in line.split(","))
        if settings.HONE_SERVE_GPUS and index not in settings.HONE_SERVE_GPUS and uuid not in settings.HONE_SERVE_GPUS:
            continue
        if not total.isdigit() or not free.isdigit():
            continue
        bytes_total, bytes_free = int(total) << 20, int(free) << 20
        places.append(Place(index, bytes_total, int(bytes_total * settings.HONE_SERVE_GPU_FRACTION), bytes_free))
    return places


def claim_bytes(place: Place, needed_bytes: int) -> int:
    """What a server takes there: on a GPU at least half of our share, because vLLM makes it answer more at once."""
    return needed_bytes if not place.gpu else max(needed_bytes, place.budget_bytes // 2)


def find_place(places: Iterable[Place], needed_bytes: int, claimed: dict[str, int]) -> Place | None:
    """The emptiest place where this fits beside what runs (`claimed`: bytes by gpu)."""
    fitting = [
        place
        for place in places
        if claimed.get(place.gpu, 0) + claim_bytes(place, needed_bytes) <= place.budget_bytes
        and claim_bytes(place, needed_bytes) <= place.free_bytes
    ]
    return max(fitting, key=lambda place: place.budget_bytes - claimed.get(place.gpu, 0), default=None)
