"""Dramatiq actors, thin: ids in, nothing out. Queue `train` holds training only, `default` the short work."""

import logging
from typing import Any

import dramatiq

log = logging.getLogger(__name__)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def prepare(job_id: str) -> None:
    """Check a new job's files and put it into the queue."""
    from training import preparing

    preparing.prepare(job_id)


@dramatiq.actor(queue_name="train", max_retries=0, time_limit=float("inf"))
def train() -> None:
    """A wake-up: train the job whose turn it is, if there is one."""
    from training import supervisor

    supervisor.train_next()


def wake(actor: Any, *arguments: str | int) -> None:
    """Send a wake-up; when the queue is away the workers find the job in the database by themselves."""
    try:
        actor.send(*arguments)
    except Exception:
        log.warning("the queue is away; %s waits for a worker to look", actor.actor_name, exc_info=True)


def send_missing_wake_ups(queues: set[str]) -> None:
    """What an idle worker does every few seconds: wake itself for what the database says is waiting."""
    from training import exports, files, preparing, supervisor, token_counts
    from training.chains import following
    from training.trackers import tending

    if "train" in queues:
        supervisor.end_leftovers()
        if supervisor.waiting_jobs():
            wake(train)
    if "default" in queues:
        for job in preparing.unprepared():
            wake(prepare, job.pk)
        for export in exports.waiting():
            wake(merge, export.pk)
        files.remove_stale()
        for file, base_model in token_counts.uncounted():
            wake(count_file_tokens, file.pk, base_model.pk)
        tending.tend()
        following.advance()


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def check_file(file_id: str) -> None:
    """Check an uploaded file line by line and count what is in it."""
    from training import checks

    checks.check(file_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def download_model(base_model_id: int) -> None:
    """Bring a base model to disk."""
    from training import downloads

    downloads.download(base_model_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def bring_starter() -> None:
    """Bring the starter model to disk, from wherever it can be had."""
    from training import starter

    starter.bring()


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def count_file_tokens(file_id: str, base_model_id: int) -> None:
    """Count the tokens of a large file for one base model."""
    from training import token_counts

    token_counts.count_in_worker(file_id, base_model_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def merge(export_id: str) -> None:
    """Merge a checkpoint's adapter into its base, to be taken away."""
    from training import exports

    exports.make(export_id)
