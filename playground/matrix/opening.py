"""A row of a matrix as a comparison of the playground, with the answers that are kept."""

import hashlib
from typing import Any

from django.db import transaction

from accounts.models import User
from playground import contenders
from playground.comparisons import sampling_of
from playground.film.prompts import text_of
from playground.matrix.models import KeptAnswer, Matrix, Prompt
from playground.models import Comparison, Response, Turn

GIVEN = "given with the prompt"  # instead of why an answer ended: no column said this


@transaction.atomic
def comparison_for(matrix: Matrix, prompt: Prompt, user: User) -> Comparison:
    """The same comparison for the same contenders and prompt; answers that came since are added, in place of
    those that had failed."""
    system, turns, asked = _conversation(prompt)
    names = f"{matrix.project_id} {prompt.key} {' '.join(matrix.contenders)}"
    comparison, made = Comparison.objects.get_or_create(
        pk=f"cmp_{hashlib.sha256(names.encode()).hexdigest()[:16]}",
        defaults={
            "project": matrix.project,
            "created_by": user,
            "columns": matrix.columns,
            "system_prompt": matrix.system_prompt or system,
            "settings": matrix.settings,
            "tools": prompt.ask.get("tools"),
        },
    )
    if made:
        for said, answered in turns:
            _add_turn(comparison, said, dict.fromkeys(range(len(matrix.columns)), answered))
        _add_turn(comparison, asked, {})
    turn = comparison.turns.order_by("position")[len(turns)]
    if not turn.votes.exists():
        _add_answers(matrix, prompt, turn)
    return comparison


def _conversation(prompt: Prompt) -> tuple[str, list[tuple[str, str]], str]:
    """System prompt, the exchanges before, and what is asked. Messages of one side in a row are one."""
    if "prompt" in prompt.ask:
        return "", [], str(prompt.ask["prompt"])
    system: list[str] = []
    said: list[str] = []
    answered: list[str] = []
    turns: list[tuple[str, str]] = []
    for message in prompt.ask["messages"]:
        role, text = message.get("role"), text_of(message)
        if role in ("system", "developer"):
            system.append(text)
        elif role == "assistant":
            answered.append(text)
        else:
            if answered:
                turns.append(("\n\n".join(said), "\n\n".join(answered)))
                said, answered = [], []
            said.append(text)
    return "\n\n".join(system), turns, "\n\n".join(said)


def _add_turn(comparison: Comparison, said: str, answers: dict[int, str]) -> None:
    turn = Turn.objects.create(comparison=comparison, position=comparison.turns.count(), prompt=said)
    for column, text in answers.items():
        model = comparison.columns[column]["model"]
        Response.objects.create(turn=turn, column=column, model=model, text=text, stop_reason=GIVEN)


def _add_answers(matrix: Matrix, prompt: Prompt, turn: Turn) -> None:
    there = set(turn.responses.filter(error="").values_list("column", flat=True))
    kept = KeptAnswer.objects.filter(project=matrix.project, prompt=prompt.key, contender__in=matrix.contenders)
    by_key = {answer.contender: answer for answer in kept.select_related("checkpoint")}
    known = contenders.find(matrix.project, [column["model"] for column in matrix.columns])
    for column, key in enumerate(matrix.contenders):
        if (answer := by_key.get(key)) and column not in there:
            found = known.get(answer.model)
            checkpoint = answer.checkpoint or (found.checkpoint if found else None)
            system = matrix.columns[column].get("system", turn.comparison.system_prompt)
            values = {
                "model": answer.model,
                "checkpoint": checkpoint,
                "text": answer.text,
                "tool_calls": answer.tool_calls,
                "settings": {**sampling_of(turn.comparison, column).model_dump(), "system": system},
                **_figures(answer),
            }
            Response.objects.update_or_create(turn=turn, column=column, defaults=values)


def _figures(answer: KeptAnswer) -> dict[str, Any]:
    tokens, seconds, first = answer.completion_tokens, answer.seconds, answer.first_token_seconds
    writing = seconds - first if seconds and first else 0.0
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": tokens,
        "first_token_seconds": first,
        "seconds": seconds,
        "tokens_per_second": (tokens - 1) / writing if tokens and tokens > 1 and writing > 0 else None,
        "stop_reason": answer.stop_reason,
        "error": answer.error,
        "proof": answer.proof,
    }
