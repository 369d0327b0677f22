"""Screens: overview, search, the device strip, and the error pages."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.db.models import Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

from accounts.errors import ApiError
from accounts.models import Project
from dashboard import guide, health
from dashboard.form_choices import version_label
from dashboard.headline import headline
from dashboard.views.jobs import row
from dashboard.waiting import waiting
from playground.models import Deployment
from training import devices, uploads
from training.models import BaseModel, Checkpoint, DatasetFile, TrainingJob
from training.quotas import turns

CARDS = 6
CHECKPOINTS = 8
FOUND_EACH = 6


def overview(request: HttpRequest) -> HttpResponse:
    """The open page fetches `#live` again when something changed."""
    project = request.project
    # they are few: with an order of their own SQLite would go through all jobs of the project for it
    unfinished = (
        TrainingJob.objects.of(project).visible().unfinished().order_by().select_related("base_model", "imported")
    )
    # what runs first, then in the order of the queue
    jobs = sorted(unfinished, key=lambda job: (job.status != "running", job.queued_at or job.created_at))
    places = turns.places()
    context = {
        "cards": [(row(job, places), headline(job, places)) for job in jobs[:CARDS]],
        "more_jobs": max(0, len(jobs) - CARDS),
        "waiting": waiting(project),
        "checkpoints": newest_checkpoints(project),
        "usage": devices.usage(),
        "used_here": disk_use(project),
        "guide": guide.guide(project, looked=bool(request.session.get(guide.LOOKED))),
        "last_jobs": [row(job, places) for job in finished_lately(project)],
        "chunk_bytes": uploads.CHUNK_BYTES,
    }
    return render(request, f"dashboard/overview.html{'#live' if request.htmx else ''}", context)


def newest_checkpoints(project: Project) -> QuerySet[Checkpoint]:
    mine = Checkpoint.objects.of(project).filter(archived_at=None, job__archived_at=None)
    return mine.select_related("job__base_model", "base_model", "deployment")[:CHECKPOINTS]


def finished_lately(project: Project) -> QuerySet[TrainingJob]:
    return TrainingJob.objects.of(project).ended("succeeded").select_related("base_model")[:4]


def disk_use(project: Project) -> dict[str, int]:
    """Bytes by what they are for; the models are the whole server's."""
    return {
        "datasets": DatasetFile.objects.of(project).aggregate(total=Sum("bytes", default=0))["total"],
        "checkpoints": Checkpoint.objects.of(project).aggregate(total=Sum("size_bytes", default=0))["total"],
        "models": sum(BaseModel.objects.ready().exclude(source="folder").values_list("bytes_total", flat=True)),
    }


@require_POST
def train_sample(request: HttpRequest) -> HttpResponse:
    """Step two of the first run, in place."""
    try:
        job = guide.start_sample_job(project=request.project, user=request.user)  # type: ignore[arg-type]
    except ApiError as error:
        messages.error(request, error.message)
        return redirect("overview")
    return redirect("job", job.pk)


# ---- search ----


@dataclass(frozen=True)
class Found:
    title: str
    url: str
    note: str = ""
    icon: str = ""
    colour: int | None = None  # of a job: its dot


PAGES = (
    ("Overview", "overview", "house", "start home"),
    ("Datasets", "datasets", "database", "files upload data jsonl"),
    ("Jobs", "jobs", "trending-down", "training fine-tuning runs"),
    ("New job", "new-job", "plus", "start training fine-tune create"),
    ("Models", "models", "boxes", "base models catalogue download hub"),
    ("Playground", "playground", "columns-3", "chat compare prompt"),
    ("Matrices", "matrices", "table", "prompts answers scores evaluate compare table"),
    ("Prompt sets", "prompt-sets", "list", "prompts questions"),
    ("Lineage", "lineage", "git-branch", "descent what came of what data votes"),
    ("Usage", "usage", "chart-column", "tokens requests cost prices rate limits"),
    ("Settings", "settings", "settings", "members people keys password device api invite"),
)


def search(request: HttpRequest) -> HttpResponse:
    """What the palette (Ctrl+K) lists for ?q=: pages, jobs, datasets, models, checkpoints of this project."""
    words = request.GET.get("q", "").split()[:8]
    project = request.project
    groups = [
        ("Jobs", [_found_job(job) for job in _matching(_jobs(project), words, JOB_FIELDS)]),
        ("Datasets", [_found_file(file) for file in _matching(_files(project, words), words, ("filename", "pk"))]),
        ("Models", [_found_model(each) for each in _matching(BaseModel.objects.all(), words, ("name", "source_id"))]),
        ("Checkpoints", [_found_checkpoint(each) for each in _checkpoints(project, words)]),
    ]
    pages = ("Pages", _pages(words))
    groups = [pages, *groups] if words else [pages, *groups[:2]]
    exactly = " ".join(words).lower()
    groups.sort(key=lambda group: not any(found.title.lower() == exactly for found in group[1]))  # its name: it first
    return render(request, "dashboard/search.html", {"groups": [g for g in groups if g[1]], "words": " ".join(words)})


JOB_FIELDS = ("label", "suffix", "pk", "base_model__name", "training_file_name")
CHECKPOINT_FIELDS = ("step_name", "final_name", "label", "job__label", "pk")


def _jobs(project: Project) -> QuerySet[TrainingJob]:
    return TrainingJob.objects.of(project).select_related("base_model").order_by("archived_at", "-created_at")


def _files(project: Project, words: list[str]) -> QuerySet[DatasetFile]:
    """Of each dataset its newest version; an older one is found by its id."""
    files = DatasetFile.objects.of(project).datasets()
    return files.newest() | files.filter(pk__in=words)


def _checkpoints(project: Project, words: list[str]) -> list[Checkpoint]:
    mine = Checkpoint.objects.of(project).filter(archived_at=None).select_related("job")
    return _matching(mine, words, CHECKPOINT_FIELDS) if words else []


def _matching(rows: QuerySet[Any], words: list[str], fields: tuple[str, ...]) -> list[Any]:
    """Every word must stand in one of the fields."""
    for word in words:
        condition = Q()
        for field in fields:
            condition |= Q(**{f"{field}__icontains": word})
        rows = rows.filter(condition)
    return list(rows[:FOUND_EACH])


def _pages(words: list[str]) -> list[Found]:
    def fits(title: str, more: str) -> bool:
        text = f"{title} {more}".lower()
        return all(any(part.startswith(word.lower()) for part in text.split()) for word in words)

    return [Found(title, reverse(name), icon=icon) for title, name, icon, more in PAGES if fits(title, more)]


def _found_job(job: TrainingJob) -> Found:
    note = f"{job.get_status_display()}{', archived' if job.archived_at else ''} · {job.base_model.name}"
    return Found(job.display_name, reverse("job", args=[job.pk]), note, colour=job.colour)


def _found_file(file: DatasetFile) -> Found:
    return Found(
        file.filename, reverse("dataset", args=[file.pk]), f"{file.rows:,} rows{version_label(file)}", "file-text"
    )


def _found_model(model: BaseModel) -> Found:
    return Found(model.name, f"{reverse('models')}#{model.name}", model.get_status_display(), "boxes")


def _found_checkpoint(checkpoint: Checkpoint) -> Found:
    address = f"{reverse('playground')}?models={checkpoint.name}"
    return Found(checkpoint.label or checkpoint.name, address, "Open in playground", colour=checkpoint.job.colour)


# ---- the device strip ----


def device(request: HttpRequest) -> HttpResponse:
    """The strip of the top bar; ?detail=1 gives what a press opens."""
    training = TrainingJob.objects.filter(status="running").select_related("project")
    served = Deployment.objects.wanted().select_related("checkpoint", "base_model")
    mine = Q(checkpoint=None) | Q(checkpoint__project=request.project)
    context = {
        "usage": devices.usage(),
        "training": [_trains(job, request.project) for job in training],
        "queued": TrainingJob.objects.filter(status="queued").count(),
        "served": served.filter(mine),
        "served_ready": served.ready().count(),
        "others_served": served.exclude(mine).count(),
    }
    if "detail" in request.GET:
        context |= {"facts": devices.device_facts(), "processes": health.process_states()}
        return render(request, "dashboard/device.html#detail", context)
    return render(request, "dashboard/device.html#strip", context)


def _trains(job: TrainingJob, project: Project) -> dict[str, Any]:
    """Another project's job takes the device too, but shows nothing of itself."""
    mine = job.project_id == project.pk
    percent = round(100 * job.step / job.total_steps) if job.total_steps else 0
    return {"mine": mine, "job": job if mine else None, "percent": percent}


urlpatterns: list[URLPattern] = [
    path("", overview, name="overview"),
    path("search/", search, name="search"),
    path("device/", device, name="device"),
    path("first-steps/train", train_sample, name="train-sample"),
]
