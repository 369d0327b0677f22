"""What came of the versions of a dataset: jobs, their checkpoints, the campaigns that judged them, prompts drawn from
it, files made of it. Each kind is read once for all versions."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Q

from playground.campaigns.models import Campaign
from playground.matrix.models import PromptSet
from training.models import Checkpoint, DatasetFile, TrainingJob

NAMED = 3  # of each kind in a sentence


@dataclass(frozen=True)
class JobsDescent:
    """What came of one job."""

    job: TrainingJob
    checkpoints: list[Checkpoint]
    campaigns: list[Campaign]


@dataclass
class Descent:
    """Of one version."""

    jobs: list[TrainingJob] = field(default_factory=list)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    campaigns: list[Campaign] = field(default_factory=list)
    prompt_sets: list[PromptSet] = field(default_factory=list)
    parts: list[DatasetFile] = field(default_factory=list)  # files of their own that were made of it
    versions: list[DatasetFile] = field(default_factory=list)  # of the same dataset that were made of it

    def by_job(self) -> list[JobsDescent]:
        """Each job with its own checkpoints, and the campaigns in which they stand."""
        found = []
        for job in self.jobs:
            own = [each for each in self.checkpoints if each.job_id == job.pk]
            names = _names(own)
            found.append(JobsDescent(job, own, [each for each in self.campaigns if names & _contenders(each)]))
        return found

    @property
    def words(self) -> str:
        """What depends on it, for who is about to delete it; empty when nothing does."""
        told = [
            _named("job", [job.display_name for job in self.jobs]),
            _named("checkpoint", [f"{each.job.display_name}, {each.when}" for each in self.checkpoints]),
            _named("campaign", [campaign.name for campaign in self.campaigns]),
            _named("prompt set", [each.name for each in self.prompt_sets]),
            _named("file made of it", [part.filename for part in self.parts], "files made of it"),
            _named("later version", [f"version {each.version}" for each in self.versions]),
        ]
        return "; ".join(words for words in told if words)


def _named(kind: str, names: list[str], several: str = "") -> str:
    """'2 jobs (Tickets, Tickets (2))'; empty for none."""
    if not names:
        return ""
    word = kind if len(names) == 1 else several or f"{kind}s"
    more = f" and {len(names) - NAMED} others" if len(names) > NAMED else ""
    return f"{len(names)} {word} ({', '.join(names[:NAMED])}{more})"


def of_versions(files: Iterable[DatasetFile]) -> dict[str, Descent]:
    """By the id of the file; all of one project."""
    found = {file.pk: Descent() for file in files}
    projects = {file.project_id for file in files}
    _add_jobs(found)
    _add_campaigns(found, projects)
    for made in DatasetFile.objects.datasets().filter(parent__in=found).select_related("parent"):
        if made.parent:
            kind = "versions" if made.family == made.parent.family else "parts"
            getattr(found[made.parent.pk], kind).append(made)
    return found


def _add_jobs(found: dict[str, Descent]) -> None:
    jobs = TrainingJob.objects.filter(Q(training_file__in=found) | Q(validation_file__in=found))
    of_job: dict[str, list[Checkpoint]] = defaultdict(list)
    for checkpoint in Checkpoint.objects.filter(job__in=jobs, archived_at=None).select_related("job__base_model"):
        of_job[checkpoint.job_id].append(checkpoint)
    for job in jobs.select_related("base_model"):
        for file_id in {job.training_file_id, job.validation_file_id} & found.keys():
            found[file_id].jobs.append(job)
        if job.training_file_id in found:  # what was only validated with it did not come from it
            found[job.training_file_id].checkpoints += of_job[job.pk]


def _add_campaigns(found: dict[str, Descent], projects: set[str]) -> None:
    """Those that judge its checkpoints, and those that ask prompts drawn from it."""
    for each in PromptSet.objects.filter(project__in=projects, source__kind="file", source__file__in=list(found)):
        found[each.source["file"]].prompt_sets.append(each)
    names = {file_id: _names(descent.checkpoints) for file_id, descent in found.items()}
    for campaign in Campaign.objects.filter(project__in=projects).select_related("matrix__prompt_set"):
        judged = _contenders(campaign)
        for file_id, descent in found.items():
            if judged & names[file_id] or campaign.matrix.prompt_set in descent.prompt_sets:
                descent.campaigns.append(campaign)


def _names(checkpoints: Iterable[Checkpoint]) -> set[str]:
    return {name for each in checkpoints for name in (each.step_name, each.final_name)}


def _contenders(campaign: Campaign) -> set[str]:
    return {column["model"] for column in campaign.matrix.columns if "model" in column}
