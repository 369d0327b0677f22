"""A job of this process's own database, watched until it has ended."""

import time
from collections.abc import Callable
from typing import Any

from proofs.screen import Screen

LONGEST_SECONDS = 1800


def followed(
    screen: Screen,
    job: Any,
    name: str,
    look: Callable[[Any], None] = lambda job: None,
    every_seconds: float = 0.2,
) -> Any:
    """The job when it has ended, however that was, and no worker holds it any more. `look` sees its row again and
    again. Raises TimeoutError."""
    from training.models import TrainingJob

    began = time.monotonic()
    while not job.is_final or job.claim:
        time.sleep(every_seconds)
        job = TrainingJob.objects.get(pk=job.pk)
        look(job)
        screen.status(f"{name}: {job.status_text}, step {job.step} of {job.total_steps}")
        if time.monotonic() - began > LONGEST_SECONDS:
            raise TimeoutError(f"{name}: still {job.status} ({job.status_text})")
    screen.status("")
    return job


def ended_well(job: Any, name: str) -> Any:
    """The same job. Raises RuntimeError with its reason when it did not succeed."""
    if job.status != "succeeded":
        raise RuntimeError(f"{name}: {job.status}: {job.error_message}")
    return job
