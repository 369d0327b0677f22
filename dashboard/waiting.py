"""What waits for a person: a job that failed, a file with problems, a model that is gone or does not load."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from playground.models import Deployment
from training.models import BaseModel, DatasetFile, TrainingJob

RECENT = timedelta(days=7)
SHOWN = 5  # of each kind


@dataclass(frozen=True)
class Waiting:
    """What, why, and where to go."""

    icon: str
    title: str
    text: str
    url: str
    verb: str
    level: str = "bad"


@dataclass(frozen=True)
class Rest:
    """How many more of a kind there are, and the page that lists them."""

    words: str
    url: str


@dataclass(frozen=True)
class Everything:
    shown: list[Waiting]
    rests: list[Rest]
    total: int


def waiting(project: Project) -> Everything:
    """The newest of each kind, and how many others there are."""
    jobs, files, served = failed_jobs(project), bad_files(project), refused(project)
    models = [
        (model, reason) for model in BaseModel.objects.exclude(status="downloading") if (reason := trouble(model))
    ]
    shown = [
        *(_job(job) for job in jobs[:SHOWN]),
        *(_file(file) for file in files[:SHOWN]),
        *(Waiting("boxes", model.name, reason, reverse("models"), "Open models") for model, reason in models),
        *(_deployment(each) for each in served[:SHOWN]),
    ]
    counts = (jobs.count(), files.count(), served.count())
    rests = [
        *_rest(counts[0], "failed job", f"{reverse('jobs')}?status=failed"),
        *_rest(counts[1], "file with problems", reverse("datasets"), "files with problems"),
        *_rest(counts[2], "model that vLLM did not load", reverse("models"), "models that vLLM did not load"),
    ]
    return Everything(shown, rests, sum(counts) + len(models))


def failed_jobs(project: Project) -> QuerySet[TrainingJob]:
    since = timezone.now() - RECENT
    return TrainingJob.objects.of(project).ended("failed").filter(finished_at__gt=since)


def bad_files(project: Project) -> QuerySet[DatasetFile]:
    since = timezone.now() - RECENT
    return DatasetFile.objects.of(project).datasets().newest().filter(status="error", created_at__gt=since)


def refused(project: Project) -> QuerySet[Deployment]:
    mine = Deployment.objects.filter(Q(checkpoint__project=project) | Q(checkpoint=None), wanted=True, state="failed")
    return mine.select_related("checkpoint", "base_model")


def trouble(model: BaseModel) -> str:
    """Why a base model cannot be used now; empty when nothing is wrong with it."""
    if model.status == "failed":
        return model.status_text or "It could not be brought to disk."
    if model.status == "ready" and not model.is_present:
        return f"Its folder is gone: {model.path}"
    return ""


def _job(job: TrainingJob) -> Waiting:
    text = job.error_message or job.status_text or "It ended without a word why; its log says more."
    return Waiting("circle-x", job.display_name, text, reverse("job", args=[job.pk]), "Look at the job")


def _file(file: DatasetFile) -> Waiting:
    if file.format == "table" and not file.problem_count:
        words, url = file.status_details or "Needs a mapping", reverse("map-columns", args=[file.pk])
        return Waiting("table", file.filename, words, url, "Map its columns", "warn")
    text = file.status_details or f"{file.problem_count} problems"
    return Waiting("file-text", file.filename, text, reverse("dataset", args=[file.pk]), "See the problems")


def _deployment(row: Deployment) -> Waiting:
    url = reverse("job", args=[row.checkpoint.job_id]) if row.checkpoint else reverse("models")
    return Waiting("server", row.served_name, row.reason, url, "See why it failed")


def _rest(count: int, one: str, url: str, many: str = "") -> list[Rest]:
    more = count - SHOWN
    return [Rest(f"{more} more {one if more == 1 else many or one + 's'}", url)] if more > 0 else []
