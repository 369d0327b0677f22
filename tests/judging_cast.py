"""A campaign whose contenders have answered, as rows, without a model."""

from typing import Any

from accounts.models import Project, User
from playground.campaigns import running
from playground.campaigns.models import Campaign
from playground.film.prompts import Pinned
from playground.forms import Setup
from playground.matrix import sets
from playground.matrix.models import KeptAnswer, Matrix


def make_campaign(project: Project, user: User, models: list[str], *, prompts: int = 6, **rubric: Any) -> Campaign:
    """Answered but for nothing; it opens when somebody looks. `models`: names that the project knows."""
    asked = [Pinned({"messages": [{"role": "user", "content": f"Question {n}?"}]}) for n in range(prompts)]
    found = sets.make(project=project, user=user, name="Questions", pinned=asked, source={"kind": "typed"})
    setup = Setup.model_validate({"columns": [{"model": name} for name in models]})
    campaign = running.begin(project=project, user=user, name="House voice", prompts=found, setup=setup, rubric=rubric)
    answer(campaign)
    return campaign


def answer(campaign: Campaign, *, without: dict[str, list[str]] | None = None) -> None:
    """What the worker does. `without`: questions that a model (by name) fails on."""
    matrix = campaign.matrix
    for key, column in zip(matrix.contenders, matrix.columns, strict=True):
        for prompt in matrix.prompt_set.prompts.all():
            failed = prompt.text in (without or {}).get(column["model"], [])
            KeptAnswer.objects.get_or_create(
                project=matrix.project,
                contender=key,
                prompt=prompt.key,
                defaults={
                    "model": column["model"],
                    "text": "" if failed else answer_text(matrix.contenders.index(key), prompt.text),
                    "error": "The server stopped." if failed else "",
                    "stop_reason": "stop",
                },
            )
    Matrix.objects.filter(pk=matrix.pk).update(state=Matrix.State.DONE)
    matrix.refresh_from_db()


def answer_text(contender: int, question: str) -> str:
    """What the contender at this place answers."""
    return f"Voice {'ABCDEFGH'[contender]} on **{question}**"
