"""Whose turn it is: projects take turns, so that fifty jobs of one do not hold up the single job of another."""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import Count, OuterRef, Subquery

from accounts.models import Project
from training.models import TrainingJob
from training.quotas import limits

NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    """A job in the queue. `runs_already`: as many jobs as its project may run do run now, so that it waits for one of
    them; 0 where it waits for its turn only."""

    job: TrainingJob
    runs_already: int = 0

    @property
    def blocked(self) -> bool:
        return self.runs_already > 0


def queue() -> list[Place]:
    """All queued jobs in the order in which they are trained; those that their project's limit holds back at the end.

    Jobs that were handed back by a worker keep their place in front. Then it is the turn of the project of which the
    fewest train, of several the one that got the last turn the longest ago, and of its jobs the oldest."""
    waiting = TrainingJob.objects.filter(status="queued").select_related("base_model")
    queued = list(waiting.order_by("queued_at", "pk"))
    if not queued:
        return []
    projects = {job.project_id for job in queued}
    running, last = _now(projects)
    allowed = limits.of_each(projects)
    full = {pk: allowed[pk].jobs for pk in projects if allowed[pk].jobs and running[pk] >= allowed[pk].jobs}
    free = [job for job in queued if job.project_id not in full]
    begun = [job for job in free if _was_handed_back(job)]
    turns = [*begun, *_by_turns([job for job in free if not _was_handed_back(job)], running, last)]
    held = [Place(job, full[job.project_id]) for job in queued if job.project_id in full]
    return [*(Place(job) for job in turns), *held]


def _was_handed_back(job: TrainingJob) -> bool:
    """Unlike one that was paused and resumed, which queues anew."""
    return bool(job.started_at and job.queued_at and job.queued_at <= job.started_at)


def _now(projects: set[str]) -> tuple[Counter[str], dict[str, datetime]]:
    """How many jobs of each train, and when the last of each began."""
    running = TrainingJob.objects.filter(project__in=projects, status="running").order_by()
    running = running.values_list("project").annotate(number=Count("pk"))
    # one look into an index for each project; a maximum of all its jobs would read every one of them
    last = TrainingJob.objects.filter(project=OuterRef("pk"), started_at__isnull=False).order_by("-started_at")
    begun = Project.objects.filter(pk__in=projects).annotate(last=Subquery(last.values("started_at")[:1]))
    begun = begun.exclude(last=None).values_list("pk", "last")
    return Counter(dict(running)), dict(begun)


def _by_turns(queued: list[TrainingJob], running: Counter[str], last: dict[str, datetime]) -> list[TrainingJob]:
    lanes: dict[str, deque[TrainingJob]] = defaultdict(deque)
    for job in queued:
        lanes[job.project_id].append(job)
    turns, told, order = Counter(running), {pk: (0, last.get(pk, NEVER)) for pk in lanes}, []
    while lanes:
        mine = min(lanes, key=lambda pk: (turns[pk], told[pk], lanes[pk][0].queued_at or NEVER, lanes[pk][0].pk))
        order.append(lanes[mine].popleft())
        turns[mine] += 1
        told[mine] = (len(order), NEVER)
        if not lanes[mine]:
            del lanes[mine]
    return order


def words(place: Place, waiting_before: int) -> str:
    """What every page says of it. What trains already is in the queue no more."""
    if place.blocked:
        most = place.runs_already
        return f"Waits: the project may run {most} job{'' if most == 1 else 's'} at once"
    return f"Number {waiting_before + 1} in the queue" if waiting_before else "Next in the queue"


def places(ordered: list[Place] | None = None) -> dict[str, str]:
    """The words of every queued job, by its id. `ordered`: the queue, where it is known."""
    return {place.job.pk: words(place, before) for before, place in enumerate(queue() if ordered is None else ordered)}


def positions() -> dict[str, int]:
    """Of every queued job, by its id, from 1."""
    return {place.job.pk: number for number, place in enumerate(queue(), start=1)}


def ahead_of(job: TrainingJob, ordered: list[Place]) -> list[TrainingJob]:
    """Jobs in the queue that will be trained before this queued one, in order."""
    jobs = [place.job for place in ordered]
    return jobs[: jobs.index(job)] if job in jobs else []
