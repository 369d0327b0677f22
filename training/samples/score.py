"""Scores answers to the held-out prompts of the sample tasks, by rules that can be read.

    python -m training.samples.score ticket answers.jsonl      one JSON text a line, in the order of heldout.jsonl

`valid`: the answer has the form that was asked for, whole and without anything around it. `score`: 0 to 1, how much
of its content is right. An answer that is not valid can still score: the two are separate questions.
"""

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TASKS = ("ticket", "tone", "steer")
Expected = dict[str, Any]

CATEGORIES = ("delivery", "defect", "return", "billing", "question")
PRIORITIES = ("low", "normal", "high")
MOODS = ("calm", "happy", "upset")
TICKET_FIELDS = ("category", "product", "order", "priority", "mood")
NOTE_FIELDS = ("done", "open", "next")
TONE_WORDS = 40
NOTE_WORDS = 10


@dataclass(frozen=True)
class Score:
    valid: bool
    score: float
    why: str
    parts: dict[str, bool]  # by field or mark: right or not


@dataclass(frozen=True)
class Summary:
    task: str
    prompts: int
    valid_share: float
    score: float
    parts: dict[str, float]  # share of right ones by field or mark


def heldout(task: str) -> list[dict[str, Any]]:
    """The held-out prompts: {"messages": [...], "expected": {...}}."""
    text = (HERE / task / "heldout.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def score(task: str, answer: str, expected: Expected) -> Score:
    return {"ticket": score_ticket, "tone": score_tone, "steer": score_note}[task](answer, expected)


def score_task(task: str, answers: Sequence[str]) -> Summary:
    """`answers` in the order of `heldout(task)`."""
    prompts = heldout(task)
    if len(answers) != len(prompts):
        raise ValueError(f"{task} has {len(prompts)} held-out prompts, but {len(answers)} answers were given")
    scores = [score(task, answer, each["expected"]) for answer, each in zip(answers, prompts, strict=True)]
    names = sorted({name for each in scores for name in each.parts})
    return Summary(
        task=task,
        prompts=len(scores),
        valid_share=_mean([each.valid for each in scores]),
        score=_mean([each.score for each in scores]),
        parts={name: _mean([each.parts[name] for each in scores if name in each.parts]) for name in names},
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


# ---- ticket: one JSON object of a fixed schema ----


def score_ticket(answer: str, expected: Expected) -> Score:
    try:
        ticket = json.loads(answer.strip())
    except (ValueError, RecursionError):
        return Score(False, 0.0, "not JSON", dict.fromkeys(TICKET_FIELDS, False))
    wrong = _ticket_schema(ticket)
    if not isinstance(ticket, dict):
        return Score(False, 0.0, wrong, dict.fromkeys(TICKET_FIELDS, False))
    parts = {name: name in ticket and ticket[name] == expected[name] for name in TICKET_FIELDS}
    missed = ", ".join(name for name, right in parts.items() if not right)
    return Score(not wrong, _mean(list(parts.values())), wrong or (f"wrong: {missed}" if missed else "right"), parts)


def _ticket_schema(ticket: Any) -> str:
    """What breaks the schema; empty when nothing does."""
    if not isinstance(ticket, dict):
        return "not an object"
    if set(ticket) != set(TICKET_FIELDS):
        return "other fields than " + ", ".join(TICKET_FIELDS)
    for name, allowed in (("category", CATEGORIES), ("priority", PRIORITIES), ("mood", MOODS)):
        if ticket[name] not in allowed:
            return f"{name} is none of {', '.join(allowed)}"
    if not isinstance(ticket["product"], str) or not ticket["product"]:
        return "product is not a text"
    if ticket["order"] is not None and not isinstance(ticket["order"], str):
        return "order is neither a text nor null"
    return ""


# ---- tone: the voice of Harbour Post ----


def score_tone(answer: str, expected: Expected) -> Score:
    text = answer.strip()
    marks = {
        "begins with Aye": bool(re.match(r"Aye\b", text)),
        "ends with Fair winds.": text.endswith("Fair winds."),
        f"at most {TONE_WORDS} words": 0 < len(text.split()) <= TONE_WORDS,
        "no exclamation, no apology": "!" not in text
        and not re.search(r"\b(sorry|apologi[sz]e)\b", text, re.IGNORECASE),
    }
    facts = {f"names {fact}": fact in text.lower() for fact in expected["facts"]}
    parts = {**marks, **({"right advice": all(facts.values())} if facts else {})}
    missed = [name for name, right in {**marks, **facts}.items() if not right]
    valid = all(marks.values())
    return Score(valid, _mean(list(parts.values())), "missing: " + "; ".join(missed) if missed else "right", parts)


# ---- steer: three lines that a long prompt would ask for ----


def score_note(answer: str, expected: Expected) -> Score:
    lines = answer.strip().split("\n")
    wrong = _note_form(lines)
    said = {name: _after(lines, f"{name.capitalize()}:") for name in NOTE_FIELDS}
    parts = {name: _content_words(expected[name]) <= _content_words(said[name]) for name in NOTE_FIELDS}
    missed = ", ".join(name for name, right in parts.items() if not right)
    return Score(not wrong, _mean(list(parts.values())), wrong or (f"wrong: {missed}" if missed else "right"), parts)


def _note_form(lines: list[str]) -> str:
    if len(lines) != len(NOTE_FIELDS):
        return f"{len(lines)} lines instead of three"
    for line, name in zip(lines, NOTE_FIELDS, strict=True):
        start = f"{name.capitalize()}: "
        if not line.startswith(start):
            return f"a line does not begin with {start.strip()}"
        if not 1 <= len(line.removeprefix(start).split()) <= NOTE_WORDS:
            return f"{name} has no words or more than {NOTE_WORDS}"
        if line.rstrip().endswith(".") or re.search(r"[*\"•]", line):
            return "full stop, quotation mark or emphasis"
    return ""


def _after(lines: list[str], start: str) -> str:
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")


def _content_words(text: str) -> set[str]:
    """Words that carry the content; endings and order do not matter."""
    words = re.findall(r"[a-z']+", text.lower())
    return {word[:5] for word in words if word not in {"the", "a", "an", "is", "are", "in", "on", "at", "of", "to"}}


def main() -> None:
    task, path = sys.argv[1], Path(sys.argv[2])
    answers = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    summary = score_task(task, answers)
    print(f"{task}: {summary.valid_share:.0%} valid, {summary.score:.0%} right, {summary.prompts} prompts")
    for name, share in summary.parts.items():
        print(f"  {name:<32} {share:.0%}")


if __name__ == "__main__":
    main()
