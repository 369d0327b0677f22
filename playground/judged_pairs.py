"""Two answers to one input and what one person said of them: from the playground's votes, edits and campaigns."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from accounts.models import Project
from playground.campaigns.models import Assignment, Campaign
from playground.edits.models import EditedAnswer
from playground.matrix.filling import body_for
from playground.matrix.models import KeptAnswer, Matrix
from playground.models import Comparison, Response, Vote

LATER = "on a later message of a conversation, where each answer has another history"
UNEQUAL = "between columns with system prompts of their own"
ALIKE = "on two answers that are the same, or empty"
UNFIT = "on answers that call functions, or on bare text without messages"
GONE = "on answers that are no longer kept"


@dataclass(frozen=True)
class Side:
    """One of the two answers."""

    text: str
    model: str
    checkpoint_id: str | None = None
    edited_by: str = ""  # who changed the model's answer into this one


@dataclass(frozen=True)
class Judged:
    """`point` is the first one's: 1, or ½ for a tie. `asked` is the input: {"messages", "tools"?}."""

    asked: dict[str, Any]
    first: Side
    second: Side
    point: float
    source: Comparison | Campaign

    @property
    def key(self) -> str:
        return json.dumps(self.asked, sort_keys=True, ensure_ascii=False)


def of_votes(votes: Iterable[Vote], model: str, left_out: Counter[str]) -> Iterator[Judged]:
    """What each vote of the playground says of every pair it saw; `model`: only pairs with an answer by it."""
    for vote in votes:
        if vote.turn.position:
            left_out[LATER] += 1
        else:
            yield from _of_vote(vote, model, left_out)


def _of_vote(vote: Vote, model: str, left_out: Counter[str]) -> Iterator[Judged]:
    comparison = vote.turn.comparison
    answers = [answer for answer in vote.turn.responses.all() if not answer.error]  # the vote is about these
    best = next((answer for answer in answers if answer.pk == vote.best_id), None)
    messages = [{"role": "user", "content": vote.turn.prompt}]
    if comparison.system_prompt.strip():
        messages.insert(0, {"role": "system", "content": comparison.system_prompt})
    asked = {"messages": messages, **({"tools": comparison.tools} if comparison.tools else {})}
    for first, second in _pairs(answers, best):
        if model and model not in (first.model, second.model):
            continue
        one, other = (answer.sample(vote.sample_of(answer.column)) for answer in (first, second))
        problem = UNFIT if one["tool_calls"] or other["tool_calls"] else _problem(one["text"], other["text"])
        if any("system" in comparison.columns[answer.column] for answer in (first, second)):
            problem = problem or UNEQUAL
        if problem:
            left_out[problem] += 1
            continue
        sides = (Side(said["text"], by.model, by.checkpoint_id) for said, by in ((one, first), (other, second)))
        yield Judged(asked, *sides, 1.0 if best else 0.5, comparison)


def _pairs(answers: list[Response], best: Response | None) -> Iterator[tuple[Response, Response]]:
    """The best against each other; without one all pairs, each a tie: it counts against what others decided."""
    if best:
        yield from ((best, other) for other in answers if other.pk != best.pk)
    else:
        yield from ((one, other) for index, one in enumerate(answers) for other in answers[index + 1 :])


def of_edits(edits: Iterable[EditedAnswer], model: str, left_out: Counter[str]) -> Iterator[Judged]:
    """Each edited answer over the one it was made of. Both stand under the prompt that their column was given, so one
    of its own is no hindrance."""
    for edit in edits:
        answer = edit.response
        comparison = answer.turn.comparison
        if model and model != answer.model:
            continue
        problem = LATER if answer.turn.position else _problem(edit.text, answer.text)
        if not problem and (answer.tool_calls or comparison.tools):
            problem = UNFIT
        if problem:
            left_out[problem] += 1
            continue
        system = comparison.columns[answer.column].get("system")
        system = comparison.system_prompt if system is None else system
        messages = [{"role": "system", "content": system}] if system.strip() else []
        messages.append({"role": "user", "content": answer.turn.prompt})
        edited = Side(edit.text, answer.model, answer.checkpoint_id, str(edit.editor or "somebody"))
        yield Judged({"messages": messages}, edited, _side(answer), 1.0, comparison)


def _side(answer: Response | KeptAnswer) -> Side:
    return Side(answer.text, answer.model, answer.checkpoint_id)


def _problem(first: str, second: str) -> str:
    return ALIKE if not first.strip() or not second.strip() or first == second else ""


def of_campaigns(project: Project, votes: Iterable[Assignment], model: str, left_out: Counter[str]) -> Iterator[Judged]:
    """What each vote of a campaign says; votes of one campaign after the other."""
    asked: dict[str, _Asked] = {}
    for vote in votes:
        campaign = vote.campaign
        if campaign.pk not in asked:
            asked = {campaign.pk: _Asked(campaign.matrix)}
        found = asked[campaign.pk].pair(vote)
        if isinstance(found, str):
            left_out[found] += 1
            continue
        body, first, second = found
        if not model or model in (first.model, second.model):
            yield Judged(body, first, second, vote.point, campaign)


class _Asked:
    """The inputs and the frozen answers of one matrix."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self.columns = dict(zip(matrix.contenders, matrix.columns, strict=True))
        self.prompts = {prompt.key: prompt for prompt in matrix.prompt_set.prompts.all()}
        kept = KeptAnswer.objects.filter(project=matrix.project_id, contender__in=self.columns, error="")
        self.answers = {(answer.contender, answer.prompt): answer for answer in kept}

    def pair(self, vote: Assignment) -> tuple[dict[str, Any], Side, Side] | str:
        """The input and both answers; or why they make no pair."""
        answers = [self.answers.get((key, vote.prompt)) for key in (vote.first, vote.second)]
        prompt = self.prompts.get(vote.prompt)
        if prompt is None or answers[0] is None or answers[1] is None:
            return GONE
        if "messages" not in prompt.ask or answers[0].tool_calls or answers[1].tool_calls:
            return UNFIT
        bodies = [body_for(self.matrix, self.columns[key], prompt) for key in (vote.first, vote.second)]
        if bodies[0]["messages"] != bodies[1]["messages"]:
            return UNEQUAL
        if problem := _problem(answers[0].text, answers[1].text):
            return problem
        body = {name: value for name, value in bodies[0].items() if name in ("messages", "tools")}
        return body, _side(answers[0]), _side(answers[1])
