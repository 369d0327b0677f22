"""The leaderboard on the page of votes."""

import re

import pytest
from django.test import Client

from accounts.models import Project, User
from playground import comparisons
from playground.comparisons import Answer
from playground.forms import Setup
from playground.leaderboard import leaderboard
from tests.playground_cast import make_base, make_checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def models(project: Project) -> list[str]:
    base = make_base()
    return [base.name, *(make_checkpoint(project, base, epoch=epoch).name for epoch in (1, 2, 3, 4))]


def judge(project: Project, voter: User, better: str, worse: str, prompt: str, blind: bool = True) -> None:
    setup = Setup.model_validate({"columns": [{"model": better}, {"model": worse}]})
    made = comparisons.start_comparison(project=project, user=voter, setup=setup, blind=blind)
    turn = comparisons.add_turn(comparison=made, prompt=prompt)
    for column in (0, 1):
        comparisons.record_response(turn=turn, column=column, answer=Answer(text=f"answer {column}"))
    best = next(index for index, column in enumerate(made.columns) if column["model"] == better)
    comparisons.record_vote(turn=turn, voter=voter, verdict="best", best_column=best)


def test_models_that_never_met_are_ranked_through_a_third(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    base, first, second, *_ = models
    for number in range(6):
        judge(project, owner, second, first, f"prompt {number}")
        judge(project, owner, first, base, f"prompt {number}")
    page = owner_client.get("/playground/votes/").text
    board = page[page.index('id="board-title"') :]
    labels = re.findall(r'class="records__first">([^<]+)<', board)
    assert labels == ["ticket, epoch 2", "ticket, epoch 1", "SmolLM2 135M Instruct"]
    assert "95 % interval" in board and "Not linked" not in board


def test_two_models_need_no_leaderboard(owner_client: Client, project: Project, owner: User, models: list[str]) -> None:
    judge(project, owner, models[1], models[0], "a prompt")
    assert "Leaderboard" not in owner_client.get("/playground/votes/").text


def test_models_without_a_common_opponent_are_not_rated_against_each_other(
    project: Project, owner: User, models: list[str]
) -> None:
    base, first, second, third, fourth = models
    judge(project, owner, first, base, "one")
    judge(project, owner, second, base, "two")
    judge(project, owner, fourth, third, "three")
    board = leaderboard(project)
    assert board and {place.rating.name for place in board.places} == {base, first, second}
    assert board.apart == ["ticket, epoch 3", "ticket, epoch 4"]


def test_open_votes_are_left_out_when_only_blind_ones_are_asked_for(
    project: Project, owner: User, models: list[str]
) -> None:
    base, first, second, *_ = models
    judge(project, owner, first, base, "one", blind=False)
    judge(project, owner, second, base, "two")
    assert leaderboard(project) and leaderboard(project, blind_only=True) is None


def test_strangers_votes_are_not_counted(
    stranger_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    judge(project, owner, models[1], models[0], "one")
    judge(project, owner, models[2], models[0], "two")
    assert "Leaderboard" not in stranger_client.get("/playground/votes/").text
