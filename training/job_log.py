"""What people read about a job while it goes on: its event log, its status in words, its place in the queue."""

from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from training import notify
from training.models import TrainingJob
from training.quotas import turns

Status = TrainingJob.Status


def add_event(
    job: TrainingJob,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = {},  # noqa: B006 - never changed
    time: float | None = None,
    once: bool = False,
    type: str = "message",
) -> None:
    """A line of the event log. With `time` (or `once`) the same line is not written a second time."""
    if (once and job.events.messages().filter(message=message).exists()) or (
        time and job.events.filter(message=message, created_at=moment(time)).exists()
    ):
        return
    when = moment(time) if time else timezone.now()
    job.events.create(message=message, level=level, type=type, data=data, created_at=when)


def moment(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)


def say(row: TrainingJob, text: str) -> None:
    """What goes on, for people; not over what a person asked for meanwhile."""
    if row.status == Status.RUNNING and not row.wanted:
        row.status_text = text[:300]


def refresh_queue() -> None:
    """Say in each queued job its place in the queue."""
    for position, place in enumerate(turns.queue()):
        job, text = place.job, turns.words(place, position)
        if text != job.status_text and TrainingJob.objects.filter(pk=job.pk, status=Status.QUEUED).update(
            status_text=text
        ):
            notify.job_changed(job.pk)
            notify.project_changed(job.project_id)
