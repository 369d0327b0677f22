"""The person who made a job is written to when it has ended."""

from django.db import transaction
from django.urls import reverse

from accounts import mail
from training import tasks
from training.models import TrainingJob

Status = TrainingJob.Status


def job_ended(job: TrainingJob, status: str) -> None:
    """Call inside the transaction that ends the job. One that somebody cancelled is no news to them."""
    if status != Status.CANCELLED and mail.wants(job.created_by):
        transaction.on_commit(lambda: tasks.wake(tasks.mail_job_end, job.pk))


def write(job_id: str) -> None:
    """Body of the actor."""
    job = TrainingJob.objects.select_related("created_by", "project").filter(pk=job_id).first()
    if job and job.is_final and job.created_by and mail.wants(job.created_by):
        subject, text = words(job)
        mail.write(job.created_by, subject, text, reverse("job", args=[job.pk]))


def words(job: TrainingJob) -> tuple[str, str]:
    """Subject and text: what happened, is it good, what next."""
    name = job.display_name
    if job.status == Status.FAILED:
        return f"Failed: {name}", f"{name} failed.\n\n{job.error_message}"
    best, count = job.best_checkpoint(), job.checkpoints.count()
    lines = [f"{name} has succeeded: {count} checkpoint{'s' if count != 1 else ''}, {job.step:,} steps."]
    if best and best.full_valid_loss is not None:
        lines.append(f"Best on the whole validation set: {best.name}, loss {best.full_valid_loss:.4f}.")
    lines.append("Put it beside the base model in the playground, or have people judge it blind in a campaign.")
    return f"Succeeded: {name}", "\n".join(lines)
