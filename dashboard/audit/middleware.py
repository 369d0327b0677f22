"""Every change and every download of data, by whichever door it came, leaves one row once its answer is known.

Who is nobody (no session, no key) changes nothing and leaves no row, but for tries to sign in.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.contrib import messages
from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from accounts import audit
from accounts.audit import AuditEntry
from accounts.models import ApiKey, Project, User
from accounts.throttle import is_too_often
from dashboard.audit import objects
from dashboard.audit.routes import NOT_RECORDED, WORDS, Words, name_of
from dashboard.audit.told import agent, answered, sentence

logger = logging.getLogger(__name__)

SAFE: Final = {"GET", "HEAD", "OPTIONS", "TRACE"}
NOBODYS: Final = {"sign-in", "link", "forgotten-password"}  # who does these is nobody yet
NOBODYS_ROWS: Final = (60, 600)  # from one address in so many seconds: a flood must not fill the disk
CODES: Final = {401: "not_signed_in", 403: "not_allowed", 404: "not_found", 409: "conflict", 413: "too_large"} | {
    422: "invalid", 429: "too_often", 507: "disk_full"
}  # fmt: skip


class Audited:
    """Stands last, nearest to the views. Sync and async: a question to a model must not change threads for it."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._answer(request)
        watched = _watched(request.method or "", request.path_info)
        named = _named(watched) if watched else {}
        before = getattr(request, "user", None)  # who signs out is nobody after it
        response = self.get_response(request)
        if watched or hasattr(request, "audit_told"):
            _record(request, response, watched, named, before)
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        watched = _watched(request.method or "", request.path_info)
        named = await sync_to_async(_named)(watched) if watched else {}
        response = await self.get_response(request)
        if watched or hasattr(request, "audit_told"):
            await sync_to_async(_record)(request, response, watched, named)
        return response


@dataclass(frozen=True)
class Watched:
    """A request that leaves a row: the name of its route, what is said of it, and the parts of its address."""

    name: str
    words: Words
    parts: dict[str, Any]


@lru_cache(maxsize=1_000)  # finding the route is a good part of what a question to a model costs
def _watched(method: str, path: str) -> Watched | None:
    if method in {"HEAD", "OPTIONS", "TRACE"}:
        return None
    try:
        match = resolve(path)
    except Resolver404:
        return None
    name = name_of(match, method)
    words = WORDS.get(name)
    if words is None:
        if name and name not in NOT_RECORDED and method not in SAFE:  # a test asks; until then the row is plain
            words = Words("server", f"{method} {name}")
        else:
            return None
    return Watched(name, words, match.kwargs) if method not in SAFE or words.reads else None


def _named(watched: Watched) -> dict[str, Any]:
    """What the address names, as it is before the change: a deleted thing could not be named after it."""
    found: dict[str, Any] = {}
    try:
        for part, value in watched.parts.items():
            kind = dict(watched.words.of).get(part) or objects.IN_ADDRESSES.get(part)
            if kind:
                found[kind] = objects.find(kind, value)
    except DatabaseError:
        logger.exception("the audit log cannot look up %s", watched.parts)
    return found


def _record(
    request: HttpRequest,
    response: HttpResponseBase,
    watched: Watched | None,
    named: dict[str, Any],
    before: Any = None,
) -> None:
    """Whatever fails here is told to the log of the server and leaves the answer as it is."""
    try:
        told = dict(getattr(request, "audit_told", {}))
        name = watched.name if watched else name_of(resolve(request.path_info), request.method or "")
        watched = watched or Watched(name, WORDS[name], {})
        users = (told.pop("user", None), getattr(request, "auth_user", None), getattr(request, "user", None), before)
        user = next((each for each in users if isinstance(each, User)), None)
        if getattr(request, "audit_nothing", False) and response.status_code < 400:
            return
        each = getattr(request, "audit_each", [])
        for one in each:
            _write(request, response, watched, named, dict(one), user)
        if not each or response.status_code >= 400:  # it may have broken off among them
            _write(request, response, watched, named, told, user)
    except Exception:
        logger.exception("not in the audit log: %s %s", request.method, request.path)


def _write(
    request: HttpRequest,
    response: HttpResponseBase,
    watched: Watched,
    named: dict[str, Any],
    told: dict[str, Any],
    user: User | None,
) -> None:
    key: ApiKey | None = getattr(request, "api_key", None)
    address = request.META.get("REMOTE_ADDR", "")
    if user is None and (watched.name not in NOBODYS or is_too_often(f"audit {address}", *NOBODYS_ROWS)):
        return
    project: Project | None = told.pop("project", getattr(request, "project", None))
    outcome, reason = _outcome(request, response, told.pop("refused", None))
    for kind, row in named.items():
        if row is not None and not objects.belongs(row, project):
            named[kind] = None
    words, object_id = sentence(
        request, response, watched, named, told, project, done=outcome == AuditEntry.Outcome.DONE
    )
    if watched.words.draft and outcome == AuditEntry.Outcome.DONE and not object_id:
        return
    audit.write(
        project=project,
        user=user,
        who=user.email if user else "Nobody",
        key_hint=key.hint if key else "",
        key_name=key.name if key else "",
        address=address,
        agent=agent(request.headers.get("User-Agent", "")),
        action=watched.name,
        kind=watched.words.kind,
        object_id=object_id,
        words=words,
        outcome=outcome,
        reason=reason,
    )


def _outcome(request: HttpRequest, response: HttpResponseBase, told: str | None) -> tuple[AuditEntry.Outcome, str]:
    """Pages tell a refusal by their status, or by an error message on the page they lead to; the API by its error.
    `told`: what the view said of it, a code or, for done, nothing."""
    if told is not None:
        return (AuditEntry.Outcome.REFUSED, told) if told else (AuditEntry.Outcome.DONE, "")
    status = response.status_code
    if status >= 500:
        return AuditEntry.Outcome.FAILED, CODES.get(status, "internal_error")
    if status >= 400:
        return AuditEntry.Outcome.REFUSED, _code(response) or CODES.get(status, "invalid")
    queued = getattr(messages.get_messages(request), "_queued_messages", ())  # looking at them otherwise empties them
    if any(message.level >= messages.ERROR for message in queued):
        return AuditEntry.Outcome.REFUSED, "refused"
    return AuditEntry.Outcome.DONE, ""


def _code(response: HttpResponseBase) -> str:
    error = answered(response).get("error")
    return str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
