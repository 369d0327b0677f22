"""Every verb on jobs and checkpoints. Each is safe against two people, two tabs and a worker doing things at once."""

import logging
import re
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from training import home, metadata_pair, notify
from training.endings import close
from training.engine.spec import JobSpec, Recipe
from training.job_log import add_event, refresh_queue
from training.launcher import SAVE
from training.models import FINAL, BaseModel, Checkpoint, DatasetFile, TrainingJob
from training.permissions import granting
from training.quotas import limits
from training.trackers import tending
from training.trackers.spec import Integration

log = logging.getLogger(__name__)
Status = TrainingJob.Status
COLOURS = 10
LARGEST_SEED = 2**31 - 1
SUFFIX = re.compile(r"[^:/\s\x00-\x1f]{0,64}")
VALIDATIONS_PER_EPOCH = 10  # sampled batches, between the whole validation sets at the epochs' ends


# ---- create ----


@transaction.atomic
def create_job(
    *,
    project: Project,
    user: User | None,
    base_model: BaseModel,
    training_file: DatasetFile,
    validation_file: DatasetFile | None = None,
    recipe: Recipe | None = None,
    suffix: str = "",
    seed: int | None = None,
    metadata: dict[str, str] | None = None,
    start_checkpoint: Checkpoint | None = None,
    parent: TrainingJob | None = None,
    label: str = "",
    trackers: Sequence[Integration] = (),
    sweep: str = "",
    by_itself: bool = False,
) -> TrainingJob:
    """A new job, to be checked and then queued by the workers. Raises ApiError for what cannot be.

    What only a look into the files can tell (too few examples, a broken line) fails the job, as it does at OpenAI.
    `by_itself`: a later stage of a recipe, which nobody is there to make again; it may be one more than may wait.
    """
    if not by_itself:
        limits.refuse_another_job(project)
    _refuse_impossible(project, base_model, training_file, validation_file, start_checkpoint, suffix, seed)
    tending.refuse_impossible(project, trackers)
    job = TrainingJob.objects.create(
        project=project,
        created_by=user,
        label=label.strip()[:200],
        colour=_next_colour(project),
        status_text="Waiting for its files to be checked",
        base_model=base_model,
        start_checkpoint=start_checkpoint,
        training_file=training_file,
        validation_file=validation_file,
        training_file_name=training_file.filename,
        validation_file_name=validation_file.filename if validation_file else "",
        recipe_json=(recipe or Recipe()).model_dump(mode="json"),
        suffix=suffix,
        seed=secrets.randbelow(LARGEST_SEED + 1) if seed is None else seed,
        metadata=metadata,
        parent=parent,
        sweep=sweep,
    )
    metadata_pair.keep(job)
    tending.add(job, trackers)
    add_event(job, f"Created fine-tuning job: {job.pk}")
    if validation_file == training_file:
        text = "The validation file is the training file itself: its loss will not tell how new data would do."
        add_event(job, text, level="warn")
    _wake_preparer(job)
    notify.project_changed(project.pk)
    return job


def _refuse_impossible(
    project: Project,
    base_model: BaseModel,
    training_file: DatasetFile,
    validation_file: DatasetFile | None,
    start_checkpoint: Checkpoint | None,
    suffix: str,
    seed: int | None,
) -> None:
    _refuse_unusable_file(project, training_file, "training_file")
    if validation_file:
        _refuse_unusable_file(project, validation_file, "validation_file")
    if not base_model.is_present or base_model.status != BaseModel.Status.READY:
        text = f"The weights of {base_model.name} are not on this server's disk. Download the model on the Models page."
        raise ApiError(text, param="model", code="model_not_available")
    if start_checkpoint:
        _refuse_unusable_start(project, base_model, start_checkpoint)
    if not SUFFIX.fullmatch(suffix):
        text = f"Invalid suffix {suffix!r}: at most 64 characters, without colons, slashes and spaces; use hyphens."
        raise ApiError(text, param="suffix", code="invalid_suffix")
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        raise ApiError(f"Invalid seed {seed}: a whole number from 0 to {LARGEST_SEED}.", param="seed")


def _refuse_unusable_file(project: Project, file: DatasetFile, param: str) -> None:
    if file.project_id != project.pk:
        raise ApiError(f"No such File object: {file.pk}", status=404, param=param)
    if file.purpose != "fine-tune":
        text = f"{file.pk} has the purpose '{file.purpose}'; a file to train on needs the purpose 'fine-tune'."
        raise ApiError(text, param=param, code=f"invalid_{param}")
    if file.status == DatasetFile.Status.UPLOADING:
        text = f"The upload of {file.filename} is not complete. Finish it on the Datasets page, then create the job."
        raise ApiError(text, param=param, code=f"invalid_{param}")


def _refuse_unusable_start(project: Project, base_model: BaseModel, start: Checkpoint) -> None:
    if start.project_id != project.pk:
        raise ApiError(f"The model `{start.name}` does not exist", status=404, param="model", code="model_not_found")
    if start.base_model_id != base_model.pk:
        text = f"{start.name} was trained from {start.base_model.name}; it cannot be continued on {base_model.name}."
        raise ApiError(text, param="model", code="base_model_mismatch")
    if not start.path.is_dir():
        text = f"The weights of {start.name} are gone from the disk. Choose another checkpoint or a base model."
        raise ApiError(text, param="model", code="model_not_available")


def _next_colour(project: Project) -> int:
    """The one after the newest job's, so that neighbours in a list differ."""
    newest = TrainingJob.objects.of(project).order_by("-created_at", "-id").values_list("colour", flat=True).first()
    return 0 if newest is None else (newest + 1) % COLOURS


def _wake_preparer(job: TrainingJob) -> None:
    from training import tasks

    transaction.on_commit(lambda: tasks.wake(tasks.prepare, job.pk))


def wake_trainer() -> None:
    """After commit, tell a training worker that there may be a job for it."""
    from training import tasks

    transaction.on_commit(lambda: tasks.wake(tasks.train))


# ---- cancel, pause, resume ----


@transaction.atomic
def cancel_job(job: TrainingJob, *, drop: bool = False) -> TrainingJob:
    """In any state that is not final; the answer is at once, the worker then ends the trainer. `drop`: its checkpoints
    are deleted, and nothing is saved any more."""
    if drop:
        for checkpoint in job.checkpoints.all():
            _refuse_needed(checkpoint)
    if not close(job, Status.CANCELLED, "Cancelled"):
        job.refresh_from_db()
        raise ApiError(f"Job {job.pk} has already {_ended(job)} and cannot be cancelled.", code="job_not_cancellable")
    add_event(job, "Fine-tuning job cancelled")
    if drop:
        TrainingJob.objects.filter(pk=job.pk).update(wanted="drop")
        if not TrainingJob.objects.filter(pk=job.pk).exclude(claim="").exists():  # else its worker does it at the end
            drop_checkpoints(job)
    job.refresh_from_db()
    return job


def drop_checkpoints(job: TrainingJob) -> None:
    """What a cancelled job has saved; a checkpoint that another job meanwhile starts from stays."""
    with transaction.atomic():
        for checkpoint in job.checkpoints.all():
            if not checkpoint.continued_by.unfinished().exists():
                path = checkpoint.path
                granting.tell_of_deletion([checkpoint])
                checkpoint.delete()
                transaction.on_commit(partial(home.free, path))
        transaction.on_commit(partial(home.free, job.folder / "resume"))
    notify.job_changed(job.pk)


def save_checkpoint(job: TrainingJob) -> TrainingJob:
    """A checkpoint after the step that is being done; the training goes on. The trainer looks for the file at every
    step and takes it away when it has saved."""
    job.refresh_from_db()
    if job.status != Status.RUNNING or not job.step or job.wanted:
        text = f"{job.display_name} is not training now, so there is nothing new to save."
        raise ApiError(text, code="job_not_training")
    (job.folder / SAVE).touch()
    return _changed(job)


@transaction.atomic
def pause_job(job: TrainingJob) -> TrainingJob:
    """A running job writes a checkpoint and stops; one that waits is taken out of the queue."""
    rows = TrainingJob.objects.filter(pk=job.pk)
    if rows.filter(status=Status.QUEUED).update(status=Status.PAUSED, status_text="Paused", wanted=""):
        add_event(job, "Fine-tuning job paused")
        refresh_queue()
    elif rows.filter(status=Status.RUNNING).update(wanted="pause", status_text="Pausing: saving where it is"):
        pass
    elif rows.filter(status=Status.VALIDATING_FILES).update(wanted="pause"):
        pass  # becomes paused instead of queued
    elif not rows.filter(status=Status.PAUSED).exists():
        job.refresh_from_db()
        raise ApiError(f"Job {job.pk} has already {_ended(job)} and cannot be paused.", code="job_not_pausable")
    return _changed(job)


@transaction.atomic
def resume_job(job: TrainingJob) -> TrainingJob:
    """A paused job goes to the end of the queue and later continues where it stopped."""
    rows = TrainingJob.objects.filter(pk=job.pk)
    if rows.filter(status=Status.PAUSED).update(
        status=Status.QUEUED,
        status_text="Queued",
        wanted="",
        queued_at=timezone.now(),
        stalls=0,
        paused_for_serving=False,
    ):
        add_event(job, "Fine-tuning job resumed, moving job to queued state")
        refresh_queue()
        wake_trainer()
    elif not rows.filter(status__in=[Status.RUNNING, Status.VALIDATING_FILES], wanted="pause").update(wanted=""):
        job.refresh_from_db()
        raise ApiError(f"Job {job.pk} is {job.status}; only a paused job can be resumed.", code="job_not_resumable")
    return _changed(job)


def _ended(job: TrainingJob) -> str:
    return {"cancelled": "been cancelled"}.get(job.status, job.status)


def _changed(job: TrainingJob) -> TrainingJob:
    notify.job_changed(job.pk)
    notify.project_changed(job.project_id)
    job.refresh_from_db()
    return job


# ---- rename, archive, delete ----


def rename_job(job: TrainingJob, label: str) -> TrainingJob:
    """Only what people see; model names never change."""
    TrainingJob.objects.filter(pk=job.pk).update(label=label.strip()[:200])
    return _changed(job)


def archive_job(job: TrainingJob, archived: bool = True) -> TrainingJob:
    """Out of the lists and back."""
    TrainingJob.objects.filter(pk=job.pk).update(archived_at=timezone.now() if archived else None)
    return _changed(job)


def delete_job(job: TrainingJob) -> None:
    """The job with its checkpoints, its result file and its run folder; the disk is freed."""
    from training import files

    with transaction.atomic():
        row = TrainingJob.objects.select_for_update().filter(pk=job.pk).first()
        if row is None:
            return
        if row.status not in FINAL:
            raise ApiError(f"Job {row.pk} is {row.status}. Cancel it first, then delete it.", code="job_not_finished")
        for checkpoint in row.checkpoints.all():
            _refuse_needed(checkpoint)
        result, folder = row.result_file, row.folder
        granting.tell_of_deletion(row.checkpoints.all())
        row.delete()
        transaction.on_commit(lambda: home.free(folder))
    if result:
        files.delete(result)
    notify.job_changed(job.pk)
    notify.project_changed(job.project_id)


def rename_checkpoint(checkpoint: Checkpoint, label: str) -> Checkpoint:
    """Only what people see; the model name stays."""
    checkpoint.label = label.strip()[:200]
    checkpoint.save(update_fields=["label"])
    notify.job_changed(checkpoint.job_id)
    return checkpoint


def archive_checkpoint(checkpoint: Checkpoint) -> Checkpoint:
    """Out of the lists."""
    checkpoint.archived_at = timezone.now()
    checkpoint.save(update_fields=["archived_at"])
    notify.job_changed(checkpoint.job_id)
    return checkpoint


def delete_checkpoint(checkpoint: Checkpoint) -> None:
    """Its weights leave the disk and its name stops answering; the curves stay."""
    from training import exports

    with transaction.atomic():
        job = TrainingJob.objects.select_for_update().get(pk=checkpoint.job_id)
        _refuse_needed(checkpoint)
        if not job.is_final and not job.checkpoints.filter(step__gt=checkpoint.step).exists():
            text = "This is the newest checkpoint of a job that has not ended; the job may have to continue from it."
            raise ApiError(text, code="checkpoint_in_use")
        path, merged = checkpoint.path, exports.folder_of(checkpoint)
        granting.tell_of_deletion([checkpoint])
        checkpoint.delete()
        transaction.on_commit(lambda: home.free(path))
        transaction.on_commit(lambda: home.free(merged))
        transaction.on_commit(lambda: limits.measure(job))
    notify.job_changed(job.pk)
    notify.project_changed(job.project_id)


def _refuse_needed(checkpoint: Checkpoint) -> None:
    waiting = checkpoint.continued_by.unfinished().first()
    if waiting:
        text = f"Job {waiting.display_name} ({waiting.pk}) starts from {checkpoint.name} and has not ended."
        raise ApiError(text, code="checkpoint_in_use")


# ---- what the trainer is told ----


def spec_for(job: TrainingJob) -> JobSpec:
    """The numbers of a prepared job, with the places of its files."""
    resolved, estimate = job.resolved, job.estimate
    assert resolved and estimate and job.training_file, f"{job.pk} is not prepared"
    shared: dict[str, Any] = resolved.model_dump(include=set(JobSpec.model_fields) & set(type(resolved).model_fields))
    return JobSpec(
        job_id=job.pk,
        base_model=job.base_model.name,
        base_path=job.base_model.path,
        start_path=job.start_checkpoint.path if job.start_checkpoint else None,
        training_file=job.training_file.path,
        validation_file=job.validation_file.path if job.validation_file else None,
        seed=job.seed,
        save_best=resolved.save_best,
        may_checkpoint=job.recipe.gradient_checkpointing != "off",
        valid_every_steps=max(1, estimate.steps_per_epoch // VALIDATIONS_PER_EPOCH) if job.validation_file else 0,
        **shared,
    )
