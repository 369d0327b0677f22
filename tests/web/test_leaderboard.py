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
    for number in range(5):
        judge(project, owner, first, base, f"one {number}")
        judge(project, owner, second, base, f"two {number}")
        judge(project, owner, fourth, third, f"three {number}")
    board = leaderboard(project)
    assert board and {place.rating.name for place in board.places} == {base, first, second}
    assert board.apart == ["ticket, epoch 3", "ticket, epoch 4"]


def test_open_votes_are_left_out_when_only_blind_ones_are_asked_for(
    project: Project, owner: User, models: list[str]
) -> None:
    base, first, second, *_ = models
    for number in range(5):
        judge(project, owner, first, base, f"one {number}", blind=False)
        judge(project, owner, second, base, f"two {number}")
    assert leaderboard(project) and leaderboard(project, blind_only=True) is None


def test_strangers_votes_are_not_counted(
    stranger_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    for number in range(5):
        judge(project, owner, models[1], models[0], f"one {number}")
        judge(project, owner, models[2], models[0], f"two {number}")
    assert "Leaderboard" not in stranger_client.get("/playground/votes/").text


def test_nobody_is_ranked_before_pairs_with_five_votes_link_three_models(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    base, first, second, *_ = models
    for number in range(4):
        judge(project, owner, first, base, f"one {number}")
        judge(project, owner, second, base, f"two {number}")
    page = owner_client.get("/playground/votes/").text
    assert leaderboard(project) is None and "Rating, 95 % interval" not in page
    assert "Still short: ticket, epoch 1 against SmolLM2 135M Instruct (4 of 5)" in page
    for pair in ((first, base), (second, base)):
        judge(project, owner, *pair, "the fifth")
    assert "Rating, 95 % interval" in owner_client.get("/playground/votes/").text


def test_one_vote_on_a_new_model_ranks_it_nowhere_and_takes_no_rank_away(
    project: Project, owner: User, models: list[str]
) -> None:
    base, first, second, third, _ = models
    for number in range(5):
        judge(project, owner, first, base, f"one {number}")
        judge(project, owner, second, base, f"two {number}")
    before = leaderboard(project)
    judge(project, owner, third, base, "the first of many")
    board = leaderboard(project)
    assert board and before and [each.rating for each in board.places] == [each.rating for each in before.places]
    assert board.apart == ["ticket, epoch 3"]


def test_the_headline_is_about_a_pair_with_enough_votes_and_says_that_the_best_two_hardly_met(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    base, first, second, *_ = models
    for number in range(9):
        judge(project, owner, second, base, f"one {number}")
        judge(project, owner, first, base, f"two {number}")
    judge(project, owner, second, first, "one meeting")
    page = owner_client.get("/playground/votes/").text
    finding = re.search(r'<p class="finding">(.*?)</p>', page)
    assert finding and finding[1].startswith("ticket, epoch 2 is better than SmolLM2 135M Instruct: 9")
    assert "rated best, ticket, epoch 2 and ticket, epoch 1, met in 1 vote only: not enough votes" in page
    for number in range(4):
        judge(project, owner, second, first, f"more meetings {number}")
    page = owner_client.get("/playground/votes/").text
    finding = re.search(r'<p class="finding">(.*?)</p>', page)
    assert finding and "epoch 2 is better than ticket, epoch 1" in finding[1] and "rated best" not in page
