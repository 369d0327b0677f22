"""From `validating_files` to `queued`: check the files, count tokens, put numbers in place of every auto."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django import db
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts.errors import ApiError
from training import calibration, checks, notify, token_counts
from training.endings import fail
from training.engine.errors import EngineError
from training.job_log import add_event, refresh_queue
from training.models import DatasetFile, TrainingJob
from training.safety import moderation
from training.usage import terms
from training.workers import holder_is_gone, new_claim

log = logging.getLogger(__name__)
Status = TrainingJob.Status
ATTEMPTS = 3
HEARTBEAT_SECONDS = 2.0


class Refused(Exception):
    """This job cannot be trained; `code` and `param` are OpenAI's words."""

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message, self.code, self.param = message, code, param


def unprepared() -> list[TrainingJob]:
    """Jobs that wait to be prepared and that no living worker holds."""
    expired = timezone.now() - timedelta(seconds=settings.HONE_LEASE_SECONDS)
    waiting = TrainingJob.objects.filter(status=Status.VALIDATING_FILES)
    return [
        job
        for job in waiting.order_by("created_at")
        if not job.claim or not job.heartbeat_at or job.heartbeat_at < expired or holder_is_gone(job.claim)
    ]


def prepare(job_id: str) -> None:
    """One job; a second delivery of the same message finds it claimed and leaves."""
    job = next((job for job in unprepared() if job.pk == job_id), None)
    claim = new_claim()
    if job is None or not TrainingJob.objects.filter(
        pk=job_id, status=Status.VALIDATING_FILES, claim=job.claim, heartbeat_at=job.heartbeat_at
    ).update(claim=claim, heartbeat_at=timezone.now(), stalls=F("stalls") + 1):
        return
    job.refresh_from_db()
    with _heartbeat(job, claim):
        try:
            if job.stalls > ATTEMPTS:
                raise Refused(
                    f"Preparing this job ended the worker {ATTEMPTS} times; its log says why.", code="server_error"
                )
            _check(job)
            if reason := moderation.refusal(job):
                raise reason
            resolved, estimate = _resolve(job)
        except (Refused, EngineError, ApiError) as error:
            fail(job, error.message, code=error.code or "invalid_training_file", param=error.param)
        except Exception as error:
            log.exception("preparing %s failed", job_id)
            fail(job, f"The job could not be prepared: {type(error).__name__}: {error}", code="server_error")
        else:
            _queue(job, claim, resolved, estimate)
    TrainingJob.objects.filter(pk=job_id, claim=claim).update(claim="")


@contextmanager
def _heartbeat(job: TrainingJob, claim: str) -> Iterator[None]:
    """Keep the claim alive from a thread of its own: checking a large file is one long call."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                TrainingJob.objects.filter(pk=job.pk, claim=claim).update(heartbeat_at=timezone.now())
            except db.Error:
                log.warning("heartbeat of %s failed", job.pk, exc_info=True)
            finally:
                db.connections.close_all()

    thread = threading.Thread(target=beat, name=f"prepare {job.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _check(job: TrainingJob) -> None:
    message = f"Validating training file: {job.training_file_id}"
    if job.validation_file_id:
        message += f" and validation file: {job.validation_file_id}"
    add_event(job, message, once=True)
    notify.job_changed(job.pk)
    method = job.recipe.method
    _check_file(job.training_file, "training", job.training_file_name, method=method)
    if job.validation_file_name:
        _check_file(job.validation_file, "validation", job.validation_file_name, method=method, rows_needed=1)
    if not job.base_model.is_present:
        text = f"The folder of the base model {job.base_model.name} is gone from the disk. Download or add it again."
        raise Refused(text, code="model_not_available", param="model")
    if job.start_checkpoint and not job.start_checkpoint.path.is_dir():
        text = f"The weights of {job.start_checkpoint.name} are gone from the disk."
        raise Refused(text, code="model_not_available", param="model")


def _check_file(file: DatasetFile | None, name: str, filename: str, **needed: Any) -> None:
    if file is None:
        text = f"The job failed due to an invalid {name} file. {filename} was deleted before the job began."
        raise Refused(text, code=f"invalid_{name}_file", param=f"{name}_file")
    reason = checks.refusal(checks.ensure_checked(file), name=name, **needed)
    if reason:
        raise reason


def _resolve(job: TrainingJob) -> tuple[dict, dict]:
    """The numbers as JSON: what will be done, and what it is expected to take."""
    from training.devices import device_facts
    from training.engine.facts import read_start_facts
    from training.engine.resolve import resolve

    assert job.training_file
    model, device = job.base_model.facts, device_facts()
    data = token_counts.token_facts(job.training_file, job.base_model)
    valid = token_counts.token_facts(job.validation_file, job.base_model) if job.validation_file else None
    start = read_start_facts(job.start_checkpoint.path) if job.start_checkpoint else None
    resolved = resolve(job.recipe, data, model, device, valid=valid, start=start, data_format=job.training_file.format)
    price = terms.training_price(job.project_id, job.base_model.name)
    estimate = calibration.expect(job.recipe.method, resolved, data, model, device, valid, start, price)
    return resolved.model_dump(mode="json"), estimate.model_dump(mode="json")


@transaction.atomic
def _queue(job: TrainingJob, claim: str, resolved: dict, estimate: dict) -> None:
    """Queued, or paused when a person asked for that meanwhile; a cancelled job stays cancelled."""
    from training.actions import wake_trainer

    row = TrainingJob.objects.select_for_update().filter(pk=job.pk, claim=claim).first()
    if row is None or row.status != Status.VALIDATING_FILES:
        return
    paused = row.wanted == "pause"
    TrainingJob.objects.filter(pk=row.pk).update(
        status=Status.PAUSED if paused else Status.QUEUED,
        status_text="Paused" if paused else "Queued",
        queued_at=timezone.now(),
        resolved_json=resolved,
        estimate_json=estimate,
        total_steps=estimate["steps"],
        wanted="",
        claim="",
        stalls=0,
    )
    add_event(row, "Files validated, moving job to queued state")
    for warning in estimate["warnings"]:
        add_event(row, warning, level="warn")
    refresh_queue()
    notify.job_changed(row.pk)
    notify.project_changed(row.project_id)
    if not paused:
        wake_trainer()
