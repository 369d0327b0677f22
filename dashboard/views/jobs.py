"""Screens: the list of jobs, a job, the comparison of jobs, and what can be done to them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.errors import ApiError
from accounts.roles import Role, may
from dashboard import differences
from dashboard.curves import sparkline
from dashboard.views import (
    exports,
    film,
    imported,
    job_configuration,
    job_figures,
    job_page,
    model_choice,
    new_job,
    sharing,
)
from training.models import Checkpoint, Metric, TrainingJob
from training.quotas import turns

ROWS_A_PAGE = 50
MOST_COMPARED = 10
STATUSES: dict[str, tuple[str, Q]] = {
    "": ("All", Q(archived_at=None)),
    "active": ("Active", Q(archived_at=None, status__in=["validating_files", "queued", "running", "paused"])),
    "succeeded": ("Succeeded", Q(archived_at=None, status="succeeded")),
    "failed": ("Failed", Q(archived_at=None, status="failed")),
    "cancelled": ("Cancelled", Q(archived_at=None, status="cancelled")),
    "archived": ("Archived", Q(archived_at__isnull=False)),
}


@dataclass(frozen=True)
class JobRow:
    """A job as the list shows it."""

    job: TrainingJob
    best_loss: float | None
    sparkline: str
    place_words: str  # in the queue; empty when it does not wait there
    remaining: timedelta | None

    @property
    def percent(self) -> int:
        return round(100 * self.job.step / self.job.total_steps) if self.job.total_steps else 0

    @property
    def seconds_left(self) -> float | None:
        return max(0.0, self.remaining.total_seconds()) if self.remaining else None


def jobs(request: HttpRequest) -> HttpResponse:
    """?status= and ?q= choose; the open page fetches `#rows` again when something changed."""
    mine = TrainingJob.objects.of(request.project)
    status, words = request.GET.get("status", ""), request.GET.get("q", "").strip()
    if status not in STATUSES:
        status = ""
    numbers = counted(mine)
    page = page_of_ids(search(mine.filter(STATUSES[status][1]), words), words, numbers[status], request.GET.get("page"))
    by_id, places = shown(list(page)), turns.places()
    context = {
        "page": page,
        "rows": [row(by_id[job_id], places) for job_id in page if job_id in by_id],
        "status": status,
        "words": words,
        "filters": [(key, label, numbers[key]) for key, (label, _) in STATUSES.items()],
        "any_jobs": mine.exists(),
    }
    part = request.htmx and not request.htmx.history_restore_request
    return render(request, "dashboard/jobs.html#rows" if part else "dashboard/jobs.html", context)


def counted(jobs: QuerySet[TrainingJob]) -> dict[str, int]:
    """How many jobs each of STATUSES has, all in one look at an index, in which the project stands but no id."""
    numbers = {f"n{place}": Count("project_id", filter=which) for place, (_, which) in enumerate(STATUSES.values())}
    return dict(zip(STATUSES, jobs.order_by().aggregate(**numbers).values(), strict=True))


def page_of_ids(found: QuerySet[TrainingJob], words: str, number: int, page: str | None) -> Any:
    """Ids alone: on their way to a late page databases read all that is asked for of the rows before it. `number`: of
    these jobs where there are no words; those with words are looked through once, to be counted as well."""
    ids = found.values_list("pk", flat=True).order_by("-created_at", "-id")
    paginator = Paginator(list(ids) if words else ids, ROWS_A_PAGE)
    if not words:
        paginator.count = number  # type: ignore[misc]
    return paginator.get_page(page)


def search(jobs: QuerySet[TrainingJob], words: str) -> QuerySet[TrainingJob]:
    for word in words.split():
        jobs = jobs.filter(
            Q(label__icontains=word)
            | Q(suffix__icontains=word)
            | Q(pk__icontains=word)
            | Q(base_model__name__icontains=word)
            | Q(training_file_name__icontains=word)
            | Q(fine_tuned_model__icontains=word)
        )
    return jobs


def shown(ids: list[str]) -> dict[str, TrainingJob]:
    """With what a row of the list says, by id."""
    # by nothing but their ids: with a project or an order to them SQLite would go through the project's jobs
    found = TrainingJob.objects.order_by().select_related("base_model", "training_file", "start_checkpoint", "imported")
    judged = Metric.objects.filter(job=OuterRef("pk"), full_valid_loss__isnull=False).order_by("full_valid_loss")
    return found.annotate(best_loss=Subquery(judged.values("full_valid_loss")[:1])).in_bulk(ids)


def row(job: TrainingJob, places: dict[str, str]) -> JobRow:
    """`places`: what is said of those in the queue."""
    place = places.get(job.pk, "")
    left = job.estimated_finish_at - timezone.now() if job.estimated_finish_at and job.status == "running" else None
    return JobRow(job, getattr(job, "best_loss", None), sparkline(job), place, left)


def compare(request: HttpRequest) -> HttpResponse:
    """Up to ten jobs, `?ids=a,b` or `?ids=a&ids=b`; `?all=1` shows what is the same too."""
    wanted = [part for value in request.GET.getlist("ids") for part in value.split(",") if part]
    found = TrainingJob.objects.of(request.project).select_related(
        "base_model", "parent", "validation_file", "start_checkpoint"
    )
    by_id = found.in_bulk(wanted[:MOST_COMPARED])
    if len(by_id) < len(set(wanted[:MOST_COMPARED])):
        raise Http404("One of these jobs does not exist in this project.")
    chosen = [by_id[job_id] for job_id in dict.fromkeys(wanted[:MOST_COMPARED])]
    outcomes = [(job, job.best_checkpoint(), _last_checkpoint(job)) for job in chosen]
    winner = lowest(outcomes)
    context = {
        "jobs": chosen,
        "winner": winner,
        "why_no_winner": "" if winner else _why_no_winner(chosen),
        "lines": differences.lines(chosen),
        "all": request.GET.get("all") == "1",
        "ids": ",".join(job.id for job in chosen),
        "outcomes": outcomes,
        "any_of_rows": any(job.recipe.method != "dpo" for job in chosen),
        "any_of_pairs": any(job.recipe.method == "dpo" for job in chosen),
        "reruns": [job for job in chosen if job.parent_id],
        "too_many": len(set(wanted)) > MOST_COMPARED,
    }
    return render(request, "dashboard/jobs_compare.html", context)


Outcome = tuple[TrainingJob, Checkpoint | None, Checkpoint | None]  # with its best checkpoint and its last


def lowest(outcomes: Sequence[Outcome]) -> TrainingJob | None:
    """The job whose best validation loss is the lowest. None where the losses are of different files or methods, where
    fewer than two jobs have one, or where two are equal."""
    found = sorted((best.full_valid_loss, job.id) for job, best, _ in outcomes if best and best.full_valid_loss)
    if len(found) < 2 or found[0][0] == found[1][0] or _why_no_winner([job for job, _, _ in outcomes]):
        return None
    return next(job for job, _, _ in outcomes if job.id == found[0][1])


def _why_no_winner(jobs: Sequence[TrainingJob]) -> str:
    """Why losses of these jobs say nothing of each other; empty where they do."""
    judged = [job for job in jobs if job.validation_file_name]
    if len({job.recipe.method for job in judged}) > 1:
        return "These losses are of different methods: a lower one is no better model."
    files = {
        (job.validation_file.sha256 or job.validation_file.id) if job.validation_file else job.id for job in judged
    }
    if len(files) > 1:
        return "These losses are of different validation files: a lower one is no better model."
    return ""


def _last_checkpoint(job: TrainingJob) -> Checkpoint | None:
    return job.checkpoints.exclude(full_valid_loss=None).order_by("-step").first()


# ---- what can be done to a job ----


def _action(name: str) -> Callable[..., Any]:
    from training import actions

    return getattr(actions, name)  # type: ignore[no-any-return]


def _rename(job: TrainingJob, request: HttpRequest) -> str:
    _action("rename_job")(job, request.POST.get("label", "").strip()[:200])
    return "Renamed"


def _archive(job: TrainingJob, request: HttpRequest) -> str:
    if job.archived_at:
        _action("archive_job")(job, archived=False)
        return f"{job.display_name} is back in the list"
    _action("archive_job")(job)
    return f"{job.display_name} is archived; nothing was deleted"


def _drop(job: TrainingJob, request: HttpRequest) -> str:
    _action("cancel_job")(job, drop=True)
    return f"{job.display_name} is stopped and its checkpoints are deleted"


def _delete(job: TrainingJob, request: HttpRequest) -> str:
    """Models go with it, and those are an owner's to delete, as in the API."""
    if not may(request.role, Role.OWNER) and job.checkpoints.exists():
        text = f"{job.display_name} has models, which only an owner of the project deletes. Archive it, or ask one."
        raise ApiError(text, status=403, code="owner_required")
    _action("delete_job")(job)
    return f"{job.display_name} is deleted and its disk freed"


def _plain(name: str, said: str) -> Callable[[TrainingJob, HttpRequest], str]:
    def run(job: TrainingJob, request: HttpRequest) -> str:
        _action(name)(job)
        return said.format(job=job.display_name)

    return run


JOB_ACTIONS: dict[str, Callable[[TrainingJob, HttpRequest], str]] = {
    "pause": _plain("pause_job", "{job} pauses after this step"),
    "resume": _plain("resume_job", "{job} goes on"),
    "stop": _plain("cancel_job", "{job} is stopped; its checkpoints stay"),
    "drop": _drop,
    "save": _plain("save_checkpoint", "{job} saves a checkpoint after this step"),
    "rename": _rename,
    "archive": _archive,
    "delete": _delete,
}


@require_POST
def act(request: HttpRequest, job_id: str, action: str) -> HttpResponse:
    """One of JOB_ACTIONS, then the job again (the list after a delete). A refusal is told as a toast."""
    job = get_object_or_404(TrainingJob.objects.of(request.project), pk=job_id)
    if action not in JOB_ACTIONS:
        raise Http404(f"No such action: {action}")
    try:
        messages.success(request, JOB_ACTIONS[action](job, request))
    except ApiError as refused:
        messages.error(request, refused.message)
        return redirect("job", job_id)
    return redirect("jobs") if action == "delete" else redirect("job", job_id)


@require_POST
def act_on_many(request: HttpRequest) -> HttpResponse:
    """Compare, archive or delete the jobs that are marked in the list."""
    ids, action = request.POST.getlist("ids"), request.POST.get("action", "")
    if action == "compare":
        return redirect(f"{reverse('compare-jobs')}?ids={','.join(ids)}")
    if action not in {"archive", "delete"}:
        raise Http404(f"No such action: {action}")
    for job in TrainingJob.objects.of(request.project).filter(pk__in=ids):
        try:
            JOB_ACTIONS[action](job, request)
            audit.tell_one(request, job=job)
        except ApiError as refused:
            messages.error(request, f"{job.display_name}: {refused.message}")
            audit.tell_one(request, job=job, refused=refused.code or "refused")
    return redirect("jobs")


CHECKPOINT_ACTIONS = {"rename", "archive", "delete"}


@require_POST
def act_on_checkpoint(request: HttpRequest, job_id: str, checkpoint_id: str, action: str) -> HttpResponse:
    """To delete has a name of its own among the routes, since it takes an owner (dashboard.walls)."""
    mine = Checkpoint.objects.of(request.project).filter(job=job_id)
    checkpoint = get_object_or_404(mine, pk=checkpoint_id)
    if action not in CHECKPOINT_ACTIONS:
        raise Http404(f"No such action: {action}")
    try:
        if action == "rename":
            _action("rename_checkpoint")(checkpoint, request.POST.get("label", "").strip()[:200])
        elif action == "archive":
            _action("archive_checkpoint")(checkpoint)
        else:
            _action("delete_checkpoint")(checkpoint)
    except ApiError as refused:
        messages.error(request, refused.message)
    return redirect(f"{reverse('job', args=[job_id])}#checkpoints")


urlpatterns: list[URLPattern] = [
    path("", jobs, name="jobs"),
    path("new/", new_job.new_job, name="new-job"),
    path("new/estimate", new_job.estimate, name="estimate-job"),
    path("new/model", model_choice.model_choice, name="model-choice"),
    path("new/from-file", job_configuration.fill_from_file, name="job-from-file"),
    path("compare/", compare, name="compare-jobs"),
    path("many", act_on_many, name="act-on-jobs"),
    path("<str:job_id>/", job_page.job, name="job"),
    path("<str:job_id>/configuration.<str:kind>", job_configuration.download, name="job-configuration"),
    path("<str:job_id>/metrics.json", job_figures.metrics_json, name="job-metrics"),
    path("<str:job_id>/metrics.csv", job_figures.metrics_csv, name="job-csv"),
    path("<str:job_id>/figures", job_figures.figures_table, name="job-figures"),
    path("<str:job_id>/playground", job_page.open_in_playground, name="job-playground"),
    path("<str:job_id>/answer-by", imported.answer_by, name="answer-by"),
    path("<str:job_id>/film/ask", film.ask, name="ask-film"),
    path("<str:job_id>/film/prompts", film.pin, name="pin-prompts"),
    path("<str:job_id>/do/<str:action>", act, name="act-on-job"),
    path("<str:job_id>/checkpoints/<str:checkpoint_id>/tar", exports.download_checkpoint, name="checkpoint-tar"),
    path("<str:job_id>/checkpoints/<str:checkpoint_id>/merged", exports.download_merged, name="merged-tar"),
    path("<str:job_id>/checkpoints/<str:checkpoint_id>/merge", exports.merge, name="merge-checkpoint"),
    path("<str:job_id>/checkpoints/<str:checkpoint_id>/sharing", sharing.sharing, name="sharing"),
    path("<str:job_id>/checkpoints/<str:checkpoint_id>/sharing/add", sharing.share, name="share-checkpoint"),
    path(
        "<str:job_id>/checkpoints/<str:checkpoint_id>/sharing/<str:permission_id>/remove",
        sharing.take_back,
        name="take-back",
    ),
    path(
        "<str:job_id>/checkpoints/<str:checkpoint_id>/delete",
        act_on_checkpoint,
        {"action": "delete"},
        name="delete-checkpoint",
    ),
    path("<str:job_id>/checkpoints/<str:checkpoint_id>/<str:action>", act_on_checkpoint, name="act-on-checkpoint"),
]
