"""Tab of a dataset: what is wrong with its rows, by kind, and what would mend them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.shortcuts import get_object_or_404

from accounts.errors import ApiError
from dashboard import row_differences
from playground.differences import Part
from training import checks, excerpts, jsonl, versions
from training.message_rules import Row
from training.models import BaseModel, DatasetFile
from training.problem_groups import of_problems, of_warning, title_of
from training.repairs import asking, catalogue
from training.repairs.models import Repair
from training.rules import Problem

MESSAGE_FORMATS = ("chat", "preference")
DEFAULT_LENGTH = 2048


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    stored = file.problem_groups or of_problems(file.problems)
    models = [model for model in BaseModel.objects.ready() if model.is_present]
    groups = [_group(group) for group in [*stored, *_too_long(file, models)]]
    mendable = asking.can_be_repaired(file) and file.status in (file.Status.PROCESSED, file.Status.ERROR)
    offers = _offers(file, groups) if mendable else []
    looked = shown(request, file)
    return {
        "errors": [group for group in groups if group["level"] == "error"],
        "warnings": [group for group in groups if group["level"] == "warning"],
        "grouped": bool(file.problem_groups),
        "mendable": mendable,
        "offers": offers,
        "system": asking.most_used_system(file) if mendable else "",
        "models": models,
        "length": min([DEFAULT_LENGTH, *(model.facts.context_length for model in models[:1] if model.facts_json)]),
        "shortened": catalogue.SHORTENED.items(),
        **looked,
        "ticked": looked["repair"].keys if looked["repair"] else _ticked(offers, groups),
    }


def can_be_mended(file: DatasetFile) -> bool:
    """Some repair is offered for a problem of it."""
    groups = [_group(group) for group in file.problem_groups or of_problems(file.problems)]
    return asking.can_be_repaired(file) and any(group["repair"] for group in groups if group["level"] == "error")


def _group(stored: dict[str, Any]) -> dict[str, Any]:
    repair = catalogue.repair_of(stored["kind"])
    return {**stored, "title": title_of(stored["kind"]), "repair": repair, "others": stored["examples"][1:]}


def _too_long(file: DatasetFile, models: list[BaseModel]) -> Iterator[dict[str, Any]]:
    """A warning for each base model that cannot read the longest row whole, as far as its tokens were counted."""
    for model in models:
        facts = file.facts_for(model)
        if facts is None or file.format == "text" or not model.facts_json:
            continue
        most = model.facts.context_length
        if facts.longest_tokens <= most:
            continue
        rows = sum(length > most for length in facts.lengths) if len(facts.lengths) == facts.rows else 0
        message = f"The longest row has {facts.longest_tokens:,} tokens of {model.name}, which reads {most:,} at most"
        fix = "Shorten such rows; else they are cut from their end, which may leave out the answer."
        warning = Problem(0, message, fix, level="warning", kind="too_long", count=rows)
        yield {**of_warning(warning), "rows": rows}


@dataclass(frozen=True)
class Offer:
    """A repair that may be chosen. `rows`: how many the check found for it, 0 where it was not looked for."""

    repair: catalogue.Repair
    rows: int

    @property
    def is_option(self) -> bool:
        """It is told more, or asked for without a finding."""
        return self.repair.key in ("system_prompt", "too_long")


def _offers(file: DatasetFile, groups: list[dict[str, Any]]) -> list[Offer]:
    """What mends something here, in the order it is applied; and what one may want without a finding."""
    found = []
    for repair in catalogue.ALL:
        mended = [group for group in groups if repair.mends(group["kind"])]
        wanted = repair.key == "too_long" and file.format in ("chat", "preference", "completion")
        wanted = wanted or (repair.key == "system_prompt" and file.format in MESSAGE_FORMATS)
        if mended or wanted:
            found.append(Offer(repair, sum(group["rows"] or group["count"] for group in mended)))
    return found


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
    return repair_context(repair)


def repair_context(repair: Repair) -> dict[str, Any]:
    figures = repair.figures
    nothing = repair.state == Repair.State.SHOWN and not (figures.get("by") or figures.get("left_out"))
    differences: list[Difference] = []
    problem = repair.problem
    if repair.state == Repair.State.SHOWN and not nothing:
        try:
            differences = _differences(repair)
        except (ApiError, FileNotFoundError) as error:
            problem = error.message if isinstance(error, ApiError) else f"{repair.file} is gone from the disk."
    return {
        "repair": repair,
        "figures": figures,
        "nothing": nothing,
        "problem": problem,
        "words": asking.words_of(repair),
        "differences": differences,
        "next_version": versions.next_number(repair.file),
        "touched": figures.get("changed", 0) + figures.get("dropped", 0),
        "left": figures.get("rows", 0) - figures.get("dropped", 0) + figures.get("added", 0),
    }


@dataclass(frozen=True)
class Difference:
    """One line of the file and what becomes of it; `after` is empty when the row is left out."""

    line: int
    titles: list[str]
    before: list[Part]
    after: list[Part]
    rows: int


def _differences(repair: Repair) -> list[Difference]:
    """Of the first rows that change: worked out anew, since the file never changes."""
    plan = asking.plan_of(repair)
    index = checks.read_index(repair.file)
    found = []
    for line in repair.figures.get("lines", []):
        page = jsonl.page(repair.file.path, line, 1, index)
        row = page[0][1] if page and page[0][0] == line else None
        found.append(_difference(line, row, plan.row(row) if row is not None else None))
    return found


def _difference(line: int, row: Row | None, changed: Any) -> Difference:
    if row is None or changed is None:
        text = "This line cannot be read as a row."
        return Difference(line, [catalogue.BY_KEY["drop_bad"].title], [Part("removed", text)], [], 0)
    titles = [catalogue.BY_KEY[key].title for key in changed.by]
    if not changed.rows:
        return Difference(line, titles, [Part("removed", excerpts.of_row(row))], [], 0)
    before, after = row_differences.sides(row_differences.as_text([row]), row_differences.as_text(changed.rows))
    return Difference(line, titles, before, after, len(changed.rows))
