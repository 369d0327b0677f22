"""What a project may use, what it does use, and the refusal of what would be more."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from django.conf import settings
from django.db.models import Sum

from accounts.errors import ApiError
from accounts.models import Project
from training import home
from training.models import DatasetFile, TrainingJob, UploadPart
from training.quotas.models import Quota

GB: Final = 1e9
NEAR: Final = 0.9  # of the disk: told before anything is refused
WAITING: Final = ("validating_files", "queued")
ASK: Final = "or ask whoever looks after the server for more"


@dataclass(frozen=True)
class Limits:
    """0 is none."""

    jobs: int = 0
    waiting: int = 0
    disk_bytes: int = 0


def of(project: Project | str) -> Limits:
    pk = project.pk if isinstance(project, Project) else project
    return of_each([pk])[pk]


def of_each(projects: Iterable[str]) -> dict[str, Limits]:
    """One query for all of them."""
    wanted = list(projects)
    own = {quota.project_id: quota for quota in Quota.objects.filter(project__in=wanted)}
    return {pk: _limits(own.get(pk) or Quota()) for pk in wanted}


def _limits(own: Quota) -> Limits:
    jobs = settings.HONE_PROJECT_JOBS if own.jobs is None else own.jobs
    waiting = settings.HONE_PROJECT_WAITING if own.waiting is None else own.waiting
    disk = settings.HONE_PROJECT_DISK_GB if own.disk_gb is None else own.disk_gb
    return Limits(jobs, waiting, int(disk * GB))


# ---- jobs ----


def may_run_another(project_id: str) -> bool:
    """Locks the project until the transaction ends, so that two workers do not both start its last one."""
    Project.objects.select_for_update().filter(pk=project_id).first()
    most = of(project_id).jobs
    return not most or TrainingJob.objects.filter(project=project_id, status="running").count() < most


def refuse_another_job(project: Project) -> None:
    """Raises ApiError (429, not to be retried) where as many jobs wait as may, (403) where the disk is used up."""
    most = of(project).waiting
    waiting = TrainingJob.objects.of(project).filter(status__in=WAITING).count() if most else 0
    if most and waiting >= most:
        text = f"The job was not made: {waiting} jobs of the project wait already, and {most} may."
        raise _refusal(f"{text} Wait until one has begun, cancel one, {ASK}.", status=429)
    refuse_bytes(project, 0, "The job was not made")


# ---- disk ----


@dataclass(frozen=True)
class Usage:
    """Bytes on the disk, as far as they are known; `unmeasured`: jobs whose folder no worker has looked at yet."""

    datasets: int
    runs: int
    unmeasured: int
    limit: int

    @property
    def total(self) -> int:
        return self.datasets + self.runs

    @property
    def left(self) -> int:
        return max(0, self.limit - self.total)

    @property
    def share(self) -> float:
        """Of the limit; 0 where there is none."""
        return self.total / self.limit if self.limit else 0.0

    @cached_property
    def state(self) -> str:
        """ok | near | full, or nothing without a limit."""
        if not self.limit:
            return ""
        return "full" if self.share >= 1 else "near" if self.share >= NEAR else "ok"


def usage(project: Project) -> Usage:
    return usage_of_each([project.pk])[project.pk]


def usage_of_each(projects: Iterable[str]) -> dict[str, Usage]:
    """From columns: no folder is walked for it (see measure). As many queries for all projects as for one."""
    wanted, datasets = list(projects), Counter[str]()
    files = DatasetFile.objects.filter(project__in=wanted).order_by()
    parts = UploadPart.objects.filter(upload__project__in=wanted).order_by()
    jobs = TrainingJob.objects.filter(project__in=wanted).order_by()
    datasets.update(dict(files.values_list("project").annotate(Sum("bytes"))))
    datasets.update(dict(parts.values_list("upload__project").annotate(Sum("bytes"))))
    for project, pk, size in files.filter(format="text").values_list("project", "pk", "bytes"):
        if (home.file_folder(pk) / "content").is_symlink():  # it lies elsewhere
            datasets[project] -= size
    runs = dict(jobs.values_list("project").annotate(Sum("disk_bytes")))
    unmeasured = Counter(jobs.filter(disk_bytes=None).exclude(attempt=0).values_list("project", flat=True))
    most = of_each(wanted)
    return {pk: Usage(datasets[pk], runs.get(pk) or 0, unmeasured[pk], most[pk].disk_bytes) for pk in wanted}


def measure(job: TrainingJob) -> int:
    """Walks the run folder (checkpoints, exports, logs) and keeps the sum. Whoever changes it much calls this."""
    found = home.size_of(job.folder)
    TrainingJob.objects.filter(pk=job.pk).update(disk_bytes=found)
    return found


def measure_changing() -> None:
    """Jobs that train, and those that nobody has measured."""
    jobs = TrainingJob.objects.exclude(attempt=0)
    for job in jobs.filter(status__in=("running", "paused")) | jobs.filter(disk_bytes=None):
        measure(job)


def refuse_bytes(project: Project, more: int, what: str, *, counted: int = 0) -> None:
    """Raises ApiError (403) where `more` bytes would be beyond what the project may keep. `what`: "a.jsonl was not
    stored"; `counted`: bytes that are counted now and freed once the more are there."""
    if not of(project).disk_bytes:
        return
    used = usage(project)
    held = used.total - counted
    if held + more > used.limit or held >= used.limit:
        wants = f" {_gb(more)} more were needed." if more else ""
        text = f"{what}: the project holds {_gb(held)} of the {_gb(used.limit)} that it may keep on this server."
        raise _refusal(f"{text}{wants} Delete datasets, jobs, checkpoints or exports, {ASK}.", status=403)


def _gb(size: int) -> str:
    return f"{size / GB:,.2f} GB" if size >= 1e7 else f"{size / 1e6:,.2f} MB"


def _refusal(text: str, *, status: int) -> ApiError:
    headers = {"x-should-retry": "false"}  # the SDK tries a 429 again by itself; it cannot help
    return ApiError(text, status=status, type="insufficient_quota", code="quota_exceeded", headers=headers)
