"""Screen: the audit log of a project, for its owners; that of the server for whoever looks after it."""

import csv
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from asgiref.sync import sync_to_async
from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.audit import AuditEntry, AuditQuerySet
from accounts.first_start import looks_after_server
from dashboard.audit import objects
from training.spreadsheets import plain

ROWS_A_PAGE: Final = 50
ROWS_AT_ONCE: Final = 2000
COLUMNS: Final = (*("time", "who", "key", "what", "kind", "id", "outcome", "reason", "address", "program", "action"),)


class Filter(forms.Form):
    """What stands in the address; a value that makes no sense is told beside its field and filters nothing."""

    where = forms.ChoiceField(label="Of", choices=(("", "This project"), ("server", "The server")), required=False)
    who = forms.ChoiceField(label="Who", required=False)
    kind = forms.ChoiceField(label="What", required=False)
    text = forms.CharField(label="Words", required=False, max_length=200)
    since = forms.DateField(label="From", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To", required=False, widget=forms.DateInput(attrs={"type": "date"}))

    def __init__(self, request: HttpRequest) -> None:
        super().__init__({name: request.GET.get(name, "") for name in self.base_fields})
        self.server = self.data["where"] == "server"
        if not looks_after_server(request.user):
            if self.server:
                raise PermissionDenied
            del self.fields["where"]
        self.rows = AuditEntry.objects.filter(project=None if self.server else request.project)
        self.people = self._people()
        kinds = sorted((kind.label, name) for name, kind in objects.KINDS.items())
        self.fields["who"].choices = [("", "Anybody"), *((who, who) for who in sorted(self.people))]  # type: ignore[attr-defined]
        self.fields["kind"].choices = [("", "Anything"), *((name, label) for label, name in kinds)]  # type: ignore[attr-defined]
        for field in self.fields.values():
            field.widget.attrs["class"] = "input input--small"

    def _people(self) -> dict[str, list[str]]:
        """By the address that a person has now, those under which the rows know them: it may have changed since."""
        found: dict[str, list[str]] = {}
        for who, now in self.rows.order_by().values_list("who", "user__email").distinct():
            found.setdefault(now or who, []).append(who)
        return found

    @property
    def found(self) -> AuditQuerySet:
        """The newest first."""
        self.full_clean()
        given = self.cleaned_data
        return self.rows.matching(
            who=self.people.get(given.get("who") or "", ()),
            kind=given.get("kind") or "",
            text=given.get("text") or "",
            since=_midnight(given.get("since")),
            until=_midnight(given.get("until"), days=1),
        ).newest()

    @property
    def narrows(self) -> bool:
        """Whether anything beyond the log itself is chosen."""
        return any(value for name, value in self.data.items() if name != "where")

    @property
    def query(self) -> QueryDict:
        """What is filtered by, as it stands in an address."""
        kept = QueryDict(mutable=True)
        kept.update({name: value for name, value in self.data.items() if value})
        return kept


def _midnight(day: date | None, days: int = 0) -> datetime | None:
    return datetime.combine(day + timedelta(days=days), time(), timezone.get_current_timezone()) if day else None


@require_GET
@never_cache
def log(request: HttpRequest) -> HttpResponse:
    """`?before=` a row's number: the page after it; the filters are fields of the form."""
    chosen = Filter(request)
    found, before = chosen.found, request.GET.get("before", "")
    if before.isdecimal() and len(before) < 19:
        found = found.filter(pk__lt=int(before))
    rows = list(found.select_related("user")[: ROWS_A_PAGE + 1])
    more, rows = len(rows) > ROWS_A_PAGE, rows[:ROWS_A_PAGE]
    pages = objects.links(rows, request.project)
    context: dict[str, Any] = {
        "chosen": chosen,
        "rows": [{"entry": row, "page": pages.get((row.kind, row.object_id), "")} for row in rows],
        "next": rows[-1].pk if more else None,
        "before": before,
        "days": settings.HONE_AUDIT_DAYS,
        "fits_nothing": not rows and (chosen.narrows or bool(before) or chosen.rows.exists()),
    }
    return render(request, "dashboard/audit.html", context)


@require_GET
@never_cache
def download(request: HttpRequest) -> StreamingHttpResponse:
    """All rows that the filters leave, as CSV."""
    response = StreamingHttpResponse(_csv(Filter(request).found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="audit-{request.project.pk}.csv"'
    return response


class _Echo:
    """A file for csv.writer that hands back what is written."""

    def write(self, text: str) -> str:
        return text


async def _csv(found: AuditQuerySet) -> AsyncIterator[str]:
    """A page at a time: under ASGI a plain iterator would be read into memory as a whole."""
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    last: int | None = None
    while rows := await sync_to_async(list)((found.filter(pk__lt=last) if last else found)[:ROWS_AT_ONCE]):
        yield "".join(writer.writerow(map(plain, _cells(row))) for row in rows)
        last = rows[-1].pk


def _cells(row: AuditEntry) -> list[str]:
    at = row.created_at.astimezone(UTC).isoformat(timespec="seconds")
    key = f"{row.key_name} ({row.key_hint})" if row.key_hint else ""
    about = [row.words, row.kind, row.object_id, row.outcome, row.reason]
    return [at, row.who, key, *about, row.address, row.agent, row.action]


urlpatterns: list[URLPattern] = [
    path("audit/", log, name="audit"),
    path("audit.csv", download, name="audit-csv"),
]
