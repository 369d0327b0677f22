"""One run of the import: files, then jobs, oldest first, then names. Each is stored as soon as it has come, so that a
run which was broken off goes on where it stopped."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from openai import APIStatusError

from accounts.errors import ApiError
from accounts.models import Project
from training import notify
from training.imported import mapping, reading, writing
from training.imported.mapping import ModelMap
from training.imported.reading import Source

Say = Callable[[str], None]


@dataclass
class Report:
    """How many of each kind came (`new`, `changed`, `there`), what could not come and why, and which names were set."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: {"files": Counter(), "jobs": Counter()})
    figures: Counter[str] = field(default_factory=Counter)  # events, steps, checkpoints
    left_out: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def leave_out(self, what: str, why: str) -> None:
        self.left_out.append(f"{what}: {why}")


def unmapped(jobs: list[dict[str, Any]], models: ModelMap) -> dict[str, int]:
    """The bases that nothing stands for, and how many jobs have each."""
    missing = models.missing(job["model"] for job in jobs)
    count = Counter(mapping.base_of(job["model"]) for job in jobs)
    return {base: count[base] for base in missing}


def run(source: Source, project: Project, models: ModelMap, jobs: list[dict[str, Any]], say: Say, dry: bool) -> Report:
    """`jobs` as `source.jobs()` told them. With `dry` nothing is stored and no content is fetched."""
    report = Report()
    named = _take_files(source, project, jobs, report, say, dry)
    for at, told in enumerate(jobs, start=1):
        title = f"job {at} of {len(jobs)}: {told['id']} ({told['model']}, {told['status']})"
        try:
            done = _take_job(source, project, models, told, named, report, dry)
        except (ApiError, APIStatusError) as error:
            done = "left out"
            report.leave_out(told["id"], _reason(error))
        say(f"{title}: {done}")
    if not dry:
        bases = {mapping.base_of(job["model"]) for job in jobs}
        report.names, kept = mapping.set_up_names(project, models, bases)
        for name, why in kept.items():
            report.leave_out(name, why)
        notify.project_changed(project.pk)
    return report


def _take_files(
    source: Source, project: Project, jobs: list[dict[str, Any]], report: Report, say: Say, dry: bool
) -> dict[str, str]:
    """Datasets and result files. Returns the names of all files by id, of those too that could not come."""
    named: dict[str, str] = {}
    other: Counter[str] = Counter()
    for told in source.files():
        named[told["id"]] = told["filename"]
        if told["purpose"] not in (writing.DATASET, writing.RESULT):
            other[told["purpose"]] += 1
            continue
        done = _take_file(source, project, told, report, dry)
        say(f"file {told['id']} ({told['filename']}, {told['bytes'] / 1e6:,.1f} MB): {done}")
    for purpose, count in other.items():
        report.leave_out(
            f"{count} file{'s' if count > 1 else ''} of the purpose {purpose}",
            "Hone keeps what jobs train on and their results",
        )
    for file_id, job_id in _named_by_jobs(jobs).items():
        if file_id not in named and not writing.has_file(project, file_id):
            report.leave_out(file_id, f"gone at OpenAI; {job_id} names it")
    return named


def _take_file(source: Source, project: Project, told: dict[str, Any], report: Report, dry: bool) -> str:
    counts = report.counts["files"]
    try:
        if writing.has_file(project, told["id"]):
            counts["there"] += 1
            return "is here already"
        if not dry:
            with source.content(told["id"]) as content:
                writing.write_file(project, told, content)  # type: ignore[arg-type]
    except (ApiError, APIStatusError) as error:
        report.leave_out(f"{told['id']} ({told['filename']})", _reason(error))
        return "left out"
    counts["new"] += 1
    return "would come" if dry else "came"


def _reason(error: ApiError | APIStatusError) -> str:
    """Why this one could not come. Raises what will happen to all others, too: a key that was revoked, a full disk."""
    if isinstance(error, ApiError):
        if error.status == 507:
            raise error
        return error.message
    if error.status_code not in reading.OF_ONE_THING:
        raise error
    return reading.why(error)


def _named_by_jobs(jobs: list[dict[str, Any]]) -> dict[str, str]:
    """Each file with a job that names it."""
    found: dict[str, str] = {}
    for job in jobs:
        for file_id in (job.get("training_file"), job.get("validation_file"), *(job.get("result_files") or [])):
            if file_id and writing.ID.fullmatch(file_id):
                found.setdefault(file_id, job["id"])
    return found


def _take_job(
    source: Source,
    project: Project,
    models: ModelMap,
    told: dict[str, Any],
    named: dict[str, str],
    report: Report,
    dry: bool,
) -> str:
    """What became of it, in words. Raises ApiError, APIStatusError."""
    if told["status"] not in writing.ENDED:
        raise ApiError(f"it is {told['status']} at OpenAI; run this again when it has ended")
    counts, local = report.counts["jobs"], models.local(told["model"])
    if writing.is_unchanged(project, told, local, named):
        counts["there"] += 1
        return "is here already"
    kind = "changed" if project.jobs.filter(pk=told["id"]).exists() else "new"
    if not dry:
        assert local, "refused before"
        events, checkpoints = source.events(told["id"]), source.checkpoints(told["id"])
        job = writing.write_job(project, told, events, checkpoints, local, named)
        report.figures.update(events=len(events), steps=job.revision, checkpoints=len(checkpoints))
    counts[kind] += 1
    return f"would come ({kind})" if dry else kind
