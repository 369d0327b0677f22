"""Dramatiq actors, thin: ids in, nothing out. Queue `train` holds training only, `default` the short work."""

import logging
from typing import Any

import dramatiq
from django.core.cache import cache

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
    from accounts import audit
    from training import exports, file_tasks, files, preparing, supervisor, token_counts
    from training.chains import following
    from training.intake.models import Making
    from training.parts import joining
    from training.quotas import limits
    from training.repairs import asking
    from training.trackers import tending
    from training.webhooks import deliveries

    if "train" in queues:
        supervisor.end_leftovers()
        if supervisor.waiting_jobs():
            wake(train)
    if "default" in queues:
        for job in preparing.unprepared():
            wake(prepare, job.pk)
        for repair in asking.waiting():
            wake(repair_file, repair.pk)
        for export in exports.waiting():
            wake(merge, export.pk)
        for task in file_tasks.waiting():
            wake(do_file_task, task.pk)
        files.remove_stale()
        joining.remove_stale()
        if cache.add("measure-runs", 1, timeout=600):
            limits.measure_changing()
        if cache.add("hourly-clean-up", 1, timeout=3600):
            files.remove_unborn()
            deliveries.remove_old()
            audit.remove_old()
        for file, base_model in token_counts.uncounted():
            token_counts.ask_worker(file, base_model)
        for delivery in deliveries.due()[: deliveries.MOST_AT_ONCE]:
            wake(deliver_webhook, delivery.pk)
        for making in Making.objects.left_alone():
            wake(make_dataset, making.pk)
        tending.tend()
        following.advance()


@dramatiq.actor(queue_name="default", max_retries=5, min_backoff=30_000)
def mail_job_end(job_id: str) -> None:
    """Write to whoever made the job."""
    from training import mailing

    mailing.write(job_id)


@dramatiq.actor(queue_name="default", max_retries=0)
def deliver_webhook(delivery_id: int) -> None:
    """One attempt to tell an endpoint of an event."""
    from training.webhooks import deliveries

    deliveries.attempt(delivery_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def check_file(file_id: str) -> None:
    """Check an uploaded file line by line and count what is in it."""
    from training import checks

    checks.check(file_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def repair_file(repair_id: str) -> None:
    """Look what repairs would change in a large file, or make the version with them."""
    from training.repairs import asking

    asking.work(repair_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def make_dataset(making_id: str) -> None:
    """Map a table's columns, combine datasets, or bring a file from the hub."""
    from training.intake import making

    making.make(making_id)


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
def merge(export_id: str) -> None:
    """Merge a checkpoint's adapter into its base, to be taken away."""
    from training import exports

    exports.make(export_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def do_file_task(task_id: str) -> None:
    """What a page asked of a whole file: its tokens, what repeats in it, a part split off."""
    from training import file_tasks

    file_tasks.run(task_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def look_for_secrets(file_id: str) -> None:
    """Look through a large file for secrets and personal data."""
    from training.safety import scanning

    scanning.scan(file_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def redact(file_id: str, user_id: int | None) -> None:
    """Make a version of a large file without what people decided on."""
    from training.safety import reviewing

    reviewing.make_in_worker(file_id, user_id)


@dramatiq.actor(queue_name="default", max_retries=0, time_limit=float("inf"))
def moderate_file(check_id: int) -> None:
    """Have every row of a file judged by the project's moderation classifier."""
    from training.safety import moderation

    moderation.run_in_worker(check_id)
