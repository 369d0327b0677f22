"""Three prompts, two models and a matrix of them, as rows, for the tests of its pages."""

import json

import pytest
from django.test import Client

from accounts.models import Project
from playground.forms import Setup
from playground.matrix import matrices, sets
from playground.matrix.models import KeptAnswer, Matrix, PromptSet
from tests.playground_cast import make_base, make_checkpoint

SETS, MATRICES = "/playground/prompts/", "/playground/matrices/"
ROWS = [
    {"prompt": "Say hi", "completion": "Hi!", "tags": ["greeting"]},
    {"messages": [{"role": "user", "content": "Sum?"}, {"role": "assistant", "content": "4"}], "tags": "sums"},
]


@pytest.fixture
def models(project: Project) -> list[str]:
    base = make_base()
    return [base.name, make_checkpoint(project, base).name]


@pytest.fixture
def prompts(project: Project) -> PromptSet:
    pinned = sets.typed("\n".join(["Why?", *(json.dumps(row) for row in ROWS)]))
    return sets.make(project=project, user=None, name="Three", pinned=pinned, source={"kind": "typed"})


@pytest.fixture
def matrix(project: Project, prompts: PromptSet, models: list[str]) -> Matrix:
    setup = Setup.model_validate({"columns": [{"model": name} for name in models], "settings": {"temperature": 0}})
    return matrices.start(project=project, user=None, name="First", prompt_set=prompts, setup=setup)


def answer(matrix: Matrix, column: int, prompt: int, text: str = "", **given: object) -> KeptAnswer:
    """What this column answered to the prompt of this number."""
    return KeptAnswer.objects.create(
        project=matrix.project,
        contender=matrix.contenders[column],
        prompt=matrix.prompt_set.prompts.all()[prompt].key,
        model=matrix.columns[column]["model"],
        text=text,
        **given,
    )


def shown(client: Client, matrix: Matrix, **filters: object) -> list[str]:
    """The prompts that the table shows under these filters."""
    page = client.get(f"{MATRICES}{matrix.pk}/", filters)
    return [each["row"].prompt.text for each in page.context["rows"]]
