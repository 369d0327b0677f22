"""Tab of a dataset: secrets and personal data in it, what people decide about them, and the version made of that."""

from itertools import islice
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.errors import ApiError
from dashboard.views import dataset_moderation
from dashboard.views.one_dataset import one_dataset
from training.models import DatasetFile
from training.safety import moderation, reviewing, scanning
from training.safety.kinds import KINDS, NOT_LOOKED_FOR
from training.safety.models import SafetyScan

PAGE_FINDS = 50
SHOWN = {"all": "All", "open": "Undecided", "keep": "Kept", "redact": "Redacted", "drop": "Dropped"}
VERBS = {"keep": "Keep", "redact": "Redact", "drop": "Drop row"}
Status = SafetyScan.Status


@require_GET
def safety(request: HttpRequest, file_id: str) -> HttpResponse:
    """The tab alone, which asks again while a worker is at it."""
    file = one_dataset(request, file_id)
    return render(request, "dashboard/dataset_safety.html#safety", {"file": file, **context(request, file)})


def context(request: HttpRequest, file: DatasetFile) -> dict[str, Any]:
    """?kind= and ?show= choose among the finds, ?from= is the first of them that is shown."""
    if file.status == DatasetFile.Status.UPLOADED or not file.path.exists():
        return {"scan": None}
    scan = scanning.scan_or_start(file)
    decisions = reviewing.Decisions.of(file)
    kind = request.GET.get("kind", "") if request.GET.get("kind") in KINDS else ""
    show = request.GET.get("show", "all") if request.GET.get("show") in SHOWN else "all"
    moderated = dataset_moderation.part(request, file)
    going = moderation.dropped_lines(file, moderated["moderation"])
    outcome = reviewing.foreseen(file, scan, decisions, going)
    return {
        "scan": scan,
        "busy": scan.status in (Status.WAITING, Status.RUNNING) or scan.making or moderated["judging"],
        "going": len(going),
        "flagged_open": moderation.undecided(file, moderated["moderation"]),
        "looked_for": [kind.name for kind in KINDS.values()],
        "not_looked_for": NOT_LOOKED_FOR,
        "kinds": [_kind(each, scan, decisions) for each in KINDS if scan.counts.get(each)],
        "verbs": VERBS,
        "totals": {decision or "open": outcome.total(decision) for decision in outcome.counts},
        "refusal": reviewing.refusal(file),
        "query": _query(request),
        "chosen": kind,
        "show": show,
        "shows": [(each, words, _address(kind=kind, show=each)) for each, words in SHOWN.items()],
        "every_kind": _address(show=show),
        **_finds(request, file, decisions, kind, show),
        **moderated,
    }


def found(file: DatasetFile) -> int:
    """For the tab's name: what is known without looking, flagged rows too."""
    scan = SafetyScan.objects.filter(file=file, status=Status.DONE).first()
    return (scan.found if scan else 0) + dataset_moderation.flagged(file)


def _kind(kind: str, scan: SafetyScan, decisions: reviewing.Decisions) -> dict[str, Any]:
    return {
        "key": kind,
        "name": KINDS[kind].name,
        "secret": KINDS[kind].secret,
        "count": scan.counts[kind],
        "rows": scan.rows_by_kind.get(kind, 0),
        "made": decisions.kinds.get(kind),
        "address": _address(kind=kind),
    }


def _finds(
    request: HttpRequest, file: DatasetFile, decisions: reviewing.Decisions, kind: str, show: str
) -> dict[str, Any]:
    """A page of finds, those that are kept to be shown."""
    asked = request.GET.get("from", "")
    first = int(asked) if asked.isdecimal() and len(asked) < 9 else 0
    wanted = (
        (each, made)
        for each in scanning.listed(file)
        if (not kind or each.kind == kind)
        and _shown(made := decisions.about(each.kind, each.line, each.field, each.start), show)
    )
    page = list(islice(wanted, first, first + PAGE_FINDS + 1))
    return {
        "finds": [{"it": each, "name": KINDS[each.kind].name, "made": made} for each, made in page[:PAGE_FINDS]],
        "first": first,
        "earlier": _address(kind=kind, show=show, start=max(0, first - PAGE_FINDS)) if first else "",
        "later": _address(kind=kind, show=show, start=first + PAGE_FINDS) if len(page) > PAGE_FINDS else "",
    }


def _shown(made: Any, show: str) -> bool:
    return show == "all" or (made.decision if made else "open") == show


def _address(kind: str = "", show: str = "all", start: int = 0) -> str:
    wanted = {"tab": "safety", "kind": kind, "show": show if show != "all" else "", "from": start or ""}
    return f"?{urlencode({name: value for name, value in wanted.items() if value})}#finds"


def _query(request: HttpRequest) -> str:
    """What the address says about the list, so that a decision comes back to the same place."""
    kept = {name: request.GET[name] for name in ("kind", "show", "from", "flagged") if request.GET.get(name)}
    return urlencode({"tab": "safety", **kept})


# ---- what can be done ----


@require_POST
def decide(request: HttpRequest, file_id: str) -> HttpResponse:
    """About one find, or about all of a kind where no line is given; the same once more takes it back."""
    file = one_dataset(request, file_id)
    line, start = request.POST.get("line", "0"), request.POST.get("start", "0")
    try:
        if not (line.isdecimal() and start.isdecimal() and len(line) < 16 and len(start) < 10):
            raise ApiError("There is no such place in this dataset.", param="line")
        reviewing.decide(
            file,
            request.POST.get("decision", ""),
            kind=request.POST.get("kind", ""),
            line=int(line),
            field=request.POST.get("field", ""),
            start=int(start),
            user=request.user,  # type: ignore[arg-type]
        )
    except ApiError as error:
        messages.error(request, error.message)
    return _back(request, file, f"find-{line}-{start}" if line != "0" else "safety")


@require_POST
def apply(request: HttpRequest, file_id: str) -> HttpResponse:
    """A new version in which every find is as it was decided."""
    file = one_dataset(request, file_id)
    try:
        made = reviewing.make_or_start(file, request.user)  # type: ignore[arg-type]
    except ApiError as error:
        messages.error(request, error.message)
        return _back(request, file, "safety")
    if made is None:
        return _back(request, file, "safety")
    messages.success(request, f"A new version is made. {made.origin['words']} The version before it stays.")
    return redirect("dataset", made.id)


@require_POST
def look_again(request: HttpRequest, file_id: str) -> HttpResponse:
    file = one_dataset(request, file_id)
    if file.path.exists():
        scanning.start(file)
    return _back(request, file, "safety")


def _back(request: HttpRequest, file: DatasetFile, anchor: str) -> HttpResponse:
    return redirect(f"{reverse('dataset', args=[file.id])}?{_query(request)}#{anchor}")
