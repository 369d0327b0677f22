"""Votes become a preference file and the form of the job that learns from it."""

import json

import pytest
from django.test import Client

from accounts.models import Project, User
from playground import comparisons, judged_pairs, preferences
from playground.comparisons import Answer
from playground.forms import Setup
from playground.models import Comparison, Response
from playground.preferences import Filters, gather
from tests.playground_cast import make_base, make_checkpoint
from training.models import DatasetFile

pytestmark = pytest.mark.django_db
PAGE = "/playground/votes/preferences/"


@pytest.fixture
def models(project: Project) -> list[str]:
    base = make_base()
    return [base.name, *(make_checkpoint(project, base, epoch=epoch).name for epoch in (1, 2))]


def judged(
    project: Project,
    voters: dict[User, str],
    answers: dict[str, str],
    prompt: str = "Why?",
    blind: bool = False,
    columns: list[dict[str, str]] | None = None,
) -> Comparison:
    """A comparison of these models' answers; each voter names the best model, or `tie` or `both_bad`."""
    setup = Setup.model_validate({"columns": columns or [{"model": name} for name in answers], "system": "Be brief."})
    made = comparisons.start_comparison(project=project, user=next(iter(voters)), setup=setup, blind=blind)
    names = [column["model"] for column in made.columns]
    turn = comparisons.add_turn(comparison=made, prompt=prompt)
    for column, name in enumerate(names):
        comparisons.record_response(turn=turn, column=column, answer=Answer(text=answers[name]))
    for voter, said in voters.items():
        best = names.index(said) if said in names else None
        comparisons.record_vote(turn=turn, voter=voter, verdict="best" if best is not None else said, best_column=best)
    return made


@pytest.fixture
def teammate() -> User:
    return User.objects.create_user(email="mate@example.com", password="x")


def test_one_choice_among_three_gives_two_pairs_in_openais_format(
    project: Project, owner: User, models: list[str]
) -> None:
    judged(project, {owner: models[1]}, dict(zip(models, ("dull", "good", "odd"), strict=True)))
    found = gather(project, Filters())
    rows = [json.loads(line) for line in found.content().splitlines()]
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert [row["input"]["messages"] for row in rows] == [asked, asked]
    assert [row["preferred_output"][0]["content"] for row in rows] == ["good", "good"]
    assert sorted(row["non_preferred_output"][0]["content"] for row in rows) == ["dull", "odd"]


def test_the_same_two_answers_are_one_pair_and_those_who_disagree_about_them_cancel(
    project: Project, owner: User, teammate: User, models: list[str]
) -> None:
    base, tuned, _ = models
    answers = {base: "dull", tuned: "good"}
    judged(project, {owner: tuned, teammate: tuned}, answers)
    judged(project, {owner: base}, answers)
    judged(project, {owner: base, teammate: tuned}, answers, prompt="And then?")
    found = gather(project, Filters())
    (pair,) = found.pairs
    assert (pair.preferred, pair.votes, round(pair.share, 2)) == ("good", 3, 0.67)
    assert found.left_out[preferences.TIED] == 2, "one against one says nothing"
    assert gather(project, Filters(agreement=0.8)).pairs == []


def test_ties_later_messages_own_prompts_and_equal_answers_teach_nothing(
    project: Project, owner: User, models: list[str]
) -> None:
    base, tuned, _ = models
    judged(project, {owner: "tie"}, {base: "a", tuned: "b"})
    judged(project, {owner: "both_bad"}, {base: "c", tuned: "d"})
    judged(project, {owner: tuned}, {base: "same", tuned: "same"})
    own = [{"model": base, "system": "A long one."}, {"model": tuned}]
    judged(project, {owner: tuned}, {base: "e", tuned: "f"}, columns=own)
    found = gather(project, Filters())
    assert found.pairs == [] and found.votes == 4
    assert found.left_out == {preferences.TIED: 2, judged_pairs.ALIKE: 1, judged_pairs.UNEQUAL: 1}


def test_every_judgement_of_two_answers_is_in_a_pair_or_left_out_and_the_page_says_the_sum(
    owner_client: Client, project: Project, owner: User, teammate: User, models: list[str]
) -> None:
    base, first, second = models
    judged(project, {owner: first, teammate: first}, {base: "dull", first: "good"})
    judged(project, {owner: "tie"}, {base: "same", first: "same"}, prompt="Two")
    judged(project, {owner: second}, {base: "dull", first: "odd", second: "fine"}, prompt="Three")
    found = gather(project, Filters())
    assert (found.votes, found.judgements, found.in_pairs, found.merged, len(found.pairs)) == (4, 5, 4, 1, 3)
    page = owner_client.get("/playground/votes/preferences/").text
    assert "3 preference pairs from 4 votes" in page
    assert "These make 5 judgements" in page and "4 in the pairs, 1 of them merged with another" in page
    assert "1 left out: 1 on two answers that are the same, or empty." in page


def test_an_answer_that_calls_a_tool_is_left_out(project: Project, owner: User, models: list[str]) -> None:
    base, tuned, _ = models
    judged(project, {owner: tuned}, {base: "a", tuned: "b"})
    Response.objects.filter(model=tuned).update(tool_calls=[{"name": "look", "arguments": "{}"}])
    found = gather(project, Filters())
    assert found.pairs == [] and found.left_out == {judged_pairs.UNFIT: 1}


def test_a_vote_on_a_later_message_is_left_out(project: Project, owner: User, models: list[str]) -> None:
    made = judged(project, {owner: models[1]}, {models[0]: "a", models[1]: "b"})
    turn = comparisons.add_turn(comparison=made, prompt="More?")
    for column in (0, 1):
        comparisons.record_response(turn=turn, column=column, answer=Answer(text=f"more {column}"))
    comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=0)
    found = gather(project, Filters())
    assert len(found.pairs) == 1 and found.left_out == {judged_pairs.LATER: 1}


def test_filters_choose_votes_by_voter_model_and_blindness(
    project: Project, owner: User, teammate: User, models: list[str]
) -> None:
    base, first, second = models
    judged(project, {owner: first}, {base: "a", first: "b"}, blind=True)
    judged(project, {teammate: second}, {base: "c", second: "d"}, prompt="Other?")

    def preferred(**chosen: object) -> list[str]:
        return [pair.preferred for pair in gather(project, Filters.model_validate(chosen)).pairs]

    assert preferred() == ["b", "d"]
    assert preferred(blind_only=True) == preferred(voter=owner.pk) == preferred(model=first) == ["b"]


def test_the_page_previews_the_pairs_and_makes_the_file_and_the_form(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    for number in range(10):
        judged(
            project, {owner: models[2]}, {models[0]: f"dull {number}", models[2]: f"good {number}"}, f"Why {number}?"
        )
    page = owner_client.get(PAGE).text
    assert "10 preference pairs from 10 votes" in page and "good 9" in page and "ticket, epoch 2" in page
    made = owner_client.post(PAGE, {"name": "first lessons", "agreement": "0.5"})
    file = DatasetFile.objects.get(filename__startswith="first lessons")
    assert made.status_code == 302 and f"file={file.pk}" in made.url and "checkpoint=" in made.url
    assert (file.format, file.rows, file.status) == ("preference", 10, "processed")
    assert file.origin["votes"] == 10 and file.origin["filters"]["agreement"] == 0.5
    form = owner_client.get(made.url)
    assert form.status_code == 200 and "first lessons" in form.text
    assert "10 pairs from 10 votes" in owner_client.get(f"/datasets/{file.pk}/").text


def test_a_few_pairs_are_told_that_a_job_needs_more(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    judged(project, {owner: models[1]}, {models[0]: "a", models[1]: "b"})
    assert "A job needs at least 10 rows" in owner_client.get(PAGE).text


def test_the_preview_leaves_out_blind_comparisons_that_one_has_not_judged(
    owner_client: Client, project: Project, owner: User, teammate: User, models: list[str]
) -> None:
    judged(project, {teammate: models[1]}, {models[0]: "a", models[1]: "b"}, blind=True)
    for filters in ({}, {"model": models[1]}):
        preview = owner_client.get(PAGE, filters).text.split('id="pairs-title"')[1]
        assert "1 more of blind comparisons" in preview
        assert "Preferred ·" not in preview and "ticket" not in preview


def test_without_votes_the_page_says_what_to_do_and_strangers_votes_do_not_show(
    stranger_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    judged(project, {owner: models[1]}, {models[0]: "a", models[1]: "b"})
    assert "No votes yet" in stranger_client.get(PAGE).text
    assert stranger_client.post(PAGE, {"name": "x"}).status_code == 200
    assert not DatasetFile.objects.filter(origin__kind="votes").exists()


def test_a_wrong_filter_is_said(owner_client: Client, project: Project, owner: User, models: list[str]) -> None:
    judged(project, {owner: models[1]}, {models[0]: "a", models[1]: "b"})
    assert "Select a valid choice" in owner_client.get(PAGE, {"voter": "999"}).text
