"""The sentence of a row: the route's words with the names of what they speak of, in the past tense."""

import json
import re
from typing import Any, Final

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from accounts.models import Project
from dashboard.audit import objects
from dashboard.audit.routes import Words

LARGEST_ANSWER_BYTES: Final = 64 << 10  # in which the id of what was made is looked for
LONGEST_POSTED: Final = 250
PAST: Final = {
    **{
        "make": "Made",
        "begin": "Began",
        "have": "Had",
        "bring": "Brought",
        "keep": "Kept",
        "send": "Sent",
        "put": "Put",
    },
    **{"stop": "Stopped", "map": "Mapped", "pin": "Pinned", "split": "Split", "go": "Went", "try": "Tried"},
    **{"cancel": "Cancelled", "retry": "Retried", "set": "Set", "choose": "Chose", "take": "Took"},
}
BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS: Final = ("Windows", "Android", "iPhone", "iPad", "Mac OS X", "Linux")


class Posted(dict[str, str]):
    """Fields of a form by name, short; several values are listed. Only what a sentence names is ever read."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__()
        self.request = request

    def __missing__(self, name: str) -> str:
        return ", ".join(self.request.POST.getlist(name))[:LONGEST_POSTED]


def sentence(
    request: HttpRequest,
    response: HttpResponseBase,
    watched: Any,
    named: dict[str, Any],
    told: dict[str, Any],
    project: Project | None,
    *,
    done: bool,
) -> tuple[str, str]:
    """What is said, and the id of what it is said of."""
    words: Words = watched.words
    made = told.get("made") or (_made(words.kind, response, project) if done and words.tried else None)
    about: dict[str, Any] = {part: value for part, value in watched.parts.items() if isinstance(value, str)}
    ids = {
        dict(words.of).get(part) or objects.IN_ADDRESSES.get(part, part): value for part, value in watched.parts.items()
    }
    about |= {
        kind: objects.Unknown(ids.get(kind, "")) if row is None else objects.Shown(row) for kind, row in named.items()
    }
    about.setdefault(words.kind, objects.Unknown(watched.parts.get("name", "")))  # whose address has no id
    about |= {name: objects.Shown(row) for name, row in told.items() if name != "words"}
    about |= {"made": objects.Shown(made) if made else objects.Unknown(), "posted": Posted(request)}
    text = told.get("words") or _text(words, watched.parts, nothing=words.tried and not made and words.kind not in told)
    row = made or told.get(words.kind) or named.get(words.kind)
    object_id = str(row.pk) if row is not None else str(ids.get(words.kind, ""))
    return tense(text if "words" in told else text.format_map(about), done=done), object_id


def _text(words: Words, parts: dict[str, Any], *, nothing: Any) -> str:
    if words.by:
        asked = str(parts.get("action") or parts.get("verb") or "")
        return dict(words.by).get(asked, f"ask for something else of {{{words.kind}}}")
    return words.tried if nothing else words.sentence


def _made(kind: str, response: HttpResponseBase, project: Project | None) -> Any:
    """What came of it, where the answer says: the id in its JSON, or the page that it leads to."""
    pk = answered(response).get("id") or _led_to(kind, response.get("Location", ""))
    row = objects.find(kind, pk) if pk else None
    return row if row is not None and objects.belongs(row, project) else None


def _led_to(kind: str, location: str) -> Any:
    try:
        parts = resolve(location.split("?")[0].split("#")[0]).kwargs if location.startswith("/") else {}
    except Resolver404:
        return None
    return next((value for part, value in parts.items() if objects.IN_ADDRESSES.get(part) == kind), None)


def answered(response: HttpResponseBase) -> dict[str, Any]:
    """The JSON object of a small answer, else nothing."""
    content = b"" if response.streaming else getattr(response, "content", b"")
    if not response.get("Content-Type", "").startswith("application/json") or len(content) > LARGEST_ANSWER_BYTES:
        return {}
    found = json.loads(content or b"{}")
    return found if isinstance(found, dict) else {}


def tense(text: str, *, done: bool) -> str:
    """Of "delete dataset x" -> "Deleted dataset x", or "Tried to delete dataset x"."""
    verb, _, rest = text.partition(" ")
    if not done:
        return f"Tried to {text}"
    past = PAST.get(verb) or (verb + ("d" if verb.endswith("e") else "ed")).capitalize()
    return f"{past} {rest}".strip()


def agent(header: str) -> str:
    """As "Firefox on Linux"; of a program its first word, such as "OpenAI/Python 3.54.0"."""
    if header.startswith("Mozilla/"):
        browser = next((name for mark, name in BROWSERS if mark in header), "A browser")
        system = next((name for name in SYSTEMS if name in header), "")
        return f"{browser} on {system.replace('Mac OS X', 'macOS')}" if system else browser
    return re.sub(r"[^\x20-\x7e]", "", header)[:60].strip()
