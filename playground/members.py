"""One running vLLM server and what is loaded in it; which server a deployment belongs to."""

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from playground.models import Deployment
from playground.vllm import VllmServer
from training.models import Checkpoint


@dataclass
class Member:
    """One server."""

    key: str
    server: VllmServer
    claim_bytes: int
    up_at: float | None = None
    loaded: dict[str, int] = field(default_factory=dict)  # adapter name in vLLM -> deployment id
    base_answers: dict[str, list[list[float]]] = field(default_factory=dict)  # to probes, which a job's epochs share
    work: Future[None] | None = None
    health: Future[bool] | None = None
    asked_at: float = 0.0
    heard_at: float = field(default_factory=time.monotonic)
    stopping: Future[None] | None = None

    @property
    def is_up(self) -> bool:
        return self.up_at is not None and self.stopping is None

    @property
    def is_busy(self) -> bool:
        return self.work is not None and not self.work.done()


@dataclass
class Trouble:
    failures: int = 0
    not_before: float = 0.0


def key_of(deployment: Deployment) -> str:
    checkpoint = deployment.checkpoint
    if checkpoint and checkpoint.kind == Checkpoint.Kind.FULL:
        return f"full:{checkpoint.pk}"
    return f"base:{deployment.family.pk}"


def folder_of(key: str, deployment: Deployment) -> Path:
    """Where the weights of its server lie."""
    return deployment.checkpoint.path if key.startswith("full:") else deployment.family.path  # type: ignore[union-attr]
