"""Tab of a dataset: what is wrong with its rows, by kind, and what would mend them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from accounts.errors import ApiError
from dashboard import repair_differences
from training import long_rows, splitting, versions
from training.models import BaseModel, DatasetFile
from training.problem_groups import of_problems, of_warning, title_of
from training.repairs import asking, catalogue
from training.repairs.models import Repair
from training.rules import Problem

MESSAGE_FORMATS = ("chat", "preference")
DEFAULT_LENGTH = 2048
NAMED_FIELDS = 5  # in a note
AT_ONCE = 3  # differences that stand there unfolded
ADD_TO_ALL = "Add a system prompt to all rows"
OF_LINES = ("bom", "blank_lines")  # warnings that are found whatever the rows hold


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    stored = file.problem_groups or of_problems(file.problems)
    models = [model for model in BaseModel.objects.ready() if model.is_present]
    groups = [_group(group) for group in [*stored, *_too_long(file, models)]]
    mendable = asking.can_be_repaired(file) and file.status in (file.Status.PROCESSED, file.Status.ERROR)
    system = asking.most_used_system(file) if mendable and file.format in MESSAGE_FORMATS else ""
    offers = _offers(file, groups, bool(system)) if mendable else []
    looked = shown(request, file)
    refused = request.session.pop(refused_key(file), None)  # of the form that was sent before this page
    given = refused or ({"keys": looked["repair"].keys, **looked["repair"].options} if looked["repair"] else {})
    return {
        "errors": [group for group in groups if group["level"] == "error"],
        "warnings": [group for group in groups if group["level"] == "warning"],
        "grouped": bool(file.problem_groups),
        "mendable": mendable,
        "offers": offers,
        "inexact": any(offer.at_least for offer in offers),
        "system": system,
        "models": models,
        "length": min([DEFAULT_LENGTH, *(model.facts.context_length for model in models[:1] if model.facts_json)]),
        "shortened": catalogue.SHORTENED.items(),
        **looked,
        "given": given,
        "refusal": refused["why"] if refused else "",
        "ticked": given["keys"] if given else _ticked(offers, groups),
    }


def refused_key(file: DatasetFile) -> str:
    """Under which the session keeps a form of repairs that was refused, until it is shown again."""
    return f"refused-repairs-{file.pk}"


def can_be_mended(file: DatasetFile) -> bool:
    """Some repair is offered for a problem of it."""
    groups = [_group(group) for group in file.problem_groups or of_problems(file.problems)]
    return asking.can_be_repaired(file) and any(group["repair"] for group in groups if group["level"] == "error")


def _group(stored: dict[str, Any]) -> dict[str, Any]:
    repair = catalogue.repair_of(stored["kind"])
    return {**stored, "title": title_of(stored["kind"]), "repair": repair, "others": stored["examples"][1:]}


def _too_long(file: DatasetFile, models: list[BaseModel]) -> Iterator[dict[str, Any]]:
    """A warning for each base model that cannot read the longest row whole."""
    for model in models:
        found = long_rows.of(file, model)
        if found is None:
            continue
        tokens = f"{'more than ' if found.more else ''}{found.tokens:,} tokens of {model.name}"
        message = f"The longest row has {tokens}, which reads {model.facts.context_length:,} at most"
        fix = "Shorten such rows; else they are cut from their end, which may leave out the answer."
        warning = Problem(0, message, fix, level="warning", kind="too_long", count=found.rows, lines=found.lines)
        yield {**of_warning(warning), "rows": found.rows, "at_least": found.at_least}


@dataclass(frozen=True)
class Offer:
    """A repair that may be chosen. `rows`: how many the check found for it, 0 where it was not looked for; `at_least`:
    there may be more among the rows with problems, which are not searched for warnings. `note`: what to know of it."""

    repair: catalogue.Repair
    title: str
    rows: int
    at_least: bool
    note: str


def _offers(file: DatasetFile, groups: list[dict[str, Any]], has_system: bool) -> list[Offer]:
    """What mends something here, in the order it is applied; and what one may want without a finding. `has_system`:
    some row has a system prompt."""
    found = []
    wrong = any(group["level"] == "error" for group in groups)
    for repair in catalogue.ALL:
        mended = [group for group in groups if repair.mends(group["kind"])]
        wanted = repair.key == "too_long" and file.format in ("chat", "preference", "completion")
        wanted = wanted or (repair.key == "system_prompt" and _lacks_system(file))
        if mended or wanted:
            title = ADD_TO_ALL if repair.key == "system_prompt" and not has_system else repair.title
            rows = sum(group["rows"] or group["count"] for group in mended)
            warned = any(group["level"] == "warning" and group["kind"] not in OF_LINES for group in mended)
            found.append(Offer(repair, title, rows, wrong and warned, _note(repair, file)))
    return found


def _lacks_system(file: DatasetFile) -> bool:
    """Some row may have no system prompt, and a place for one. The check counts that only of chats without problems."""
    every = file.statistics.get("different_system_prompts") and not file.statistics.get("rows_without_system")
    counted = every and not file.problem_count
    return file.format in MESSAGE_FORMATS and not counted and asking.some_take_system(file)


def _note(repair: catalogue.Repair, file: DatasetFile) -> str:
    """What to know of a repair; of unknown fields, which of them are of use elsewhere."""
    fields = splitting.fields_of(file.path) if repair.key == "unknown_fields" else []
    if not fields:
        return repair.note
    names = ", ".join(f'"{name}"' for name in fields[:NAMED_FIELDS])
    more = f" and {len(fields) - NAMED_FIELDS} more" if len(fields) > NAMED_FIELDS else ""
    return (
        f"Also removes {names}{more}, over which Split can spread rows or by which it keeps them together: split first."
    )


def _ticked(offers: list[Offer], groups: list[dict[str, Any]]) -> list[str]:
    """The repairs that are chosen to begin with: what mends problems. Leaving rows out is for a person to choose."""
    wrong = [group["kind"] for group in groups if group["level"] == "error"]
    keys = [offer.repair.key for offer in offers if any(offer.repair.mends(kind) for kind in wrong)]
    return [key for key in keys if key != "drop_bad"]


# ---- what a repair would change ----


def shown(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """The repair of ?repair=, with its differences."""
    asked = request.GET.get("repair", "")
    if not asked:
        return {"repair": None}
    repair = get_object_or_404(Repair.objects.of(request.project).select_related("file", "made"), pk=asked, file=file)
    return repair_context(repair, request.GET.get("changes", ""))


def repair_context(repair: Repair, changes: str = "") -> dict[str, Any]:
    """`changes`: which page of all rows that change; empty: examples of them."""
    figures = repair.figures
    nothing = repair.state == Repair.State.SHOWN and not (figures.get("by") or figures.get("left_out"))
    differences: list[repair_differences.Difference] = []
    lines = repair_differences.all_lines(figures)
    page = Paginator(lines, repair_differences.PAGE).get_page(changes) if changes else None
    problem = repair.problem
    if repair.state == Repair.State.SHOWN and not nothing:
        try:
            shown_lines = list(page) if page else repair_differences.example_lines(figures)
            differences = repair_differences.of_lines(repair, shown_lines)
        except (ApiError, FileNotFoundError) as error:
            problem = error.message if isinstance(error, ApiError) else f"{repair.file} is gone from the disk."
    return {
        "repair": repair,
        "figures": figures,
        "nothing": nothing,
        "problem": problem,
        "words": asking.words_of(repair),
        "differences": differences,
        "shown_at_once": f":{AT_ONCE}",
        "shown_after": f"{AT_ONCE}:",
        "more_differences": max(0, len(differences) - AT_ONCE),
        "changes_page": page,
        "listed": len(lines),
        "next_version": versions.next_number(repair.file),
        "touched": figures.get("changed", 0) + figures.get("dropped", 0),
        "left": figures.get("rows", 0) - figures.get("dropped", 0) + figures.get("added", 0),
    }
