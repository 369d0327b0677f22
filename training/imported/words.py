"""What is said of a model that is known here and cannot be asked: most were fine-tuned at OpenAI."""

from django.db.models import Q

from accounts.errors import ApiError
from accounts.models import Project
from training.imported.models import ImportedCheckpoint, ImportedJob, local_reruns
from training.models import BEST, Checkpoint, TrainingJob

STAYED = "The weights stayed at OpenAI"


def job_of(project: Project, name: str) -> TrainingJob | None:
    """The imported job that made the model or checkpoint of this name."""
    found = ImportedJob.objects.filter(job__project=project, fine_tuned_model=name).select_related("job").first()
    if found:
        return found.job
    checkpoint = ImportedCheckpoint.objects.filter(job__project=project, name=name).select_related("job").first()
    return checkpoint.job if checkpoint else None


def stayed(project: Project, name: str) -> str:
    """Why this name does not answer and what can be asked instead; empty for a name that did not come from OpenAI."""
    job = job_of(project, name)
    if job is None:
        return ""
    words = f"`{name}` was fine-tuned at OpenAI ({job.pk}) and its weights stayed there, so Hone cannot answer with it."
    if made := local_reruns(job):
        return f"{words} Its rerun here is {made[0].name}: ask for that, or let the old name point at it."
    return f"{words} Rerun that job on its page, then let the old name point at the new model."


def without_best(project: Project, name: str) -> str:
    """Why NAME:best means nothing yet, though there is such a job; empty where there is none."""
    if not name.endswith(BEST):
        return ""
    of_job = Checkpoint.objects.of(project).of_job_called(name.removesuffix(BEST))
    job = TrainingJob.objects.of(project).filter(Q(pk=name.removesuffix(BEST)) | Q(checkpoints__in=of_job)).first()
    if job is None:
        return ""
    words = f"`{name}` is the checkpoint of {job.pk} with the lowest loss over its validation set, and none has one"
    if not job.validation_file_name:
        instead = f" Ask for `{job.fine_tuned_model}`." if job.fine_tuned_model else ""
        return f"{words}: the job has no validation file.{instead}"
    return f"{words}." if job.is_final else f"{words} yet."


def no_such_model(project: Project, name: str) -> ApiError:
    known = stayed(project, name) or without_best(project, name)
    message = known or f"The model `{name}` does not exist or you do not have access to it."
    return ApiError(message, status=404, param="model", code="model_not_found")
