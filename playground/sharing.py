"""Training and serving on one device: who goes first, by the rule that the owner sets (HONE_SHARED_DEVICE).

share            both run; serving keeps to its share of the memory (room.py)
serving-waits    while a job trains nothing is served: servers are put away, and come back when it is done
training-pauses  what somebody asks for pauses the job, which saves and gives the device back; it goes on by itself when
                 nobody has asked for a while
The serving process applies it, tick by tick; on devices of their own neither waits for the other.
"""

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts.errors import ApiError
from playground.models import Deployment
from training import actions, devices
from training.models import TrainingJob

logger = logging.getLogger(__name__)
SHARE, SERVING_WAITS, TRAINING_PAUSES = "share", "serving-waits", "training-pauses"
RULES: Final = {
    SHARE: "training and serving run beside each other",
    SERVING_WAITS: "models are not served while a job trains",
    TRAINING_PAUSES: "a job pauses while models are in use",
}
QUIET_SECONDS: Final = 300.0  # without a request, before paused jobs go on
PAUSED_TEXT: Final = (
    f"Paused while models are in use; it goes on after {QUIET_SECONDS / 60:.0f} minutes without a request"
)
Status = TrainingJob.Status


def rule() -> str:
    return str(settings.HONE_SHARED_DEVICE)


def trains_beside() -> bool:
    """A job trains on a device that serving uses as well: this machine's CPU, or a GPU of both."""
    return TrainingJob.objects.filter(status=Status.RUNNING).exists() and shares_device()


def training_goes_first() -> bool:
    """Whether what nobody waits for has to keep away from the device: a job trains there, will as soon as it is its
    turn, or made room for people's questions alone."""
    trains = Q(status__in=(Status.VALIDATING_FILES, Status.QUEUED, Status.RUNNING)) | Q(paused_for_serving=True)
    return TrainingJob.objects.unfinished().filter(trains).exists() and shares_device()


def shares_device() -> bool:
    found, wanted = devices.all_gpus(), set(settings.HONE_SERVE_GPUS)
    serving = {gpu.uuid for gpu in found if not wanted or gpu.index in wanted or gpu.uuid in wanted}
    return not found or bool(serving & {gpu.uuid for gpu in devices.training_gpus()})


def serving_waits_for() -> str:
    """Why no model may be on the device now, for people of any project, so it names no job; empty when it may."""
    if rule() == SHARE or not trains_beside():
        return ""
    if rule() == SERVING_WAITS:
        return "Waiting until the job that trains now has finished: on this machine training goes first."
    return "Waiting until the job that trains now has saved and paused."


def tend() -> None:
    """Pauses what trains when models are asked for, and lets it go on when they are not. For training-pauses alone."""
    if rule() != TRAINING_PAUSES or not shares_device():
        return
    if models_are_in_use():
        for job in TrainingJob.objects.filter(status__in=(Status.RUNNING, Status.QUEUED), wanted=""):
            _pause(job)
        paused = TrainingJob.objects.filter(paused_for_serving=True, status=Status.PAUSED)
        paused.exclude(status_text=PAUSED_TEXT).update(status_text=PAUSED_TEXT)
        return
    waiting = TrainingJob.objects.filter(paused_for_serving=True, status=Status.PAUSED)
    if waiting.exists() and not _put_away():
        for job in waiting.order_by("created_at"):
            _go_on(job)


def models_are_in_use() -> bool:
    """Somebody asked one of them not long ago. A pinned one is not in use by being there."""
    lately = timezone.now() - timedelta(seconds=QUIET_SECONDS)
    return Deployment.objects.wanted().exclude(state=Deployment.State.FAILED).filter(used_at__gt=lately).exists()


def _pause(job: TrainingJob) -> None:
    try:
        actions.pause_job(job)
    except ApiError as error:  # it ended in between
        logger.info("%s was not paused: %s", job.pk, error.message)
        return
    TrainingJob.objects.filter(pk=job.pk).update(paused_for_serving=True)


def _go_on(job: TrainingJob) -> None:
    try:
        actions.resume_job(job)
    except ApiError as error:
        logger.info("%s did not go on: %s", job.pk, error.message)


def _put_away() -> bool:
    """Frees the device for training: what is served is asked for anew with its next request. True: not free yet."""
    rows = Deployment.objects.exclude(state__in=(Deployment.State.OFF, Deployment.State.FAILED))
    wanted = Deployment.objects.wanted().exclude(state=Deployment.State.FAILED)
    wanted.update(wanted=False)
    return rows.exists()
