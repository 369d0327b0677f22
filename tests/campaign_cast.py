"""A campaign with answered prompts, evaluators and votes as rows, for tests of what becomes of them."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import Project
from playground.campaigns.models import Assignment, Campaign, Evaluator, Invitation
from playground.forms import Setup
from playground.matrix import matrices, sets
from playground.matrix.models import KeptAnswer, Matrix


def make_campaign(project: Project, models: Iterable[str], prompts: int = 12, **columns: Any) -> Campaign:
    """Open; each model has answered "question N" by "NAME to question N"."""
    asked = sets.typed("\n".join(f"question {number}" for number in range(prompts)))
    prompt_set = sets.make(project=project, user=None, name="Questions", pinned=asked, source={})
    setup = Setup.model_validate({"columns": [{"model": model} for model in models]})
    matrix = matrices.start(project=project, user=None, name="", prompt_set=prompt_set, setup=setup)
    Matrix.objects.filter(pk=matrix.pk).update(state=Matrix.State.DONE)
    for prompt in prompt_set.prompts.all():
        for key, column in zip(matrix.contenders, matrix.columns, strict=True):
            text = f"{column['model']} to {prompt.text}"
            asked = {"project": project, "contender": key, "prompt": prompt.key}
            KeptAnswer.objects.get_or_create(**asked, defaults={"model": column["model"], "text": text})
    given = {"name": "House voice", "state": Campaign.State.OPEN} | columns
    return Campaign.objects.create(project=project, matrix=matrix, **given)


def make_evaluator(campaign: Campaign, name: str) -> Evaluator:
    soon = timezone.now() + timedelta(days=1)
    invitation = Invitation.objects.create(campaign=campaign, hash=f"{campaign.pk} {name}", expires_at=soon)
    return Evaluator.objects.create(campaign=campaign, invitation=invitation, name=name)


def judge(
    evaluator: Evaluator, prompt: int, pair: tuple[int, int], better: int | str, *, swapped: bool = False, **said: Any
) -> Assignment:
    """One vote on the prompt of this number: `pair` and `better` are columns of the matrix; or "tie", "both_bad"."""
    matrix = evaluator.campaign.matrix
    keys = matrix.contenders
    first, second = sorted(keys[column] for column in pair)
    left = second if swapped else first
    verdict = better if isinstance(better, str) else ("left" if keys[better] == left else "right")
    return Assignment.objects.create(
        campaign=evaluator.campaign,
        evaluator=evaluator,
        prompt=matrix.prompt_set.prompts.get(position=prompt).key,
        first=first,
        second=second,
        swapped=swapped,
        verdict=verdict,
        judged_at=timezone.now(),
        **said,
    )
