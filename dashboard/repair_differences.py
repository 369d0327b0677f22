"""Rows that a repair would change, before and after: some of each kind, or all of them page by page."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from dashboard import row_differences
from playground.differences import Part
from training import checks, excerpts, jsonl
from training.message_rules import Row
from training.repairs import applying, asking, catalogue
from training.repairs.models import Repair
from training.rules import FORMAT_NAMES, detect_format, row_errors, unknown_format

PAGE = 10
OF_EACH = 2  # examples of a repair, or of a reason to leave a row out


def example_lines(figures: dict[str, Any]) -> list[int]:
    """Rows that are left out, each reason among them, then some that each repair changes, then the first others."""
    left_out: list[int] = []
    changed: list[int] = []
    for key, lines in figures.get("examples", {}).items():
        (left_out if key.startswith(applying.LEFT_OUT) else changed).extend(lines[:OF_EACH])
    first = sorted(_filled(left_out, figures.get("left_out_lines", [])))
    return _filled([*first, *sorted(set(changed))], figures.get("lines", []))


def all_lines(figures: dict[str, Any]) -> list[int]:
    """Of all rows that change, as far as they are kept: those that are left out, then the others."""
    return list(dict.fromkeys([*figures.get("left_out_lines", []), *figures.get("lines", [])]))


def _filled(lines: Iterable[int], more: list[int]) -> list[int]:
    """Each once, and as many more as a page holds."""
    found = dict.fromkeys(lines)
    for line in more:
        if len(found) >= PAGE:
            break
        found[line] = None
    return list(found)


@dataclass(frozen=True)
class Difference:
    """One line of the file and what becomes of it; `after` is empty when the row is left out. `why`: what is wrong
    with one that is left out."""

    line: int
    titles: list[str]
    before: list[Part]
    after: list[Part]
    rows: int
    why: str = ""


def of_lines(repair: Repair, lines: Iterable[int]) -> list[Difference]:
    """Worked out anew, since the file never changes. Raises ApiError where the repair cannot be done any more."""
    plan = asking.plan_of(repair)
    index = checks.read_index(repair.file)
    found = []
    for line in lines:
        page = jsonl.page(repair.file.path, line, 1, index)
        row = page[0][1] if page and page[0][0] == line else None
        if row is None:
            found.append(_unreadable(line, jsonl.raw_line(repair.file.path, line, index)))
        else:
            found.append(_difference(line, row, plan))
    return found


def _unreadable(number: int, line: bytes) -> Difference:
    """A line that is no row is shown as it stands, with the words of the rule that it breaks."""
    why = f"This line is longer than {jsonl.MAX_LINE_BYTES >> 20} MiB"
    if len(line.rstrip(b"\r\n")) <= jsonl.MAX_LINE_BYTES:
        try:
            jsonl.parse(line, number == 1)
        except jsonl.BadRow as bad:
            why = bad.message
    text = excerpts.of_line(line, excerpts.LONGEST_ROW)
    return Difference(number, [catalogue.BY_KEY["drop_bad"].title], [Part("removed", text)], [], 0, why)


def _difference(line: int, row: Row, plan: applying.Plan) -> Difference:
    changed = plan.row(row)
    if not changed.rows:
        reason = catalogue.BY_KEY[changed.left_out.partition(":")[0]]
        why = _first_fault(row, plan) if reason.key == "drop_bad" else ""
        return Difference(line, [reason.title], [Part("removed", excerpts.of_row(row))], [], 0, why)
    titles = [catalogue.BY_KEY[key].title for key in changed.by]
    before, after = row_differences.sides(row_differences.as_text([row]), row_differences.as_text(changed.rows))
    return Difference(line, titles, before, after, len(changed.rows))


def _first_fault(row: Row, plan: applying.Plan) -> str:
    """Why it cannot be mended: of what the other chosen repairs make of it."""
    others = applying.Plan([key for key in plan.keys if key != "drop_bad"], plan.options, plan.format)
    each = next((each for each in others.row(row).rows if plan.is_hopeless(each)), row)
    kind = detect_format(each)
    if not kind:
        return unknown_format(each)[1].rstrip(".")
    if kind != plan.format:
        return f"This row is in the {FORMAT_NAMES[kind]} format, not in the {FORMAT_NAMES[plan.format]} format"
    errors = row_errors(each, kind)
    repairs = [catalogue.repair_of(error[4]) for error in errors]
    hopeless = (at for at, repair in enumerate(repairs) if repair is None or repair.key in plan.keys)
    return errors[next(hopeless, 0)][1] if errors else ""
