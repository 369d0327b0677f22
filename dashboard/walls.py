"""Who may ask for what: the one table of pages by role and of the API by scope, and where both are enforced.

A route that nobody wrote down here is, to be safe, a member's where it changes something and a reader's where it does
not; of the API a key that may do all. docs/walls.md shows what every route really answers to whom.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.errors import ApiError
from accounts.models import ApiKey
from accounts.roles import ARTICLE, Role, may, refusal

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
READ, TRAIN, SERVE, ALL = (scope.value for scope in ApiKey.Scope)

# ---- pages ----

# Of the server or of oneself, not of a project; their views ask for themselves.
WITHOUT_ROLE: Final = {
    *("sign-in", "sign-out", "forgotten-password", "link", "welcome", "choose-project", "healthz"),
    "judge",  # whoever has the link
    *("quotas", "change-quota", "new-project"),  # whoever looks after the server
    *("docs", "docs-page", "docs-reference", "docs-search", "docs-image"),  # of every Hone the same
}
# Requests that change something, and who may make them when that is not a member.
CHANGES: Final[dict[str, set[str]]] = {
    Role.READER: {
        *("change-profile", "change-password", "end-sessions"),  # oneself
        *("make-key", "revoke-key"),  # a key may do no more than its person
        "act-on-member",  # everybody may leave; the view refuses the rest
        "dataset-tokens",  # counts and shows, stores nothing
    },
    Role.EVALUATOR: {
        *("start-blind", "next-blind", "vote", "judge-as-member"),
        *("keep-edit", "remove-edit"),
        *("prompt-difference", "matrix-row", "ask-epochs"),
        "try-moderation",
    },
    Role.OWNER: {
        *("rename-project", "invite", "revoke-invitation"),
        *("store-tracker-key", "remove-tracker-key", "change-moderation", "refusal-policy"),
        *("add-webhook", "act-on-webhook", "send-webhook-again"),
        *("add-external", "edit-external", "remove-external"),
        *("prepare-takeaway", "remove-takeaway", "delete-project"),
        *("share-checkpoint", "take-back", "delete-checkpoint"),
        "change-terms",
    },
}
# Requests that only look, and who may make them when that is not a reader.
LOOKS: Final[dict[str, set[str]]] = {
    Role.EVALUATOR: {"judge-as-member"},  # takes a pair out of the pile
    Role.MEMBER: {  # forms of what only a member can send
        *("combine-datasets", "dataset-from-hub", "map-columns", "new-job", "model-choice", "new-recipe"),
        *("vote-preferences", "new-prompt-set", "new-matrix", "new-campaign", "join-campaign"),
    },
    Role.OWNER: {"change-terms", "add-external", "edit-external", "download-takeaway", "audit", "audit-csv"},
}


def needed(name: str | None, method: str) -> str | None:
    """The least role for this page; None where it is not a matter of roles."""
    if name in WITHOUT_ROLE:
        return None
    table, otherwise = (LOOKS, Role.READER) if method in SAFE_METHODS else (CHANGES, Role.MEMBER)
    return next((role for role, names in table.items() if name in names), otherwise)


class Walls:
    """Refuses pages to those whose role is not enough. Stands behind accounts.middleware, which knows the role."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view_func: Any, view_args: Any, view_kwargs: Any) -> Any:
        role = request.role  # type: ignore[attr-defined]
        match = request.resolver_match
        if role is None or match is None or match.route.startswith("v1/"):
            return None  # signed out, or the API with its keys
        least = needed(match.url_name, request.method or "")
        return None if least is None or may(role, least) else refused(request, role, least)


def refused(request: HttpRequest, role: str, least: str) -> HttpResponse:
    """A page that says who may; to a part of a page plain words, which it shows as a message."""
    words = refusal(role, least, request.project)  # type: ignore[attr-defined]
    if "HX-Request" in request.headers:
        return HttpResponse(words, status=403, content_type="text/plain; charset=utf-8")
    return render(request, "403.html", {"reason_for_people": words}, status=403)


@cache
def closed_to(role: str) -> dict[str, str]:
    """Regular expressions of the paths that this role may not look at and may not send to: pages hide what leads there.
    Both are empty for an owner."""
    return {"looks": _closed(role, "GET", LOOKS), "changes": _closed(role, "POST", CHANGES)}


def _closed(role: str, method: str, table: dict[str, set[str]]) -> str:
    """What is written down as open goes first: /playground/blind/ also looks like /playground/<comparison_id>/."""
    written = {name for least, names in table.items() if may(role, least) for name in names}
    routes = [(name, re.sub(r"\(\?P<\w+>", "(?:", regex)) for name, regex in page_routes()]
    closed = [regex for name, regex in routes if (least := needed(name, method)) and not may(role, least)]
    opened = [regex for name, regex in routes if name in written]
    but = f"(?!(?:{'|'.join(opened)})$)" if opened else ""
    return f"^/{but}(?:{'|'.join(closed)})$" if closed else ""


def page_routes() -> Iterator[tuple[str, str]]:
    """Name and regular expression, without its ends, of every page."""
    for pattern, regex, route in walk(get_resolver()):
        if not route.startswith("v1/"):
            yield pattern.name or "", regex


def walk(resolver: URLResolver, before: str = "", route: str = "") -> Iterator[tuple[URLPattern, str, str]]:
    """Every pattern with its whole regular expression, without the ends, and its whole route."""
    for pattern in resolver.url_patterns:
        own = pattern.pattern.regex.pattern
        whole = before + own.removeprefix("^").removesuffix("$").removesuffix(r"\Z")
        if isinstance(pattern, URLResolver):
            yield from walk(pattern, whole, route + str(pattern.pattern))
        else:
            yield pattern, whole, route + str(pattern.pattern)


# ---- the API ----


@dataclass(frozen=True)
class Rule:
    """What requests under a path need: the least role of the key's person, and any one of these scopes or `all`."""

    method: str  # GET, POST, DELETE or any
    path: str
    role: str
    scopes: tuple[str, ...] = ()


RULES: Final = (  # the first that fits
    Rule("GET", "v1/models", Role.READER, (READ, TRAIN, SERVE)),
    Rule("GET", "v1", Role.READER, (READ, TRAIN)),
    Rule("POST", "v1/chat/completions", Role.EVALUATOR, (SERVE,)),
    Rule("POST", "v1/completions", Role.EVALUATOR, (SERVE,)),
    Rule("POST", "v1/moderations", Role.EVALUATOR, (SERVE,)),
    Rule("DELETE", "v1/models", Role.OWNER, (TRAIN,)),
    Rule("any", "v1/webhook_endpoints", Role.OWNER),
    Rule("any", "v1/fine_tuning/checkpoints", Role.OWNER, (TRAIN,)),
    Rule("any", "v1/files", Role.MEMBER, (TRAIN,)),
    Rule("any", "v1/uploads", Role.MEMBER, (TRAIN,)),
    Rule("any", "v1/fine_tuning/jobs", Role.MEMBER, (TRAIN,)),
    Rule("any", "v1/fine_tuning/recipes", Role.MEMBER, (TRAIN,)),
    Rule("any", "v1/exports", Role.MEMBER, (TRAIN,)),
    Rule("any", "v1", Role.MEMBER),
)


def rule_for(method: str, route: str) -> Rule:
    method = "GET" if method in SAFE_METHODS else method
    fits = (rule for rule in RULES if rule.method in (method, "any"))
    return next(rule for rule in fits if route == rule.path or route.startswith(f"{rule.path}/"))


def check_key(request: HttpRequest, key: ApiKey) -> None:
    """Raises ApiError in OpenAI's shape: 401 for a key that does not work here, 403 for one that may not do this."""
    if key.has_expired:
        assert key.expires_at
        text = f"This API key expired on {key.expires_at:%-d %B %Y}. Make a new one under Settings, API keys, in Hone."
        raise ApiError(text, status=401, code="expired_api_key")
    _refuse_other_names(request, key)
    assert request.resolver_match and key.role
    rule = rule_for(request.method or "", request.resolver_match.route)
    if ALL not in key.scopes and not set(rule.scopes) & set(key.scopes):
        raise ApiError(_missing_scope(rule, key), status=403, code="missing_scope")
    if not may(key.role, rule.role):
        code = "owner_required" if rule.role == Role.OWNER else "insufficient_role"
        raise ApiError(_missing_role(rule, key), status=403, code=code)


def _refuse_other_names(request: HttpRequest, key: ApiKey) -> None:
    """A client that names an organisation or a project must mean those of its key."""
    named = request.headers.get("OpenAI-Organization", "")
    if named and named.removeprefix("org-") != settings.HONE_ORG.removeprefix("org-"):
        raise ApiError(
            "OpenAI-Organization header should match organization for API key. Leave OPENAI_ORG_ID unset, or set it to"
            f" this server's, org-{settings.HONE_ORG}.",
            status=401,
            code="mismatched_organization",
        )
    named = request.headers.get("OpenAI-Project", "")
    if named and named != key.project_id:
        raise ApiError(
            "OpenAI-Project header should match project for API key. Leave OPENAI_PROJECT_ID unset: the key already"
            " says which project it is.",
            status=401,
            code="mismatched_project",
        )


def _missing_scope(rule: Rule, key: ApiKey) -> str:
    return (
        "You have insufficient permissions for this operation. Missing scopes:"
        f" {' or '.join(rule.scopes or (ALL,))}. This key has: {', '.join(key.scopes)}. Make a key that has it under"
        " Settings, API keys, in Hone."
    )


def _missing_role(rule: Rule, key: ApiKey) -> str:
    return (
        f"You have insufficient permissions for this operation. It needs {ARTICLE[Role(rule.role)]} of the project, and"
        f" the person whose key this is, is {ARTICLE[Role(str(key.role))]}. Ask an owner of the project."
    )
