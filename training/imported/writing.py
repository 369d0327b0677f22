"""What OpenAI told becomes rows: files, then jobs with their events, figures and checkpoints. Everything can be written
twice with the same result: what is there already stays, what has changed at OpenAI is written anew."""

import re
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, BinaryIO

from django.db import transaction

from accounts.errors import ApiError
from accounts.models import Project
from training import actions, files, metadata_pair
from training.imported import curves, recipes
from training.imported.mapping import base_of
from training.imported.models import ImportedCheckpoint, ImportedJob
from training.models import BaseModel, DatasetFile, JobEvent, TrainingJob

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")  # ids name folders here
ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled", "paused": "cancelled"}
GONE = "Gone at OpenAI: "
DATASET, RESULT = "fine-tune", "fine-tune-results"
NOT_IN_A_SUFFIX = re.compile(r"[:/\s\x00-\x1f]+")


def moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) else None


def refuse_odd_id(found: str) -> None:
    """An id becomes the name of a folder. Raises ApiError."""
    if not ID.fullmatch(found):
        raise ApiError(f"{found!r} is no id that Hone can keep: letters, digits, hyphens and underscores, at most 40.")


# ---- files ----


def has_file(project: Project, file_id: str) -> bool:
    """Raises ApiError where it came into another project."""
    refuse_odd_id(file_id)
    row = DatasetFile.objects.filter(pk=file_id).first()
    if row and row.project_id != project.pk:
        raise ApiError(f"{file_id} has come into the project {row.project} ({row.project_id}) before.")
    return row is not None


def write_file(project: Project, told: dict[str, Any], source: BinaryIO) -> DatasetFile:
    """Through the same gate as an upload: hashed, checked. Raises ApiError."""
    content: Any = curves.plain_csv(source.read()) if told["purpose"] == RESULT else source
    return files.create_file(
        project,
        None,
        told.get("filename") or told["id"],
        told["purpose"],
        content,
        id=told["id"],
        created_at=moment(told["created_at"]),
        origin={"kind": "openai", "words": "Imported from OpenAI."},
    )


# ---- jobs ----


def is_unchanged(project: Project, told: dict[str, Any], local: BaseModel | None, names: dict[str, str]) -> bool:
    """Whether this job came before just as it is told now, for the same local base, and no file of it has come since.
    Raises ApiError where it came into another project, or is a job of Hone's own."""
    refuse_odd_id(told["id"])
    row = TrainingJob.objects.filter(pk=told["id"]).select_related("imported").first()
    if row and row.project_id != project.pk:
        raise ApiError(f"{row.pk} has come into the project {row.project} ({row.project_id}) before.")
    if row is None:
        return False
    if not hasattr(row, "imported"):
        raise ApiError(f"{row.pk} is a job of Hone's own, which nothing that comes writes over.")
    same_base = local is None or row.base_model_id == local.pk
    gone = [note for note in row.imported.notes if note.startswith(GONE)]
    same_files = _is_linked(row, project, told) and gone == _notes_on_files(project, told, names)
    return same_base and row.imported.answer == told and same_files


def _is_linked(row: TrainingJob, project: Project, told: dict[str, Any]) -> bool:
    """To all of its files that are here: one that was deleted and came again is linked to no job."""
    found = [_file(project, told.get(role)) for role in ("training_file", "validation_file")]
    linked = [row.training_file_id, row.validation_file_id, row.result_file_id]
    return linked == [file and file.pk for file in (*found, _result(project, told))]


def write_job(
    project: Project,
    told: dict[str, Any],
    events: list[dict[str, Any]],
    checkpoints: list[dict[str, Any]],
    local: BaseModel,
    names: dict[str, str],
) -> TrainingJob:
    """The job with all that belongs to it, or nothing. `names`: of OpenAI's files by id, of those too that are gone."""
    result = _result(project, told)
    table = result.path.read_bytes() if result else b""
    with transaction.atomic():
        job, imported = _job(project, told, events, local, names)
        steps = curves.total_steps(events, table)
        n_epochs = imported.hyperparameters.get("n_epochs")
        n_epochs = n_epochs if isinstance(n_epochs, int) and n_epochs > 0 else None
        job.result_file, job.total_steps = result, steps
        if n_epochs and steps and steps % n_epochs == 0:
            job.started_json = {"steps_per_epoch": steps // n_epochs}
        rows = curves.metrics(job, events, table, n_epochs)
        job.step, job.revision = (rows[-1].step if rows else 0), len(rows)
        job.save()
        job.metrics.all().delete()
        job.metrics.bulk_create(rows, batch_size=500)
        _write_events(job, events)
        _write_checkpoints(job, checkpoints)
    return job


def _job(
    project: Project, told: dict[str, Any], events: list[dict[str, Any]], local: BaseModel, names: dict[str, str]
) -> tuple[TrainingJob, ImportedJob]:
    """Both rows. What people did to a job that came before (its name, its place in the archive) stays."""
    model, error = told["model"], told.get("error") or {}
    imported = ImportedJob(model=model, base=base_of(model), answer=told, fine_tuned_model=_name(told))
    recipe, notes = recipes.recipe_of(model, imported.method, imported.hyperparameters)
    made = moment(told["created_at"])
    columns = {
        "project": project,
        "status": ENDED[told["status"]],
        "status_text": "Paused at OpenAI" if told["status"] == "paused" else told["status"].capitalize(),
        "base_model": local,
        "training_file": _file(project, told.get("training_file")),
        "validation_file": _file(project, told.get("validation_file")),
        "training_file_name": _file_name(told.get("training_file"), names),
        "validation_file_name": _file_name(told.get("validation_file"), names),
        "recipe_json": recipe.model_dump(mode="json"),
        "suffix": _suffix(told),
        "seed": min(max(told.get("seed") or 0, 0), actions.LARGEST_SEED),
        "metadata": told.get("metadata"),
        "created_at": made,
        "started_at": _started(events),
        "finished_at": moment(told.get("finished_at")) or _last_moment(events) or made,
        "trained_tokens": told.get("trained_tokens"),
        "error_code": (error.get("code") or "")[:60],
        "error_message": error.get("message") or "",
        "error_param": (error.get("param") or "")[:60],
    }
    job = TrainingJob.objects.filter(pk=told["id"]).first()
    if job is None:
        colour = TrainingJob.objects.of(project).count() % actions.COLOURS
        job = TrainingJob(pk=told["id"], colour=colour, label=_label(columns, model, told["id"]))
    for name, value in columns.items():
        setattr(job, name, value)
    job.save()
    metadata_pair.keep(job)
    notes = notes if imported.can_rerun else []
    imported.job, imported.notes = job, [*notes, *_notes_on_files(project, told, names)]
    imported.start_job = _start(project, model)
    imported.save()
    return job, imported


def _name(told: dict[str, Any]) -> str:
    return str(told.get("fine_tuned_model") or "")


def _file(project: Project, file_id: str | None) -> DatasetFile | None:
    return DatasetFile.objects.of(project).filter(pk=file_id).first() if file_id else None


def _file_name(file_id: str | None, names: dict[str, str]) -> str:
    return (names.get(file_id) or file_id)[:255] if file_id else ""


def _result(project: Project, told: dict[str, Any]) -> DatasetFile | None:
    return _file(project, next(iter(told.get("result_files") or []), None))


def _notes_on_files(project: Project, told: dict[str, Any], names: dict[str, str]) -> list[str]:
    """Which of its files did not come."""
    named = [("training file", told.get("training_file")), ("validation file", told.get("validation_file"))]
    named += [("result file", file_id) for file_id in told.get("result_files") or []]
    return [
        f"{GONE}its {role} {names.get(file_id, '')} ({file_id}).".replace("  ", " ")
        for role, file_id in named
        if file_id and not _file(project, file_id)
    ]


def _suffix(told: dict[str, Any]) -> str:
    """As it was asked, else as it stands in the model's name; without what our names cannot hold."""
    parts = _name(told).split(":")
    suffix = told.get("user_provided_suffix") or (parts[3] if len(parts) > 4 else "")
    return NOT_IN_A_SUFFIX.sub("-", suffix)[:64]


def _label(columns: dict[str, Any], model: str, job_id: str) -> str:
    """A name for people, where the suffix is none: else it would name the local base."""
    stem = PurePath(columns["training_file_name"]).stem
    return "" if columns["suffix"] else f"{base_of(model)}{f' on {stem}' if stem else ''} · {job_id[-4:]}"[:200]


def _started(events: list[dict[str, Any]]) -> datetime | None:
    said = (event for event in events if event.get("message") == "Fine-tuning job started")
    first = next(said, None) or next((event for event in events if event.get("type") == "metrics"), None)
    return moment(first["created_at"]) if first else None


def _last_moment(events: list[dict[str, Any]]) -> datetime | None:
    return moment(max((event["created_at"] for event in events), default=None))


def _start(project: Project, model: str) -> TrainingJob | None:
    """The imported job whose model or checkpoint this one continued."""
    mine = ImportedJob.objects.filter(job__project=project).select_related("job")
    found = mine.filter(fine_tuned_model=model).first() if ":" in model else None
    if found:
        return found.job
    checkpoint = ImportedCheckpoint.objects.filter(job__project=project, name=model).select_related("job").first()
    return checkpoint.job if checkpoint else None


def _write_events(job: TrainingJob, events: list[dict[str, Any]]) -> None:
    """With OpenAI's ids, times and words. A step stands in the first event that tells it."""
    job.events.all().delete()
    rows, steps, ids = [], set[int](), set[str]()
    for told in events:
        if told["id"] in ids:
            continue
        ids.add(told["id"])
        step = (told.get("data") or {}).get("step") if told.get("type") == "metrics" else None
        step = step if isinstance(step, int) and step not in steps else None
        steps |= {step} if step is not None else set()
        rows.append(
            JobEvent(
                event_id=told["id"][:40],
                job=job,
                created_at=moment(told["created_at"]),
                level=(told.get("level") or "info")[:10],
                type=(told.get("type") or "message")[:20],
                message=told.get("message") or "",
                data=told.get("data"),
                step=step,
            )
        )
    JobEvent.objects.bulk_create(rows, batch_size=500)


def _write_checkpoints(job: TrainingJob, checkpoints: list[dict[str, Any]]) -> None:
    job.imported_checkpoints.all().delete()
    ImportedCheckpoint.objects.bulk_create(
        ImportedCheckpoint(
            id=told["id"][:60],
            job=job,
            name=told["fine_tuned_model_checkpoint"][:250],
            step=told["step_number"],
            metrics={name: value for name, value in (told.get("metrics") or {}).items() if value is not None},
            created_at=moment(told["created_at"]),
        )
        for told in checkpoints
    )
