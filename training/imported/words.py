"""What is said of a model that was fine-tuned at OpenAI: it is known here, and cannot be asked."""

from accounts.errors import ApiError
from accounts.models import Project
from training.imported.models import ImportedCheckpoint, ImportedJob, local_reruns
from training.models import TrainingJob

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


def no_such_model(project: Project, name: str) -> ApiError:
    message = stayed(project, name) or f"The model `{name}` does not exist or you do not have access to it."
    return ApiError(message, status=404, param="model", code="model_not_found")
