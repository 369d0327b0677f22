"""A comparison as a file: JSON with everything that its reader may see, or Markdown to read and pass on.

Only what is revealed leaves: of a blind comparison nothing before one's own vote. Keys and addresses of external models
are never in it.
"""

import json
import re
from dataclasses import fields
from typing import Any

from accounts.errors import ApiError
from accounts.models import User
from playground import comparisons, contenders, figures
from playground.comparisons import Answer
from playground.contenders import Contender
from playground.models import Comparison, Response, Turn, Vote

RUNS = re.compile(r"`+")
SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&:@])")


def as_json(comparison: Comparison, user: User) -> str:
    """Raises ApiError when names are still hidden from this person."""
    return json.dumps(_record(comparison, user), indent=2, ensure_ascii=False) + "\n"


def _record(comparison: Comparison, user: User) -> dict[str, Any]:
    _refuse_hidden(comparison, user)
    named = contenders.named(comparison.project, [column["model"] for column in comparison.columns])
    setup = comparisons.setup_of(comparison).model_dump(exclude_none=True)
    return {
        "comparison": comparison.pk,
        "created_at": comparison.created_at.isoformat(),
        "created_by": _name(comparison.created_by),
        "blind": comparison.blind,
        **setup,
        "columns": [
            _column(index, column, one) for index, (column, one) in enumerate(zip(setup["columns"], named, strict=True))
        ],
        "turns": [_turn(turn) for turn in _turns(comparison)],
    }


def _refuse_hidden(comparison: Comparison, user: User) -> None:
    if not comparisons.is_revealed(comparison, user):
        raise ApiError("This comparison is blind. Vote first, then it can be exported with its names.", status=403)


def _turns(comparison: Comparison) -> list[Turn]:
    return list(comparison.turns.prefetch_related("responses__edits__editor", "votes__voter", "votes__best"))


def _letter(index: int) -> str:
    return chr(ord("A") + index)


def _name(user: Any) -> str | None:
    return str(user) if user else None


def _column(index: int, column: dict[str, Any], one: Contender) -> dict[str, Any]:
    found = {"letter": _letter(index), **column, "name": one.label, "external": one.external is not None}
    if one.external:
        found["model_there"] = one.external.model
    if one.loss is not None:
        found["validation_loss"] = one.loss
    return found


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "message": turn.prompt,
        "created_at": turn.created_at.isoformat(),
        "answers": [_answer(response) for response in turn.responses.all()],
        "votes": [_vote(vote) for vote in turn.votes.all()],
    }


def _answer(response: Response) -> dict[str, Any]:
    edits = [
        {"text": edit.text, "by": _name(edit.editor), "at": edit.edited_at.isoformat()} for edit in response.edits.all()
    ]
    return {
        "column": _letter(response.column),
        "model": response.model,
        **{each.name: getattr(response, each.name) for each in fields(Answer)},
        "answered_with": response.settings,
        "proof": response.proof,
        "created_at": response.created_at.isoformat(),
        "edits": edits,
    }


def _vote(vote: Vote) -> dict[str, Any]:
    return {
        "by": _name(vote.voter),
        "verdict": vote.verdict,
        "best": _letter(vote.best.column) if vote.best else None,
        **({"samples": {_letter(at): sample + 1 for at, sample in enumerate(vote.samples)}} if vote.samples else {}),
        "blind": vote.blind,
        "at": vote.created_at.isoformat(),
    }


# ---- Markdown ----


def as_markdown(comparison: Comparison, user: User, address: str) -> str:
    """Raises ApiError when names are still hidden from this person. Whatever was written by people or models stands
    in fences that it cannot close, or with every sign escaped."""
    record = _record(comparison, user)
    parts = [f"# Comparison of {_when(record['created_at'])}", f"<{address}>"]
    parts += [f"- **{column['letter']}**: {_column_words(column)}" for column in record["columns"]]
    settings = ", ".join(f"{name} {value}" for name, value in record["settings"].items())
    parts.append(f"Settings: {plain(settings)}")
    if record["system"].strip():
        parts += ["System prompt:", fenced(record["system"])]
    for name in ("tools", "response_format"):
        if record.get(name):
            parts += [f"{name.replace('_', ' ').capitalize()}:", fenced(json.dumps(record[name], indent=2), "json")]
    for number, turn in enumerate(_turns(comparison), 1):
        parts += [f"## Message {number}", fenced(turn.prompt), *_answers_words(turn), *_votes_words(turn)]
    return "\n\n".join(parts).replace("\n\n- **", "\n- **") + "\n"


def _column_words(column: dict[str, Any]) -> str:
    words = [plain(column["name"]), f"({plain(column['model'])})"]
    if column["external"]:
        words.append("external, not verified")
    own = [f"{name} {value}" for name, value in (column.get("settings") or {}).items()]
    own += ["its own system prompt"] if "system" in column else []
    return " ".join(words) + (f"; with {plain(', '.join(own))}" if own else "")


def _answers_words(turn: Turn) -> list[str]:
    parts = []
    for response in turn.responses.all():
        parts.append(f"### {_letter(response.column)}")
        if response.error:
            parts.append(f"No answer: {plain(response.error)}")
        if response.text:
            parts.append(fenced(response.text))
        if calls := response.tool_calls:
            parts.append(fenced(json.dumps(calls, indent=2, ensure_ascii=False), "json"))
        for number, sample in enumerate(response.more_samples, 2):
            parts += [f"Sample {number}:", fenced(sample["text"])]
        if spent := figures.line(response):
            parts.append(plain(spent))
        for edit in response.edits.all():
            parts += [f"Edited by {plain(_name(edit.editor) or 'somebody')}, preferred over it:", fenced(edit.text)]
    return parts


VERDICTS = {"tie": "a tie", "both_bad": "all bad"}


def _votes_words(turn: Turn) -> list[str]:
    lines = []
    for vote in turn.votes.all():
        said = f"{_letter(vote.best.column)} is better" if vote.best else VERDICTS[vote.verdict]
        if vote.samples:
            said += " (judged: " + ", ".join(f"{_letter(at)} {each + 1}" for at, each in enumerate(vote.samples)) + ")"
        lines.append(f"- {plain(_name(vote.voter) or 'somebody')}: {said}{' (blind)' if vote.blind else ''}")
    return ["Votes:", "\n".join(lines)] if lines else []


def _when(text: str) -> str:
    return text[:16].replace("T", " ") + " UTC"


def fenced(text: str, language: str = "text") -> str:
    """In a fence longer than any that the text holds."""
    fence = "`" * max(3, *(len(run) + 1 for run in RUNS.findall(text)), 3)
    return f"{fence}{language}\n{text}\n{fence}"


def plain(text: str) -> str:
    """On one line, every sign that Markdown or HTML knows escaped."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
