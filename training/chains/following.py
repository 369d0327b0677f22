"""Start a chain, and begin its next stage when the one before has ended. An idle worker looks every few seconds."""

import logging
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from training import actions, checks, notify
from training.chains.models import STAGE_STOPPED, STOPPED, Chain, Stage
from training.datasets import MIN_JOB_ROWS
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob
from training.trackers import tending

JOB_WORDS = "The job failed due to an invalid"  # OpenAI's; here there is no job yet
log = logging.getLogger(__name__)


@transaction.atomic
def start_chain(
    *,
    project: Project,
    user: User | None,
    base_model: BaseModel,
    stages: list[Stage],
    start_checkpoint: Checkpoint | None = None,
    label: str = "",
) -> Chain:
    """With its first job. Raises ApiError, before anything is made, for what no stage can be."""
    for number, stage in enumerate(stages):
        _refuse_impossible(project, stage, number)
    chain = Chain.objects.create(
        project=project,
        created_by=user,
        label=label.strip()[:200],
        base_model=base_model,
        start_checkpoint=start_checkpoint,
        stages_json=[stage.model_dump(mode="json") for stage in stages],
    )
    _begin(chain, 1, start_checkpoint)
    Chain.objects.filter(pk=chain.pk).update(at=1)
    chain.refresh_from_db()
    return chain


def _refuse_impossible(project: Project, stage: Stage, number: int) -> None:
    """What would fail only after hours: a file that is gone or of another method's format, a tracker without a key, a
    best checkpoint that nothing could tell."""
    try:
        if stage.take == "best" and not stage.validation_file:
            raise ApiError(
                "The best checkpoint is the one with the lowest validation loss, and this stage has no validation "
                "file. Choose one, or hand on the last checkpoint.",
                param="take",
            )
        _refuse_unusable(project, stage.training_file, "training", stage.recipe.method, MIN_JOB_ROWS)
        if stage.validation_file:
            _refuse_unusable(project, stage.validation_file, "validation", stage.recipe.method, 1)
        tending.refuse_impossible(project, stage.trackers)
    except ApiError as error:
        param = f"stages.{number}.{error.param or ''}".rstrip(".")
        message = error.message.replace(JOB_WORDS, "It has an invalid")
        raise ApiError(f"Stage {number + 1}: {message}", param=param, code=error.code) from error


def _refuse_unusable(project: Project, file_id: str, name: str, method: str, rows: int) -> None:
    file = DatasetFile.objects.of(project).filter(pk=file_id).first()
    if file is None:
        raise ApiError(f"No such File object: {file_id}", param=f"{name}_file", code="file_not_found")
    if reason := checks.refusal(checks.ensure_checked(file), name=name, method=method, rows_needed=rows):
        raise reason


def _begin(chain: Chain, number: int, start: Checkpoint | None) -> TrainingJob:
    """Raises ApiError."""
    stage = chain.stages[number - 1]
    mine = DatasetFile.objects.of(chain.project)
    training = mine.filter(pk=stage.training_file).first()
    validation = mine.filter(pk=stage.validation_file).first() if stage.validation_file else None
    if training is None or (stage.validation_file and validation is None):
        raise ApiError("A file of this stage was deleted.", param="training_file")
    job = actions.create_job(
        project=chain.project,
        user=chain.created_by,
        base_model=chain.base_model,
        start_checkpoint=start,
        training_file=training,
        validation_file=validation,
        recipe=stage.recipe,
        suffix=stage.suffix,
        seed=stage.seed,
        label=stage.label or f"{chain.title}, stage {number}",
        trackers=stage.trackers,
        by_itself=number > 1,
    )
    job.chain, job.stage = chain, number
    job.save(update_fields=["chain", "stage"])
    return job


# ---- on and on ----


def advance() -> None:
    """Of every chain whose last job has ended: the next stage, or the end."""
    for chain in Chain.objects.filter(finished_at=None, at__gt=0).select_related("project", "base_model"):
        try:
            _advance(chain)
        except Exception:  # one chain must not hold up the others
            log.exception("%s cannot go on", chain.pk)


def _advance(chain: Chain) -> None:
    job = chain.job_of(chain.at)
    if job is None:
        return _end(chain, f"The job of stage {chain.at} was deleted.")
    if not job.is_final or job.claim:
        return None
    if job.status != TrainingJob.Status.SUCCEEDED:
        return _end(chain, _how(job, chain.at))
    if chain.at == len(chain.stages):
        return _end(chain)
    start = taken(job, chain.stages[chain.at - 1])
    if start is None:
        return _end(chain, f"Stage {chain.at} left no checkpoint to start from.")
    try:
        with transaction.atomic():
            # whoever counts up begins the stage; another worker finds it begun
            if Chain.objects.filter(pk=chain.pk, at=chain.at, finished_at=None).update(at=chain.at + 1):
                _begin(chain, chain.at + 1, start)
    except ApiError as error:
        _end(chain, f"Stage {chain.at + 1} cannot begin: {error.message}")
    return None


def taken(job: TrainingJob, stage: Stage) -> Checkpoint | None:
    """The checkpoint that the next stage starts from."""
    last = job.checkpoints.order_by("-step").first()
    return (job.best_checkpoint() or last) if stage.take == "best" else last


def _how(job: Any, number: int) -> str:
    stopped = job.status == TrainingJob.Status.CANCELLED
    return STAGE_STOPPED.format(number) if stopped else f"Stage {number} failed: {job.error_message}"


def _end(chain: Chain, problem: str = "") -> None:
    if Chain.objects.filter(pk=chain.pk, finished_at=None).update(finished_at=timezone.now(), problem=problem):
        notify.project_changed(chain.project_id)


# ---- by a person ----


def retry(chain: Chain) -> TrainingJob:
    """The stage that went wrong once more, from where it began. Raises ApiError."""
    with transaction.atomic():
        if not Chain.objects.filter(pk=chain.pk, problem__gt="").update(finished_at=None, problem=""):
            raise ApiError("This recipe did not stop; there is nothing to try again.", code="chain_not_stopped")
        chain.refresh_from_db()
        stopped = chain.job_of(chain.at)
        if stopped and stopped.status == TrainingJob.Status.SUCCEEDED:
            return stopped  # it was the next stage that could not begin; the next look tries it again
        before = chain.job_of(chain.at - 1) if chain.at > 1 else None
        if chain.at > 1 and before is None:
            raise ApiError(f"The job of stage {chain.at - 1} was deleted, and with it the weights to start from.")
        start = taken(before, chain.stages[chain.at - 2]) if before else chain.start_checkpoint
        if before and start is None:
            raise ApiError(f"Stage {chain.at - 1} left no checkpoint to start from.")
        return _begin(chain, chain.at, start)


def cancel(chain: Chain) -> None:
    """The stage that trains is stopped; its checkpoints stay, later stages never begin."""
    job = chain.job_of(chain.at)
    _end(chain, STOPPED.format(chain.at))
    if job and not job.is_final:
        actions.cancel_job(job)
