"""The end of a job: succeeded with a model and a result file, failed with a reason, cancelled or paused."""

import csv
import io

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.errors import ApiError
from accounts.ids import new_id
from training import calibration, files, mailing, notify
from training.claims import owned
from training.engine.spec import End, Measured
from training.job_log import add_event, refresh_queue
from training.models import FINAL, DatasetFile, TrainingJob
from training.usage import jobs as usage
from training.webhooks import deliveries

Status = TrainingJob.Status

RESULT_COLUMNS = {  # OpenAI's and Azure's headings, by our column
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_accuracy",
    "train_mean_token_accuracy": "train_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_accuracy",
    "validation_mean_token_accuracy": "valid_accuracy",
    "full_valid_loss": "full_valid_loss",
    "full_valid_mean_token_accuracy": "full_valid_accuracy",
}


def finish(job: TrainingJob, end: End, *, offset: int | None = None, claim: str = "") -> None:
    """What the trainer's last line means for the job. An interrupted one stays as it is, to be continued."""
    result = _result_csv(job) if end.status == "succeeded" else b""
    whole = end.status == "succeeded" and not end.message  # one that stopped early says nothing of its estimate
    measured = calibration.measure(job) if whole else None
    with transaction.atomic():
        row = owned(job, claim)
        if offset is not None:
            TrainingJob.objects.filter(pk=row.pk).update(events_offset=offset)
        if row.status == Status.RUNNING:
            if end.status == "succeeded":
                _succeed(row, result, measured, end.message)
            elif end.status == "failed":
                fail(row, _reason(row, end), code=end.code or "server_error")
            elif end.status == "cancelled":
                close(row, Status.CANCELLED, "Cancelled")
            elif end.status == "paused":
                _pause(row)
        elif row.is_final:  # cancelled while its trainer was still at work
            TrainingJob.objects.filter(pk=row.pk).update(trained_tokens=_trained_tokens(row))
    job.refresh_from_db()
    notify.job_changed(job.pk)
    notify.project_changed(job.project_id)


def _succeed(row: TrainingJob, result: bytes, measured: Measured | None, closing: str) -> None:
    """`closing` says why it ended before its last step, if it did."""
    last = row.checkpoints.order_by("-step").first()
    if last is None:
        fail(row, "The trainer ended without a checkpoint. Its log is in the job's run folder.", code="server_error")
        return
    if not last.final_name:
        last.final_name = new_model_name(row)
        last.save(update_fields=["final_name"])
    TrainingJob.objects.filter(pk=row.pk).update(
        fine_tuned_model=last.final_name,
        step=last.step,
        measured_json=measured.model_dump() if measured else None,
        result_file=_result_file(row, result),
    )
    if closing:
        add_event(row, closing)
    add_event(row, f"New fine-tuned model created: {last.final_name}")
    add_event(row, "The job has successfully completed")
    close(row, Status.SUCCEEDED, closing[:300] or "Succeeded")


def _trained_tokens(job: TrainingJob) -> int | None:
    """So far; None for a job that has made no step."""
    told = job.metrics.exclude(trained_tokens=None).order_by("-step").values_list("trained_tokens", flat=True)
    return told.first()


def new_model_name(job: TrainingJob) -> str:
    return f"ft:{job.base_model.name}:{settings.HONE_ORG}:{job.suffix}:{new_id('', 8)}"


def _result_csv(job: TrainingJob) -> bytes:
    """Plain text, numbers only, empty where nothing was computed; one row a step. The method's own figures stand after
    OpenAI's columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = job.metrics.order_by("step")
    own = sorted({name for more in rows.exclude(more={}).values_list("more", flat=True).iterator() for name in more})
    writer.writerow([*RESULT_COLUMNS, *own])
    for *values, more in rows.values_list(*RESULT_COLUMNS.values(), "more").iterator():
        writer.writerow("" if value is None else value for value in [*values, *(more.get(name) for name in own)])
    return text.getvalue().encode()


def _result_file(row: TrainingJob, content: bytes) -> DatasetFile | None:
    try:
        return files.create_file(row.project, row.created_by, "step_metrics.csv", "fine-tune-results", content)
    except (ApiError, OSError) as error:  # a full disk must not undo a finished training
        add_event(row, f"The result file could not be written: {error}", level="warn")
        return None


def _pause(row: TrainingJob) -> None:
    TrainingJob.objects.filter(pk=row.pk).update(
        status=Status.PAUSED,
        status_text=f"Paused after step {row.step}" if row.step else "Paused",
        wanted="",
        phase="",
        estimated_finish_at=None,
    )
    usage.write(row.pk)
    add_event(row, f"Fine-tuning job paused after step {row.step}")
    refresh_queue()


def _reason(row: TrainingJob, end: End) -> str:
    """The trainer knows a file by its place only; people know its name."""
    names = {"invalid_training_file": row.training_file_name, "invalid_validation_file": row.validation_file_name}
    name = names.get(end.code or "")
    text = end.message or "The trainer failed without a reason."
    return f"{name}: {text}" if name else text


def fail(job: TrainingJob, message: str, *, code: str = "server_error", param: str | None = None) -> bool:
    """The job ends as failed with this reason; False when it had ended before."""
    with transaction.atomic():
        if not close(job, Status.FAILED, "Failed"):
            return False
        TrainingJob.objects.filter(pk=job.pk).update(
            error_code=code[:60], error_message=message, error_param=(param or "")[:60]
        )
        add_event(job, message, level="error")
    return True


def close(job: TrainingJob, status: str, text: str) -> bool:
    """Move a job that has not ended to its final state; False when it had ended before."""
    with transaction.atomic():
        changed = (
            TrainingJob.objects.filter(pk=job.pk)
            .exclude(status__in=FINAL)
            .update(
                status=status,
                status_text=text,
                finished_at=timezone.now(),
                trained_tokens=_trained_tokens(job),
                estimated_finish_at=None,
                phase="",
                wanted="cancel" if status == Status.CANCELLED else "",
            )
        )
        if changed:
            usage.write(job.pk)
            deliveries.job_ended(job.pk, job.project_id, str(status))
            mailing.job_ended(job, str(status))
    if changed:
        refresh_queue()
        notify.job_changed(job.pk)
        notify.project_changed(job.project_id)
    return bool(changed)
