"""Which frames are missing, and having them answered: looked at by `manage.py serve` while it serves.

Nothing is loaded or answered for a film strip while a job trains (or is about to) on what serving uses, and nothing is
loaded where its base model is not served anyway; a person who asks for the answers has both. What was loaded for a
frame alone is put away when it has answered, and when training begins.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from playground import deployments, sharing
from playground.claims import WOKEN_SECONDS, is_claimed
from playground.deployments import Target
from playground.film import prompts
from playground.film.models import Film, Frame
from playground.models import Deployment
from training.models import BaseModel, Checkpoint, TrainingJob
from training.notify import job_changed
from training.tasks import wake

FILMS_LOOKED_AT: Final = 20  # the newest that are not complete
State = Deployment.State


def target_of(frame: Frame) -> Target:
    """The weights that answer in this frame."""
    return frame.checkpoint or frame.job.start_checkpoint or frame.job.base_model


def row_of(target: Target) -> Deployment | None:
    """Its deployment as it is now."""
    which = {"base_model": target} if isinstance(target, BaseModel) else {"checkpoint": target}
    related = ("base_model", "checkpoint__base_model", "checkpoint__job")
    return Deployment.objects.filter(**which).select_related(*related).first()


def known_row(target: Target) -> Deployment | None:
    """The same, as it was read with the target."""
    return getattr(target, "deployment", None)


def frames_of(job: TrainingJob) -> list[Frame]:
    """One for the weights it starts from, one for each checkpoint, in the order of training. Those that are not there
    yet are made, but not stored."""
    kept = {frame.checkpoint_id: frame for frame in job.frames.all()}
    checkpoints = job.checkpoints.filter(archived_at=None).select_related("base_model", "job", "deployment")
    frames = []
    for checkpoint in (None, *checkpoints.order_by("step")):
        frame = kept.get(checkpoint.pk if checkpoint else None) or Frame(job=job, checkpoint=checkpoint)
        frame.job, frame.checkpoint = job, checkpoint
        frames.append(frame)
    return frames


def is_missing(frame: Frame, keys: list[str]) -> bool:
    """It still has something to answer, as far as is known."""
    return not frame.failure and not all(frame.has_answered(key) for key in keys)


# ---- now and then, while models are served ----


def tend() -> None:
    """One look at everything: begin, wake, ask for, put away. Cheap where nothing is open."""
    unbegun = TrainingJob.objects.filter(film=None, archived_at=None, status__in=("queued", "running"))
    unbegun = unbegun.filter(validation_file__status="processed")
    for job in unbegun.select_related("base_model", "training_file", "validation_file")[:FILMS_LOOKED_AT]:
        film = prompts.begin(job)
        if film.pk is None:  # its rows ask nothing: not looked at again
            film.save()
    start = "job__start_checkpoint"
    related = ("job__base_model__deployment", f"{start}__deployment", f"{start}__base_model")
    films = Film.objects.filter(open=True, job__archived_at=None).select_related(*related)
    quiet = not sharing.training_goes_first()
    for film in films.order_by("-job__created_at")[:FILMS_LOOKED_AT]:
        _tend(film, quiet)


def _tend(film: Film, quiet: bool) -> None:
    keys = [prompts.Pinned(**each).key for each in film.prompts]
    frames = frames_of(film.job)
    for frame in frames:
        done = not is_missing(frame, keys) or not (quiet or film.now)
        if frame.asked_at and done and not is_claimed(frame):
            _put_away(frame)
    missing = [frame for frame in frames if is_missing(frame, keys)]
    if not missing and film.job.is_final:
        Film.objects.filter(pk=film.pk, prompts=film.prompts).update(open=False)
    if not missing and film.now:
        Film.objects.filter(pk=film.pk).update(now=False)
    for frame in missing:
        if quiet or film.now:
            _bring_on(frame, quiet)


def _bring_on(frame: Frame, quiet: bool) -> None:
    """One step nearer to its answers."""
    target = target_of(frame)
    row = known_row(target)
    if row and row.wanted and row.state == State.READY:
        _wake(frame)
    elif row and row.wanted and row.state == State.FAILED:
        if frame.asked_at:
            Frame.objects.filter(pk=frame.pk).update(failure=row.reason, asked_at=None, changed_at=timezone.now())
            job_changed(frame.job_id)
    elif not (row and row.wanted) and quiet and may_load(target) and not is_somebody_waiting():
        _load(frame, target)


def _wake(frame: Frame) -> None:
    """Tells a worker, one frame at a time, so that its other short work does not wait behind a whole strip."""
    from playground import tasks

    told = timezone.now() - timedelta(seconds=WOKEN_SECONDS)
    if Frame.objects.filter(woken_at__gt=told).exists() or any(map(is_claimed, Frame.objects.exclude(claim=""))):
        return
    if frame.pk is None:
        frame, _ = Frame.objects.get_or_create(job=frame.job, checkpoint=frame.checkpoint)
    Frame.objects.filter(pk=frame.pk).update(woken_at=timezone.now())
    wake(tasks.answer_frame, frame.pk)


def _load(frame: Frame, target: Target) -> None:
    """Wants it served, and notes that nobody else did."""
    row = row_of(target)
    alone = not (row and row.wanted)
    row = deployments.want_target(target)
    asked_at: datetime | None = row.used_at if alone else frame.asked_at
    Frame.objects.update_or_create(
        job=frame.job, checkpoint=frame.checkpoint, defaults={"asked_at": asked_at, "failure": ""}
    )


def _put_away(frame: Frame) -> None:
    """What was loaded for this frame alone, unless somebody came to use it meanwhile."""
    row = row_of(target_of(frame))
    if row and row.wanted and not row.pinned and frame.asked_at and row.used_at <= frame.asked_at:
        deployments.release(row)
    Frame.objects.filter(pk=frame.pk).update(asked_at=None)


# ---- may it load? ----


def may_load(target: Target) -> bool:
    """Without being asked, while nothing trains beside: only where its base model is served anyway. Full weights would
    take a server of their own."""
    return not (isinstance(target, Checkpoint) and target.kind == Checkpoint.Kind.FULL) and is_served(target)


def is_somebody_waiting() -> bool:
    """Some model is on its way already: who asked for it goes first, and films load one at a time."""
    return Deployment.objects.wanted().filter(state__in=(State.QUEUED, State.LOADING)).exists()


def is_served(target: Target) -> bool:
    """The server of its base model runs."""
    base = target if isinstance(target, BaseModel) else target.base_model
    same_server = Q(base_model=base) | Q(checkpoint__base_model=base, checkpoint__kind=Checkpoint.Kind.LORA)
    return Deployment.objects.ready().filter(same_server).exists()


# ---- what a person asks for ----


def ask(job: TrainingJob) -> None:
    """Everything that is missing, now: loads what is not loaded, tries again what failed."""
    film = prompts.begin(job)
    Film.objects.filter(pk=film.pk).update(open=True, now=True)
    keys = [prompts.Pinned(**each).key for each in film.prompts]
    for frame in frames_of(job):
        frame.answers = {key: each for key, each in frame.answers.items() if not each.get("error")}
        frame.failure = ""
        if keys and is_missing(frame, keys):
            Frame.objects.update_or_create(
                job=job, checkpoint=frame.checkpoint, defaults={"answers": frame.answers, "changed_at": timezone.now()}
            )
            _load(frame, target_of(frame))
    job_changed(job.pk)
