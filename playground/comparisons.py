"""Every write of the playground: comparisons, turns, answers, votes; and who may see which names."""

import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import Max, Prefetch
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project, User
from playground import contenders
from playground.edits.models import EditedAnswer
from playground.forms import Sampling, Setup
from playground.models import Comparison, Deployment, Response, Turn, Vote
from playground.statistics.pairs import Ballot


@dataclass
class Answer:
    """What came out of one column, and what it cost."""

    text: str = ""
    tool_calls: list[dict[str, str]] = field(default_factory=list)
    more_samples: list[dict[str, Any]] = field(default_factory=list)  # as Response keeps them
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    cost: float | None = None
    seconds: float | None = None
    stop_reason: str = ""  # stop | length | stopped (by a person)
    error: str = ""


@transaction.atomic
def start_comparison(*, project: Project, user: User, setup: Setup, blind: bool = False) -> Comparison:
    """A comparison without turns yet. Blind: the order of the columns is drawn here and known only to the row."""
    columns = [column.model_dump(exclude_none=True) for column in setup.columns]
    columns = contenders.lasting_columns(project, columns, param="model")
    if blind:
        _check_can_be_blind(columns)
        random.SystemRandom().shuffle(columns)
    return Comparison.objects.create(
        project=project,
        created_by=user,
        blind=blind,
        columns=columns,
        system_prompt=setup.system,
        settings=setup.settings.model_dump(),
        tools=setup.tools,
        response_format=setup.response_format,
    )


def _check_can_be_blind(columns: list[dict[str, Any]]) -> None:
    if len(columns) < 2:
        raise ApiError("Judging blind needs at least two columns. Add another model.", param="columns")
    if len({contender_key(column) for column in columns}) < len(columns):
        raise ApiError("Two columns are the same. Remove one, or give it its own system prompt.", param="columns")


def next_blind(*, comparison: Comparison, user: User) -> Comparison:
    """The same contenders under a fresh order, for the next prompt."""
    return start_comparison(project=comparison.project, user=user, setup=setup_of(comparison), blind=True)


def setup_of(comparison: Comparison) -> Setup:
    """What it was started with."""
    return Setup.model_validate(
        {
            "columns": comparison.columns,
            "system": comparison.system_prompt,
            "settings": comparison.settings,
            **structure_of(comparison),
        }
    )


def structure_of(comparison: Comparison) -> dict[str, Any]:
    """The tools and the answer format that every column is given, where there are some; words of OpenAI's API."""
    given = {"tools": comparison.tools, "response_format": comparison.response_format}
    return {name: value for name, value in given.items() if value}


@transaction.atomic
def add_turn(*, comparison: Comparison, prompt: str, setup: Setup | None = None) -> Turn:
    """The next message to every column. A later turn of an open comparison may change settings, never models."""
    if comparison.blind and Vote.objects.filter(turn__comparison=comparison).exists():
        raise ApiError("This comparison has been judged. Go on with the next prompt.", status=409)
    if setup and not comparison.blind:
        _change_settings(comparison, setup)
    last = comparison.turns.aggregate(last=Max("position"))["last"]
    return Turn.objects.create(comparison=comparison, position=0 if last is None else last + 1, prompt=prompt)


def _change_settings(comparison: Comparison, setup: Setup) -> None:
    if [column.model for column in setup.columns] != [column["model"] for column in comparison.columns]:
        raise ApiError("The columns have changed. Start a new prompt to compare these models.", param="columns")
    columns = [column.model_dump(exclude_none=True) for column in setup.columns]
    if columns != comparison.columns and Vote.objects.filter(turn__comparison=comparison).exists():
        raise ApiError("This comparison has votes. Start a new prompt to give a column its own settings.", status=409)
    comparison.columns = columns
    comparison.system_prompt, comparison.settings = setup.system, setup.settings.model_dump()
    comparison.tools, comparison.response_format = setup.tools, setup.response_format
    comparison.save(update_fields=["columns", "system_prompt", "settings", "tools", "response_format"])


def sampling_of(comparison: Comparison, column: int) -> Sampling:
    """The shared settings with this column's own on top. At temperature 0 it answers once: every sample is the same."""
    own = comparison.columns[column].get("settings") or {}
    sampling = Sampling.model_validate({**comparison.settings, **own})
    return sampling if sampling.temperature else sampling.model_copy(update={"n": 1})


def messages_for(turn: Turn, column: int) -> list[dict[str, str]]:
    """The conversation of one column up to this turn's message; a turn that it did not answer is left out, and so is
    one that it answered with calls alone: nothing here runs them, and a chat cannot go on without their results."""
    comparison = turn.comparison
    system = comparison.columns[column].get("system", comparison.system_prompt)
    messages = [{"role": "system", "content": system}] if system.strip() else []
    earlier = Response.objects.filter(turn__comparison=comparison, turn__position__lt=turn.position, column=column)
    for answer in earlier.exclude(text="").select_related("turn").order_by("turn__position"):
        messages.append({"role": "user", "content": answer.turn.prompt})
        messages.append({"role": "assistant", "content": answer.text})
    return [*messages, {"role": "user", "content": turn.prompt}]


def check_can_be_replaced(turn: Turn, columns: list[int]) -> None:
    """Raises ApiError where people have said something of an answer: that would be lost, or be about another text."""
    if turn.votes.exists():
        raise ApiError("This answer has been voted on and stays as it is.", status=409)
    if EditedAnswer.objects.filter(response__turn=turn, response__column__in=columns).exists():
        raise ApiError("This answer has been edited and stays as it is. Remove the edit to ask again.", status=409)


@transaction.atomic
def record_response(*, turn: Turn, column: int, answer: Answer, deployment: Deployment | None = None) -> Response:
    """Stores what a column answered, with its settings and the proof that it was the trained weights that spoke.

    A retry replaces the answer, unless it has been voted on or edited.
    """
    check_can_be_replaced(turn, [column])
    model = turn.comparison.columns[column]["model"]
    found = contenders.find(turn.comparison.project, [model]).get(model)
    values = {
        "model": model,
        "checkpoint": found.checkpoint if found else None,
        "settings": _settings_answered_with(turn.comparison, column),
        "proof": {"state": deployment.proof, **(deployment.proof_json or {})} if deployment else None,
        **vars(answer),
    }
    return Response.objects.update_or_create(turn=turn, column=column, defaults=values)[0]


def _settings_answered_with(comparison: Comparison, column: int) -> dict[str, Any]:
    system = comparison.columns[column].get("system", comparison.system_prompt)
    return {**sampling_of(comparison, column).model_dump(), "system": system, **structure_of(comparison)}


@transaction.atomic
def record_vote(
    *, turn: Turn, voter: User, verdict: str, best_column: int | None = None, samples: dict[int, int] | None = None
) -> Vote:
    """One vote a person and turn; a later one replaces it. `samples`: by column, which of its answers was judged;
    else the first.

    Names are shown after a blind vote: one that is changed then is kept, but as an open vote.
    """
    comparison = turn.comparison
    responses = {response.column: response for response in turn.responses.all()}
    if len(comparison.columns) < 2:
        raise ApiError("A vote needs at least two columns. Add another model.", status=409)
    if len(responses) < len(comparison.columns):
        raise ApiError("Not every column has answered. Wait, or retry what is missing, then vote.", status=409)
    if not can_be_judged(turn):
        raise ApiError("A vote needs two answers. Retry the columns that failed, then vote.", status=409)
    if best_column is not None and best_column not in responses:
        raise ApiError("There is no such column.", param="verdict")
    if best_column is not None and responses[best_column].error:
        raise ApiError("This column gave no answer. Choose among those that did.", param="verdict")
    best = responses[best_column] if best_column is not None else None
    judged = _judged_samples(responses, samples or {})
    values = {
        "project": comparison.project,
        "verdict": verdict,
        "best": best,
        "samples": judged,
        "blind": comparison.blind and _is_blind(turn, voter, (verdict, best, judged)),
    }
    before = Vote.objects.filter(turn=turn, voter=voter).first()
    if before and (before.verdict, before.best, before.samples) != (verdict, best, judged):
        values["created_at"] = timezone.now()  # said now; the same pressed again is nothing new
    return Vote.objects.update_or_create(turn=turn, voter=voter, defaults=values)[0]


def _judged_samples(responses: dict[int, Response], chosen: dict[int, int]) -> list[int]:
    """One for each column; empty where all are the first."""
    for column, sample in chosen.items():
        if column not in responses or not 0 <= sample <= len(responses[column].more_samples):
            raise ApiError("There is no such sample. Reload the page.", param="sample")
    judged = [chosen.get(column, 0) for column in range(len(responses))]
    return judged if any(judged) else []


def _is_blind(turn: Turn, voter: User, said: tuple[str, Response | None, list[int]]) -> bool:
    """Whether this vote on a blind comparison is cast without knowing the names."""
    earlier = Vote.objects.filter(turn__comparison=turn.comparison, voter=voter).first()
    if earlier is None:
        return True
    if earlier.turn_id != turn.pk:
        raise ApiError("You have judged this comparison. Go on with the next prompt.", status=409)
    return earlier.blind and (earlier.verdict, earlier.best, earlier.samples) == said


def can_be_judged(turn: Turn) -> bool:
    """Every column has answered or failed, and two answers at least are there: a vote is about those."""
    responses = list(turn.responses.all())
    answered = [response for response in responses if not response.error]
    return len(responses) == len(turn.comparison.columns) and len(answered) > 1


def is_revealed(comparison: Comparison, user: User) -> bool:
    """Names are for everybody when it is not blind, else for those who have voted on it."""
    return not comparison.blind or Vote.objects.filter(turn__comparison=comparison, voter=user).exists()


def contender_key(column: dict[str, Any]) -> str:
    """What votes are counted for: a model; with a system prompt or settings of its own it is another contender."""
    own = {name: value for name, value in column.items() if name != "model" and value not in (None, {}, "")}
    if not own:
        return str(column["model"])
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:4]
    return f"{column['model']} · own {'prompt' if 'system' in own else 'settings'} {digest}"


def labels(project: Project, keys: set[str]) -> dict[str, str]:
    """A short name for each contender key."""
    models = {key: key.partition(" · own ") for key in keys}
    found = contenders.find(project, [model for model, _, _ in models.values()])
    return {
        key: (found[model].label if model in found else model) + separator + rest
        for key, (model, separator, rest) in models.items()
    }


def ballots(project: Project, *, blind_only: bool = False, among: set[str] | None = None) -> list[Ballot]:
    """Every vote of the project as the pure functions want it, without columns that failed; `among`: only what concerns
    these contenders."""
    votes = Vote.objects.filter(project=project)
    if blind_only:
        votes = votes.filter(blind=True)
    failed: dict[int, set[int]] = {}
    lost = Response.objects.exclude(error="").filter(turn__votes__in=votes)
    for turn, column in lost.values_list("turn", "column"):
        failed.setdefault(turn, set()).add(column)
    wanted = ("turn", "turn__comparison__columns", "best__column", "verdict", "turn__prompt")
    rows = votes.values_list(*wanted)  # model instances would take ten times as long to make
    found = [_ballot(failed.get(turn, set()), *values) for turn, *values in rows]
    return [ballot for ballot in found if among is None or len(among & set(ballot.seen)) > 1]


def _ballot(failed: set[int], columns: list[dict[str, Any]], best: int | None, verdict: str, prompt: str) -> Ballot:
    keys = [contender_key(column) for column in columns]
    seen = tuple(key for at, key in enumerate(keys) if at not in failed)
    return Ballot(seen, None if best is None else keys[best], verdict == Vote.Verdict.BOTH_BAD, prompt)


def judged(project: Project, *, blind_only: bool = False) -> Any:
    """Comparisons with votes, the latest vote first, with their turns, answers and votes; `blind_only`: with no other
    votes than those cast blind."""
    votes = Vote.objects.select_related("voter", "best")
    votes = votes.filter(blind=True) if blind_only else votes
    return (
        Comparison.objects.of(project)
        .filter(**({"turns__votes__blind": True} if blind_only else {"turns__votes__isnull": False}))
        .annotate(judged_at=Max("turns__votes__created_at"))
        .order_by("-judged_at")
        .prefetch_related(Prefetch("turns", Turn.objects.prefetch_related(Prefetch("votes", votes), "responses")))
    )
