"""One job: the answer on top, its curves, its checkpoints, and everything else under tabs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from dashboard import differences, job_marks, sweep
from dashboard.advice import advice, spikes
from dashboard.forms import LABELS, METHOD_NAMES, RECIPE_FIELDS
from dashboard.headline import headline
from dashboard.judged import Judged, best_of, judged
from dashboard.paging import older
from dashboard.preparing import busy_words, preparing, waiting
from dashboard.row_losses import first_judged, judged_rows
from dashboard.templatetags import figures
from dashboard.views import against_actual, film, imported
from playground.models import Deployment, Verification
from playground.refusals.checking import Finding, findings
from training import checks
from training.engine.spec import Recipe
from training.models import Checkpoint, DatasetFile, Export, TrainingJob
from training.quotas import turns
from training.standing import Stood, stood
from training.trackers import tending
from training.unjudged import saved_because, unjudged_because

LOG_TAIL_BYTES = 64_000
EVENTS_A_PAGE = 100
LEAST_WAIT_SECONDS = 5
PARTS = ("header", "checkpoints", "film", "tab")


@dataclass(frozen=True)
class CheckpointRow:
    """A checkpoint with what the table says about it."""

    checkpoint: Checkpoint
    change: float | None  # of the full validation loss against the best one; 0.0 is the best
    bar: int  # width of its loss bar, per cent of the worst
    deployment: Deployment | None
    verification: Verification | None  # what the last look at the served weights found
    export: Export | None  # the merged weights, once somebody asked for them
    unjudged: str  # why it has no figures over the validation set; empty for one that has
    saved: str  # why it was saved, where the job stopped itself
    refusals: Finding | None  # what it refuses beside the weights before, once somebody asked

    @property
    def is_best(self) -> bool:
        return self.change == 0.0


def job(request: HttpRequest, job_id: str) -> HttpResponse:
    """The page, or the one part that changed (?part=header|checkpoints|film|tab)."""
    mine = TrainingJob.objects.of(request.project)
    found = get_object_or_404(mine.select_related(*RELATED), pk=job_id)
    name = request.GET.get("tab", "")
    tab = name if name in TABS else "events"
    part = request.GET.get("part", "") if request.htmx else ""
    context: dict[str, Any] = {"job": found, "tab": tab, "tabs": TAB_NAMES}
    if part == "":  # before anything is read, so that what changes meanwhile is fetched again
        context["seen"] = job_marks.written(job_marks.digests(job_marks.marks_of(found)))
    known = judged(found) if part in ("", "header", "checkpoints") else []
    if part in ("", "header"):
        context |= header(found, known)
    if part in ("", "checkpoints"):
        best = best_of(known)
        context |= {"checkpoints": checkpoint_rows(found), "left_at_openai": imported.checkpoints(found)}
        context |= {"better_lost": best if best and not best.kept else None}
    if part in ("", "film"):
        context |= film.part(found)
    if part in ("", "tab"):
        context |= TABS[tab](found, request)
    return render(request, f"dashboard/job.html#{part}" if part in PARTS else "dashboard/job.html", context)


# what nearly every job has; the rest is fetched where it is there, because each table in a query costs a page more
RELATED = ("base_model__deployment", "training_file", "validation_file", "imported")


def header(job: TrainingJob, known: list[Judged]) -> dict[str, Any]:
    """`known`: what is judged of it."""
    left = job.estimated_finish_at - timezone.now() if job.estimated_finish_at and job.status == "running" else None
    last = job.metrics.order_by("-step").values("tokens_per_second", "memory_bytes", "epoch").first() or {}
    shown, more = spikes(job)
    still = stood(job)
    began = job.started_at + timedelta(seconds=still.after_start) if job.started_at else None
    spent = (job.finished_at or timezone.now()) - began if began else None
    queue = turns.queue() if job.status == "queued" else []
    refused = Verification.objects.filter(checkpoint__job=job, proof=Deployment.Proof.REFUSED)
    return {
        "headline": headline(job, turns.places(queue), known),
        "preparing": preparing(job),
        "waiting": waiting(job, queue),
        "busy": busy_words(job),
        "percent": round(100 * job.step / job.total_steps) if job.total_steps else 0,
        "seconds_left": max(timedelta(), left).total_seconds() if left is not None else None,
        "seconds_spent": spent.total_seconds() if spent is not None else None,
        "ticks_since": began if job.status == "running" else None,  # later than it began by what it stood still
        "stood_words": stood_words(still) if began else "",
        "last": last,
        "started": job.started_json or {},
        "best": best_of(known),
        "epochs": job.resolved.n_epochs if job.resolved else None,
        "rerun_of": differences.between(job.parent, job) if job.parent else [],
        "blamed": blamed(job),
        "trackers": tending.states(job),
        "advice": advice(job),
        "spikes": shown,
        "moderated": job.events.messages().filter(type="moderation_checks", level="warn").first(),
        "more_spikes": more,
        "unserved": list(refused.select_related("checkpoint").order_by("-checkpoint__step")),
        "sweep": sweep.jobs_beside(job),
        "openai": imported.panel(job),
    }


def stood_words(still: Stood) -> str:
    """What stands beside the time taken; waits of a few seconds are not worth a word."""
    left_out = [(still.paused, "paused"), (still.queued, "in the queue again")]
    parts = [f"{figures.duration(seconds)} {how}" for seconds, how in left_out if seconds >= LEAST_WAIT_SECONDS]
    words = [f"without {' and '.join(parts)}"] if parts else []
    if still.queued_first >= LEAST_WAIT_SECONDS:
        words.append(f"after {figures.duration(still.queued_first)} in the queue")
    return ", ".join(words)


@dataclass(frozen=True)
class Blamed:
    """The dataset that a job failed for. `is_unfit`: its own page says what is wrong with it. `method`: another one,
    which trains on a file that is fit; empty where none does. `is_flagged`: moderation blocked it."""

    file: DatasetFile
    is_unfit: bool
    method: str
    is_flagged: bool = False

    @property
    def method_name(self) -> str:
        return METHOD_NAMES[self.method]


def blamed(job: TrainingJob) -> Blamed | None:
    """None where it failed for something else, or the file is gone from the project."""
    if job.status != "failed" or job.error_param not in ("training_file", "validation_file"):
        return None
    file: DatasetFile | None = getattr(job, job.error_param)
    if file is None:
        return None
    if job.events.messages().filter(type="moderation_checks", level="error").exists():
        return Blamed(file, False, "", is_flagged=True)
    suits = checks.method_for(job.training_file) if job.training_file else job.recipe.method
    is_unfit = checks.refusal(file, method=checks.method_for(file)) is not None
    return Blamed(file, is_unfit, "" if is_unfit or suits == job.recipe.method else suits)


def checkpoint_rows(job: TrainingJob) -> list[CheckpointRow]:
    """Newest last, as training made them."""
    kept = job.checkpoints.filter(archived_at=None).annotate(shared_count=Count("permissions"))
    found = list(kept.select_related("job", "deployment", "verification", "export").order_by("step"))
    losses = [c.full_valid_loss for c in found if c.full_valid_loss is not None]
    best, worst = (min(losses), max(losses)) if losses else (0.0, 0.0)
    refused = findings(found)
    return [
        CheckpointRow(
            checkpoint,
            None if checkpoint.full_valid_loss is None else checkpoint.full_valid_loss - best,
            round(100 * checkpoint.full_valid_loss / worst) if checkpoint.full_valid_loss and worst else 0,
            getattr(checkpoint, "deployment", None),
            getattr(checkpoint, "verification", None),
            getattr(checkpoint, "export", None),
            unjudged_because(checkpoint),
            saved_because(checkpoint),
            refused.get(checkpoint.pk),
        )
        for checkpoint in found
    ]


def open_in_playground(request: HttpRequest, job_id: str) -> HttpResponse:
    """Turns the marked checkpoints (?models=a&models=b) into the playground's one address."""
    job = get_object_or_404(TrainingJob.objects.of(request.project), pk=job_id)
    names = request.GET.getlist("models") or [job.fine_tuned_model or job.base_model.name]
    return redirect(f"{reverse('playground')}?models={','.join(names)}")


# ---- tabs: each returns what its part of the template needs ----


def events_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    """Newest first; ?before= goes back."""
    before, kind = request.GET.get("before", ""), request.GET.get("kind", "")
    found = job.events.all()
    if kind == "messages":
        found = found.messages()
    last = job.events.filter(pk=int(before)).first() if before.isdecimal() else None
    page = list((older(found, last) if last else found).order_by("-created_at", "-pk")[: EVENTS_A_PAGE + 1])
    return {"events": page[:EVENTS_A_PAGE], "more": len(page) > EVENTS_A_PAGE, "kind": kind, "before": before}


def data_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    files = [
        ("Training", job.training_file, job.training_file_name),
        ("Validation", job.validation_file, job.validation_file_name),
    ]
    counted = [(role, file, name, file.facts_for(job.base_model) if file else None) for role, file, name in files]
    return {"files": counted, "started": job.started_json or {}}


def rows_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    return {"judged": judged_rows(job), "first_judged": first_judged(job)}


def configuration_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    """What was asked, what it became and why; marked where it differs from the parent."""
    asked, resolved = job.recipe, job.resolved
    wanted, usual = asked.model_dump(exclude_defaults=True), Recipe().model_dump()
    changed = {line.field: line.values[0] for line in differences.between(job.parent, job)} if job.parent else {}
    rows = [
        {
            "label": LABELS[name],
            "asked": differences.shown(getattr(asked, name)) if name in wanted else "",
            "usual": "auto" if usual[name] == "auto" else "default",
            "became": _became(resolved, name),
            "reason": resolved.reasons.get(name, "") if resolved else "",
            "parent": changed.get(name),
        }
        for name in RECIPE_FIELDS
        if name != "beta" or asked.method == "dpo"
    ]
    others = [(LABELS[name], changed[name]) for name in changed if name not in RECIPE_FIELDS]
    return {"configuration": rows, "resolved": resolved, "other_changes": others, "raw": differences.configuration(job)}


def _became(resolved: Any, name: str) -> str:
    value = getattr(resolved, name, None)
    if value is None:
        return figures.DASH
    if isinstance(value, list):
        return ", ".join(value) or ("every linear layer" if name == "target_modules" else figures.DASH)
    return differences.shown(value)


def log_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    return {"log": tail(job.folder / "trainer.log"), "log_path": job.folder / "trainer.log"}


def tail(path: Path, size: int = LOG_TAIL_BYTES) -> str:
    """The last whole lines of a file; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            length = file.tell()
            file.seek(max(0, length - size))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return text if length <= size else text.partition("\n")[2]


def lineage_tab(job: TrainingJob, request: HttpRequest) -> dict[str, Any]:
    reruns = job.reruns.select_related("base_model").order_by("created_at")
    continued = (
        TrainingJob.objects.of(job.project).filter(start_checkpoint__job=job).select_related("start_checkpoint__job")
    )
    return {
        "parent_changes": differences.between(job.parent, job) if job.parent else [],
        "reruns": [(child, differences.between(job, child)) for child in reruns],
        "continued_by": continued.order_by("created_at"),
        "continued_at_openai": [each.job for each in job.continued_at_openai.select_related("job")],
    }


TABS: dict[str, Callable[[TrainingJob, HttpRequest], dict[str, Any]]] = {
    "events": events_tab,
    "data": data_tab,
    "rows": rows_tab,
    "configuration": configuration_tab,
    "estimate": against_actual.estimate_tab,
    "log": log_tab,
    "lineage": lineage_tab,
}
TAB_NAMES = [
    ("events", "Events"),
    ("data", "Data"),
    ("rows", "Validation rows"),
    ("configuration", "Configuration"),
    ("estimate", "Estimate"),
    ("log", "Log"),
    ("lineage", "Lineage"),
]
