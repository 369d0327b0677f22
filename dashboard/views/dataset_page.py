"""Screen: one dataset. The verdict on it, its figures, and a tab for each question about it.

A tab is a module beside this one: `context(request, file)` gives what its template shows, dashboard/dataset_<tab>.html.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET
from django_htmx.http import HttpResponseClientRefresh

from dashboard import guide, leaks_told, moderation_told, secrets_told
from dashboard.views import (
    dataset_problems,
    dataset_repeats,
    dataset_rows,
    dataset_safety,
    dataset_split,
    dataset_table,
    dataset_tokens,
    dataset_used,
    dataset_versions,
)
from dashboard.views.one_dataset import one_dataset
from training import checks
from training.datasets import MIN_JOB_ROWS
from training.models import BaseModel, DatasetFile
from training.rules import FORMAT_NAMES

Status = DatasetFile.Status

OF_A_TABLE = ("table", "problems", "versions", "used")  # the tabs that say something about a table
Context = Callable[[HttpRequest, DatasetFile], dict[str, Any]]
TABS: dict[str, tuple[str, Context]] = {
    "table": ("Table", dataset_table.context),
    "rows": ("Rows", dataset_rows.context),
    "problems": ("Problems", dataset_problems.context),
    "tokens": ("Insight", dataset_tokens.context),
    "repeats": ("Repeats", dataset_repeats.context),
    "safety": ("Safety", dataset_safety.context),
    "split": ("Split", dataset_split.context),
    "versions": ("Versions", dataset_versions.context),
    "used": ("Used by", dataset_used.context),
}


@require_GET
def dataset(request: HttpRequest, file_id: str) -> HttpResponse:
    """?tab= chooses what stands below the verdict."""
    file = one_dataset(request, file_id)
    if file.status == Status.UPLOADING:
        return redirect("datasets")
    if request.htmx and file.status != Status.UPLOADED:  # the page asked whether the check is done
        return HttpResponseClientRefresh()
    if file.sample_task == guide.TASK:
        request.session[guide.LOOKED] = True
    tab = _tab(request, file)
    shown = TABS[tab][1](request, file)
    roles = file.statistics.get("roles", {})
    can_map = _can_map(file)
    sound_rows = _sound_rows(file)
    context = {
        "file": file,
        "format_name": FORMAT_NAMES.get(file.format, "unknown"),
        "unit": "document" if file.format == "text" else "row",
        "verdict": _verdict(file),
        "answers": roles.get("assistant", 0),
        "other_roles": ", ".join(f"{number:,} {role}" for role, number in roles.items() if role != "assistant"),
        "delete_words": dataset_versions.delete_words(file),
        "same": _same_content(file),
        "later": dataset_versions.later(file),
        "merged_of": _merged_of(file),
        "can_train": file.status == Status.PROCESSED and checks.refusal(file, method=checks.method_for(file)) is None,
        "can_map": can_map,
        "can_repair": file.status == Status.ERROR and not can_map and dataset_problems.can_be_mended(file),
        "sound_rows": sound_rows,
        "pairs": _pairs(file, sound_rows),
        "tab": tab,
        "asked_model": _asked_model(request),
        "slim": "tab" in request.GET,  # what training takes: one line beside what was asked for
        "tabs": [(key, name, _count(key, file)) for key, (name, _) in TABS.items() if _tells(key, file)],
        "tab_template": f"dashboard/dataset_{tab}.html",
        "present": file.path.exists(),
        **shown,
    }
    return render(request, "dashboard/dataset.html", context)


def _asked_model(request: HttpRequest) -> str:
    """The base model of the address, for the links of the page: it is the same on every tab."""
    asked = request.GET.get("model", "")
    return asked if asked and BaseModel.objects.ready().filter(name=asked).exists() else ""


def _same_content(file: DatasetFile) -> DatasetFile | None:
    """Another dataset here with the same bytes: somebody uploaded it twice."""
    if not file.sha256:
        return None
    others = DatasetFile.objects.of(file.project).datasets().exclude(family=file.family)
    return others.filter(sha256=file.sha256).order_by("created_at").first()


def _merged_of(file: DatasetFile) -> list[tuple[str, str]]:
    """Name and address of each dataset that it was combined of; no address where that is deleted."""
    if file.origin.get("kind") != "merged":
        return []
    sources = {each["id"]: each["name"] for each in file.origin["sources"]}
    there = {each.pk: each for each in DatasetFile.objects.of(file.project).filter(pk__in=sources)}
    return [
        (there[pk].filename, reverse("dataset", args=[pk])) if pk in there else (name, "")
        for pk, name in sources.items()
    ]


def _tab(request: HttpRequest, file: DatasetFile) -> str:
    """The one that was asked for; else what is most worth a look."""
    asked = request.GET.get("tab", "")
    if asked in TABS and _tells(asked, file):
        return asked
    if file.format == "table":
        return "problems" if file.problem_count else "table"
    return "problems" if file.problem_count and "line" not in request.GET else "rows"


def _tells(tab: str, file: DatasetFile) -> bool:
    return tab in OF_A_TABLE if file.format == "table" else tab != "table"


def _can_map(file: DatasetFile) -> bool:
    """A table; or JSONL whose keys are none that a job knows."""
    if not file.path.is_file() or file.status != Status.ERROR:
        return False
    if file.format == "table":
        return not file.problem_count
    return not file.format and any(each["kind"] in ("unknown_format", "sharegpt") for each in file.problems)


def _count(tab: str, file: DatasetFile) -> int:
    """The figure beside a tab's name; 0 shows none."""
    if tab == "safety":
        return dataset_safety.found(file)
    if tab == "repeats":
        found = leaks_told.found(file.project, [file]).get(file.pk)
        return found.repeats + found.leaks if found else 0
    return (file.problem_count or file.warning_count) if tab == "problems" else 0


@dataclass(frozen=True)
class Verdict:
    level: str  # ok | warn | bad | busy
    sentence: str
    detail: str = ""
    remaining: secrets_told.Remaining | None = None  # secrets and personal data, where one may train
    flagged: str = ""  # what flagged rows mean for a job
    again: bool = False  # a new check may come out better without another file


def _verdict(file: DatasetFile) -> Verdict:
    """The answer to "what is wrong with my data?" in one line."""
    if file.status == Status.UPLOADED:
        return Verdict(
            "busy", f"Checking: {100 * file.check_share:.0f} % read" if file.check_share else "Waiting to be checked"
        )
    rows = f"{file.rows:,} {'document' if file.format == 'text' else 'row'}{'' if file.rows == 1 else 's'}"
    warnings = f"{file.warning_count} warning{'' if file.warning_count == 1 else 's'}"
    if file.format == "table" and not file.problem_count:
        columns = len(file.statistics.get("table", {}).get("columns", []))
        sentence = f"{rows} in {columns:,} column{'' if columns == 1 else 's'}: needs a mapping"
        return Verdict("warn", sentence, file.status_details)
    if file.status == Status.ERROR:
        problems = f"{file.problem_count:,} problem{'' if file.problem_count == 1 else 's'}"
        sentence = f"{rows}, {problems}: not ready" if file.rows else "Not ready"
        details = file.status_details or "Correct them and upload the file again."
        return Verdict("bad", sentence, details, again="Check again" in details)
    if not file.path.exists():
        return Verdict(
            "bad", "The file is gone from the disk", "Upload it again; the figures below are what was found."
        )
    method = checks.method_for(file)
    if file.rows < MIN_JOB_ROWS and method != "pretrain":
        detail = f"Training needs at least {MIN_JOB_ROWS} rows; as a validation set it will do."
        return Verdict("warn", f"{rows}: too few to train on", detail)
    refusal = checks.refusal(file, method=method)
    if refusal:
        return Verdict("warn", f"{rows}, sound, but no job can train on it", f"The format is {file.format}.")
    remaining, blocked = secrets_told.remaining(file), moderation_told.blocked(file)
    told = [blocked.words] if blocked else []
    told += [warnings] if file.warning_count and method != "pretrain" else []
    told += [remaining.words] if remaining else []
    ready = f"{rows} of raw text, ready to continue pre-training with" if method == "pretrain" else f"{rows}, ready"
    ready = f"{rows}, sound" if blocked else ready
    flagged = moderation_told.WORDS if blocked else ""
    return Verdict("warn" if told else "ok", "; ".join([ready, *told]), remaining=remaining, flagged=flagged)


def _sound_rows(file: DatasetFile) -> int:
    """The rows without problems, over which the figures are counted; 0 where an older check did not tell them."""
    return int(file.statistics.get("sound_rows", 0)) if file.problem_count else file.rows


def _pairs(file: DatasetFile, rows: int) -> dict[str, Any]:
    """Mean lengths of the two answers of a preference file, and how often the preferred one is the longer."""
    counted = file.statistics.get("pairs")
    if not counted or not rows:
        return {}
    return {
        "preferred": round(counted["preferred_characters"] / rows),
        "other": round(counted["other_characters"] / rows),
        "longer": counted["preferred_longer"] / rows,
    }
