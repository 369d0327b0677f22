"""The machine's devices, without torch: what a job would train on, and how busy everything is now."""

import os
import platform
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings

from training.engine.spec import DeviceFacts

GPU_QUERY = "index,uuid,name,memory.total,memory.used,utilization.gpu,compute_cap"
GPU_TIMEOUT_SECONDS = 8
GPU_FRESH_SECONDS = 2.0  # nvidia-smi takes a noticeable while; several pages ask at once
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, Arm
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
CGROUP_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")


@dataclass(frozen=True)
class Gpu:
    """One line of nvidia-smi."""

    index: str
    uuid: str
    name: str
    memory_bytes: int
    used_bytes: int
    busy: float | None  # share of 1; None where the driver does not say
    compute_capability: float

    @property
    def free_bytes(self) -> int:
        return self.memory_bytes - self.used_bytes


def device_facts() -> DeviceFacts:
    """What one job trains on: the smallest of the training GPUs, else the CPU; of several devices, what each has."""
    gpus = training_gpus()
    if not gpus:
        total, used = memory()
        count = settings.HONE_DEVICES_PER_JOB  # processes, which share the memory
        return DeviceFacts(
            kind="cpu",
            name=cpu_name(),
            count=count,
            memory_bytes=total // count,
            free_bytes=(total - used) // count,
            bfloat16=cpu_has_bfloat16(),
        )
    smallest = min(gpus, key=lambda gpu: gpu.memory_bytes)
    return DeviceFacts(
        kind="cuda",
        name=smallest.name,
        count=settings.HONE_DEVICES_PER_JOB,
        memory_bytes=smallest.memory_bytes,
        free_bytes=smallest.free_bytes,
        bfloat16=all(gpu.compute_capability >= 8.0 for gpu in gpus),
    )


def training_gpus() -> list[Gpu]:
    """Those of HONE_TRAIN_GPUS; where none is named the first ones, as many as a job has."""
    wanted = set(settings.HONE_TRAIN_GPUS)
    found = all_gpus()
    return (
        [gpu for gpu in found if gpu.index in wanted or gpu.uuid in wanted]
        if wanted
        else found[: settings.HONE_DEVICES_PER_JOB]
    )


def usage() -> dict[str, Any]:
    """How busy the machine is now; shares are of 1. `gpus` is empty on a machine without."""
    total, used = memory()
    disk = shutil.disk_usage(settings.HONE_HOME)
    return {
        "cpu_name": cpu_name(),
        "cpu_cores": os.cpu_count() or 1,
        "cpu_share": _cpu_share(),
        "memory_bytes": total,
        "memory_used_bytes": used,
        "memory_share": used / total,
        "disk_bytes": disk.total,
        "disk_free_bytes": disk.free,
        "disk_share": 1 - disk.free / disk.total,
        "gpus": [
            {
                "index": gpu.index,
                "name": gpu.name,
                "share": gpu.busy,
                "memory_bytes": gpu.memory_bytes,
                "memory_used_bytes": gpu.used_bytes,
                "memory_share": gpu.used_bytes / gpu.memory_bytes,
            }
            for gpu in all_gpus()
        ],
    }


def memory() -> tuple[int, int]:
    """Total and used bytes: of the machine, or of the container where its limit is lower."""
    machine = psutil.virtual_memory()
    total, used = machine.total, machine.total - machine.available
    limit, in_group = _first_number(CGROUP_LIMITS), _first_number(CGROUP_USED)
    if limit and limit < total:
        # the group's own figure counts cached files, which are given back when memory is needed
        return limit, min(in_group or used, used, limit)
    return total, used


def _first_number(paths: tuple[str, ...]) -> int | None:
    for path in paths:
        try:
            return int(Path(path).read_text())
        except (OSError, ValueError):
            continue  # no such file, or the word "max"
    return None


@lru_cache(maxsize=1)
def cpu_name() -> str:
    """As the maker writes it, without the trade marks."""
    name = _cpuinfo().get("model name") or platform.processor() or platform.machine()
    for noise in ("(R)", "(TM)", "(r)", "(tm)", " CPU", " Processor"):
        name = name.replace(noise, "")
    return " ".join(name.split())


@lru_cache(maxsize=1)
def cpu_has_bfloat16() -> bool:
    """The chip multiplies bfloat16 itself; without that, float32 is faster."""
    info = _cpuinfo()
    return bool(BFLOAT16_FLAGS & set((info.get("flags") or info.get("Features") or "").split()))


def _cpuinfo() -> dict[str, str]:
    """The first core's lines of /proc/cpuinfo; empty where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


_lock = threading.Lock()
_cpu_seen: tuple[float, float, tuple[float, float]] | None = None  # when, share, times
_gpus_seen: tuple[float, list[Gpu]] | None = None


def _cpu_share() -> float:
    """Since the last look, at least half a second ago. (psutil.cpu_percent keeps its last look for each thread apart,
    so that it says 0 in most threads of a server.)"""
    global _cpu_seen
    with _lock:
        if _cpu_seen is None:
            before = _cpu_times()
            time.sleep(0.1)
            _cpu_seen = (time.monotonic(), *_cpu_since(before))
        elif time.monotonic() - _cpu_seen[0] > 0.5:
            _cpu_seen = (time.monotonic(), *_cpu_since(_cpu_seen[2]))
        return _cpu_seen[1]


def _cpu_since(before: tuple[float, float]) -> tuple[float, tuple[float, float]]:
    """The busy share since `before`, and the times now."""
    now = _cpu_times()
    passed = now[1] - before[1]
    return (min(1.0, max(0.0, (now[0] - before[0]) / passed)) if passed > 0 else 0.0), now


def _cpu_times() -> tuple[float, float]:
    """Busy and all seconds of all cores since the machine started."""
    times = psutil.cpu_times()
    everything = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # in user already
    return everything - times.idle - getattr(times, "iowait", 0.0), everything


def all_gpus() -> list[Gpu]:
    """Every NVIDIA GPU of this machine; empty where there is none or the driver does not answer."""
    global _gpus_seen
    with _lock:
        now = time.monotonic()
        if _gpus_seen is None or now - _gpus_seen[0] > GPU_FRESH_SECONDS:
            _gpus_seen = (now, parse_gpus(_ask_nvidia_smi()))
        return _gpus_seen[1]


def _ask_nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    command = [program, f"--query-gpu={GPU_QUERY}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=GPU_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def parse_gpus(text: str) -> list[Gpu]:
    """The lines of nvidia-smi's CSV; memory there is in MiB."""
    gpus = []
    for line in text.strip().splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(GPU_QUERY.split(",")) or not cells[3].isdigit():
            continue
        index, uuid, name, total, used, busy, capability = cells
        gpus.append(
            Gpu(
                index=index,
                uuid=uuid,
                name=name,
                memory_bytes=int(total) << 20,
                used_bytes=int(used) << 20 if used.isdigit() else 0,
                busy=int(busy) / 100 if busy.isdigit() else None,
                compute_capability=_number(capability),
            )
        )
    return gpus


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
