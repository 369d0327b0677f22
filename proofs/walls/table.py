"""The walk as a document."""

from collections.abc import Callable
from typing import Final
from unittest.mock import patch

from proofs.walls.cast import World, make_world
from proofs.walls.walk import Asked, walk

HEAD = """# Who is let in where

Written by `python -m proofs.walls`; a test sees that no route is missing and asks outsiders and a reader again. A
project with one of everything is asked for each page, call and file with real requests that carry its ids, by
everybody: a visitor who is not signed in, a **stranger** (the owner of another project), and people of the project in
each of the four roles. What a role may do stands in one table, `dashboard/walls.py`; a page that changes something and
is not written there needs a member, a call a member's key with the scope `all`.

- **yes**: let through; what the request then says may still be wrong (the walk sends empty forms).
- **no** is 403, with words that say which role or scope it needs. **404**: as if it did not exist. **sign in**: the way
  to the sign-in page. **401**: no key, or one that does not work.
- **own**: a page or call without an id shows or changes the stranger's own project. The walk sends these also with
  ids of the other project in every field, and sees that no name, no text and no id of it comes back, that none of its
  rows changes, and that no row elsewhere leads to one of its rows.

Models are an owner's to delete, on their job's page as in the API (`DELETE /v1/models/{name}`), and with them a job
that has any; a member archives them, and who stops a job before its end may drop what it had saved. Base models are of
all projects: whoever looks after the server (in the walk the owner does) takes them away, and alone adds one from a
folder of the server.
"""


PARTS = {
    "page": ("Pages and their files", "The forms are empty."),
    "call": (
        "The API",
        "Keys of the project's owner with one scope each; the reader's and the evaluator's have the scope `all`.",
    ),
    "socket": (
        "Websockets",
        "An open socket of a project tells what changed in it. Over the playground's, a reader may look and is refused"
        " what asks a model; a person who is removed from the project is cut off.",
    ),
}


FIGURES: Final = ("routes and methods", "answers", "let through", "refused", "requests")


def asked_everything(*kinds: str, of: Callable[[], World] = make_world) -> list[Asked]:
    """In a database that is empty."""
    with patch("training.models.BaseModel.is_present", True):  # the row of the base model is all that there is of it
        return walk(of(), *kinds)


def document(found: list[Asked]) -> str:
    return "\n".join([HEAD, *figures(found), "", *(part(kind, found) for kind in PARTS)])


def figures(found: list[Asked]) -> list[str]:
    """What was asked, in numbers. An answer is that of one route and method to one person or key."""
    lines = [f"| | {' | '.join(FIGURES)} |", f"| --- |{' ---: |' * len(FIGURES)}"]
    for kind, (title, _) in PARTS.items():
        rows = [asked for asked in found if asked.kind == kind]
        said = [_said(asked, who, status) for asked in rows for who, status in asked.answers.items()]
        let = sum(word in ("yes", "own") for word in said)
        numbers = (len(rows), len(said), let, len(said) - let, sum(asked.requests for asked in rows))
        lines.append(f"| {title} | {' | '.join(f'{number:,}' for number in numbers)} |")
    return lines


def part(kind: str, found: list[Asked]) -> str:
    title, words = PARTS[kind]
    rows = [asked for asked in found if asked.kind == kind]
    return "\n".join([f"## {title} ({len(rows)})", "", words, "", *_table(rows), ""])


def _table(found: list[Asked]) -> list[str]:
    who = list(reversed(found[0].answers))
    lines = [f"| | {' | '.join(who)} |", f"| --- |{' --- |' * len(who)}"]
    for asked in sorted(found, key=lambda each: (each.route, each.method)):
        cells = [_said(asked, name, asked.answers[name]) for name in who]
        lines.append(f"| {asked.method} `{asked.route}` | {' | '.join(cells)} |")
    return lines


def _said(asked: Asked, who: str, status: int) -> str:
    refusals = {403: "no", 401: "401", 404: "404", 410: "410", 4401: "no", 4403: "no", 4404: "404"}
    if asked.to_sign_in.get(who):
        return "sign in"
    if status in refusals and not (status in (404, 410) and asked.is_there_for_nobody):
        return refusals[status]
    return "own" if who.startswith("stranger") and not asked.is_of_the_project else "yes"
