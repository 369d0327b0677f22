"""Making prompt sets: typed lines, rows of a checked file, messages that were compared before."""

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from django.db import transaction
from django.db.models import Count

from accounts.errors import ApiError
from accounts.models import Project, User
from accounts.telling_apart import tell_apart
from playground.film.prompts import LONGEST, Pinned, of_row
from playground.matrix.models import Prompt, PromptSet
from playground.models import Turn
from training import jsonl, texts
from training.models import DatasetFile

MOST_PROMPTS: Final = 2_000
MOST_TAGS: Final = 8  # of one prompt
COMPARISONS_READ: Final = 5_000
ROW_BEGINS: Final = re.compile(r'\{\s*"(messages|prompt|input|text|tags|tools)"')
ROWS_READ: Final = 50_000  # of a file's beginning, to draw from


@dataclass(frozen=True)
class Tagged(Pinned):
    """A prompt with the words by which the rows of a matrix can be chosen."""

    tags: tuple[str, ...] = ()


def told_apart(project: Project) -> list[PromptSet]:
    """All sets to choose from, newest first, with their `size`; equal names say when they were made."""
    return tell_apart(PromptSet.objects.of(project).annotate(size=Count("prompts")).order_by("-created_at"))


def typed(text: str, *, raw: bool = False) -> list[Pinned]:
    """One prompt a line; where lines are divided by a line of three dashes, each part is one. A part that is a row of a
    JSONL file asks what the row asks, and knows what it expects; `raw` as of `tagged`. Raises ApiError."""
    lines = text.replace("\r\n", "\n")
    parts = [part.strip() for part in (lines.split("\n---\n") if "\n---\n" in lines else lines.splitlines())]
    return [_typed(part, at, raw) for at, part in enumerate(parts, start=1) if part]


def _typed(part: str, at: int, raw: bool) -> Pinned:
    if part.startswith("{"):
        try:
            row = json.loads(part)
        except (ValueError, RecursionError) as error:
            row = None  # somebody asks about a bracket
            if ROW_BEGINS.match(part) and not str(error).startswith("Extra data"):
                raise ApiError(
                    f"Prompt {at} begins as a row of a JSONL file, but is not whole JSON: {error}. Mend the row, "
                    "or begin the prompt with a word to ask it as it stands.",
                    param="prompts",
                ) from error
        if isinstance(row, dict) and row.keys() & {"messages", "prompt", "input", "text"}:
            if found := tagged(row, raw=raw):
                return found
            raise ApiError(
                f"Prompt {at} is a row that asks nothing, or too much: it wants a user's message.", param="prompts"
            )
    if len(part) > LONGEST:
        raise ApiError(f"Prompt {at} has {len(part):,} characters; at most {LONGEST:,}.", param="prompts")
    return Pinned(_as_message(part))


def tagged(row: dict[str, Any], *, raw: bool = False) -> Pinned | None:
    """What a row asks, with its own `tags`; None for one that asks nothing. The bare prompt of a row is asked as a
    user's message, unless it is `raw`: a text to be continued. A document of raw text always is."""
    try:
        pinned = of_row(row)
    except (KeyError, TypeError, AttributeError, IndexError):  # typed by hand: nothing has checked its shape
        return None
    tags = row.get("tags") or []
    words = [tags] if isinstance(tags, str) else [str(tag) for tag in tags] if isinstance(tags, list) else []
    kept = tuple(dict.fromkeys(word.strip()[:40] for word in words if word.strip()))[:MOST_TAGS]
    if pinned is None:
        return None
    is_document = "text" in row and "prompt" not in row
    ask = pinned.ask if raw or is_document or "prompt" not in pinned.ask else _as_message(pinned.ask["prompt"])
    return Tagged(ask, pinned.expected, kept)


def _as_message(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def of_file(file: DatasetFile, count: int, seed: int = 0, *, raw: bool = False) -> list[Pinned]:
    """`count` of its rows as they ask, drawn by the seed and in the order of the file; `raw` as of `tagged`.
    Raises ApiError."""
    if file.status != DatasetFile.Status.PROCESSED:
        raise ApiError(f"The file '{file.filename}' has not passed its check.", param="file")
    try:
        found = [pinned for row in _rows(file) if (pinned := tagged(row, raw=raw))]
    except OSError as error:
        raise ApiError(f"The file '{file.filename}' cannot be read: {error}", param="file") from error
    unique = list({each.key: each for each in found}.values())
    if len(unique) <= count:
        return unique
    return [unique[at] for at in sorted(random.Random(seed).sample(range(len(unique)), count))]


def _rows(file: DatasetFile) -> Iterable[dict[str, Any]]:
    if texts.is_raw_text(file.path, file.filename):
        return [dict(row) for _, row in texts.page(file.path, 1, MOST_PROMPTS)]
    return (row for _, row in islice(jsonl.iterate(file.path), ROWS_READ))


def of_comparisons(project: Project, count: int, *, judged: bool = False) -> list[Pinned]:
    """What began the newest comparisons, under their system prompts; `judged`: only those with a vote."""
    turns = Turn.objects.filter(comparison__project=project, position=0).select_related("comparison")
    turns = turns.filter(votes__isnull=False).distinct() if judged else turns
    unique: dict[str, Pinned] = {}
    for turn in turns.order_by("-created_at", "-pk")[:COMPARISONS_READ]:
        system = turn.comparison.system_prompt.strip()
        said = [{"role": "system", "content": system}] if system else []
        pinned = Pinned({"messages": [*said, {"role": "user", "content": turn.prompt}]})
        if turn.prompt.strip() and len(turn.prompt) <= LONGEST:
            unique.setdefault(pinned.key, pinned)
    return list(unique.values())[:count]


@transaction.atomic
def make(
    *, project: Project, user: User | None, name: str, pinned: Sequence[Pinned], source: dict[str, Any]
) -> PromptSet:
    """Stores them, each question once. Raises ApiError."""
    unique = list({each.key: each for each in pinned}.values())
    if not unique:
        raise ApiError("The prompt set is empty. Give at least one prompt.", param="prompts")
    if len(unique) > MOST_PROMPTS:
        raise ApiError(f"{len(unique):,} prompts are too many for a set: at most {MOST_PROMPTS:,}.", param="prompts")
    made = PromptSet.objects.create(
        project=project, name=name.strip()[:120] or "Prompts", source=source, created_by=user
    )
    Prompt.objects.bulk_create(
        Prompt(
            prompt_set=made,
            position=at,
            key=each.key,
            ask=each.ask,
            text=each.text,
            expected=each.expected,
            tags=list(each.tags) if isinstance(each, Tagged) else [],
        )
        for at, each in enumerate(unique)
    )
    return made
