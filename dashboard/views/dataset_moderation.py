"""Part of a dataset's tab Safety: the rows that moderation flagged, and what people decide about them."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from dashboard import moderation_told
from dashboard.views.one_dataset import one_dataset
from training.models import DatasetFile
from training.safety import moderation
from training.safety.kinds import FLAGGED
from training.safety.models import WHOLE_KIND, ModerationCheck, ModerationPolicy, SafetyDecision

PAGE_ROWS = 20
ROW_VERBS = {"keep": "Keep", "drop": "Drop row"}
Status = ModerationCheck.Status


def part(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """?flagged= is the first flagged row that is shown, counted from 0."""
    policy = ModerationPolicy.of(request.project)
    check = moderation.known_or_start(file, policy)
    return {
        "moderation": policy,
        "judge": moderation.by(policy),
        "judged": check,
        "judging": bool(check and check.status in (Status.WAITING, Status.RUNNING)),
        "row_verbs": ROW_VERBS,
        **(_rows(request, file, check) if check and check.status == Status.DONE else {}),
    }


def flagged(file: DatasetFile) -> int:
    """Rows of it that the project's policy has flagged, as far as they are judged."""
    policy = ModerationPolicy.of(file.project)
    check = None if policy.policy == ModerationPolicy.Policy.OFF else moderation.known(file, policy)
    return check.flagged if check and check.status == Status.DONE else 0


def _rows(request: HttpRequest, file: DatasetFile, check: ModerationCheck) -> dict[str, Any]:
    asked = request.GET.get("flagged", "")
    first = int(asked) if asked.isdecimal() and len(asked) < 9 else 0
    page = list(moderation.flagged_rows(check, first, PAGE_ROWS + 1))
    lines = [WHOLE_KIND, *(row.line for row in page)]
    made = SafetyDecision.objects.filter(file=file, kind=FLAGGED, line__in=lines).select_related("decided_by")
    by_line = {each.line: each for each in made}
    return {
        "judged_categories": sorted(check.categories.items(), key=lambda each: -each[1]),
        "all_flagged": by_line[WHOLE_KIND].decision if WHOLE_KIND in by_line else "",
        "blocking": moderation_told.WORDS if any(moderation.blocking(file, check)) else "",
        "flagged": [_row(row, by_line) for row in page[:PAGE_ROWS]],
        "flagged_earlier": _address(max(0, first - PAGE_ROWS)) if first else "",
        "flagged_later": _address(first + PAGE_ROWS) if len(page) > PAGE_ROWS else "",
    }


def _row(row: moderation.Flagged, by_line: dict[int, SafetyDecision]) -> dict[str, Any]:
    own, whole = by_line.get(row.line), by_line.get(WHOLE_KIND)
    made = own or whole
    by = f"by {own.decided_by or 'somebody'}" if own else "as all of them" if whole else ""
    return {"it": row, "own": bool(own), "decision": made.decision if made else "", "by": by}


def _address(first: int) -> str:
    return f"?tab=safety&flagged={first}#moderated"


@require_POST
def moderate(request: HttpRequest, file_id: str) -> HttpResponse:
    """Has every row judged, also by somebody else's endpoint, and also again."""
    file = one_dataset(request, file_id)
    policy = ModerationPolicy.of(request.project)
    if file.path.exists() and policy.policy != ModerationPolicy.Policy.OFF:
        moderation.start(file, policy)
    return redirect(f"{reverse('dataset', args=[file.id])}?tab=safety#moderated")
