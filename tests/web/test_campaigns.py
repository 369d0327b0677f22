"""Campaigns from the project's side: a new one, its page, links."""

import re

import pytest
from django.test import Client

from accounts.models import Project, User
from playground.campaigns.models import Campaign, Invitation
from playground.matrix.models import KeptAnswer, Matrix, PromptSet
from tests import factories, makers
from tests.judging_cast import answer, make_campaign
from tests.playground_cast import make_base, make_checkpoint

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]
NEW = "/campaigns/new/"


@pytest.fixture
def models(project: Project) -> list[str]:
    base = make_base()
    return [base.name, *(make_checkpoint(project, base, epoch=epoch).name for epoch in (1, 2))]


def filled(models: list[str], **fields: str) -> dict[str, object]:
    return {
        "model": models,
        "own": ["" for _ in models],
        "prompts": "lines",
        "text": "One?\nTwo?\nThree?",
        "name": "Answers of the desk",
        "temperature": "0",
        "top_p": "1",
        "max_tokens": "64",
        "seed": "1",
        "votes_per_pair": "20",
        "repeats": "10",
        "pairing": "balanced",
        "opens_itself": "on",
        **fields,
    }


def test_the_first_page_says_what_a_campaign_is(owner_client: Client, db: None) -> None:
    page = owner_client.get("/campaigns/").text
    assert "Let people say which model is better" in page and f'href="{NEW}"' in page
    assert 'aria-current="page"' in page[page.index('title="Campaigns"') :][:80]


def test_contenders_come_and_go_while_what_was_typed_stays(owner_client: Client, models: list[str]) -> None:
    page = owner_client.get(f"{NEW}?models={models[0]}").text
    assert f'name="model" value="{models[0]}"' in page and "stands here once" in page
    page = owner_client.post(NEW, {**filled(models[:1], instructions="Be fair."), "add": models[1]}).text
    assert page.count('name="model"') == 2 and "Be fair." in page
    said = re.sub(r"<[^>]+>", "", page)
    assert (
        "2 contenders × 3 prompts: 6 answers to generate; 1 pair × 20 votes: 20 votes and up to 2 planted repeats."
        in said
    )
    assert "at least 7 people" in said  # three prompts, each judged once by each
    page = owner_client.post(NEW, {**filled(models[:2]), "remove": "0"}).text
    assert page.count('name="model"') == 1 and f'name="model" value="{models[1]}"' in page


def test_a_campaign_of_pasted_lines_begins_and_asks_for_its_answers(
    owner_client: Client, project: Project, models: list[str]
) -> None:
    sent = filled(models, criteria="Tone\nFacts", tags="too long, wrong", satisfaction="on", votes_per_evaluator="30")
    sent["own"] = ["Be terse.", "", ""]
    response = owner_client.post(NEW, {**sent, "own_temperature": ["", "0.5", ""], "start": "1"})
    made = Campaign.objects.get()
    assert response.status_code == 302 and made.pk in response["Location"]
    assert (made.criteria, made.tags, made.satisfaction) == (["Tone", "Facts"], ["too long", "wrong"], True)
    assert (made.repeat_share, made.votes_per_evaluator, made.comments) == (0.1, 30, False)
    assert made.matrix.columns == [
        {"model": models[0], "system": "Be terse."},
        {"model": models[1], "settings": {"temperature": 0.5}},
        {"model": models[2]},
    ]
    assert [each.text for each in made.matrix.prompt_set.prompts.all()] == ["One?", "Two?", "Three?"]
    page = owner_client.get(response["Location"]).text
    assert "The contenders are answering: 0 of 9 answers are there." in page

    answer(made)
    page = owner_client.get(response["Location"]).text
    assert "0 of 60 votes by 0 people" in page and "Judge yourself" in page
    made.refresh_from_db()
    assert made.state == "open" and made.opened_at
    assert "Answers of the desk" in owner_client.get("/campaigns/").text


def test_rows_of_a_validation_file_are_asked(owner_client: Client, project: Project, models: list[str]) -> None:
    file = makers.make_file(project, rows=9)
    factories.write_jsonl(file.path, factories.chat_rows(9))
    owner_client.post(NEW, {**filled(models[:2], prompts=f"file:{file.pk}", count="4"), "start": "1"})
    assert Campaign.objects.get().matrix.prompt_set.prompts.count() == 4
    assert PromptSet.objects.get().source["file"] == file.pk


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"text": ""}, "prompt set is empty"),
        ({"name": ""}, "required"),
        ({"votes_per_pair": "0"}, "greater than or equal to 1"),
        ({"temperature": "9"}, "Temperature"),
        ({"prompts": "set:elsewhere"}, "Choose what is asked"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    owner_client: Client, models: list[str], fields: dict[str, str], problem: str
) -> None:
    response = owner_client.post(NEW, {**filled(models[:2], **fields), "start": "1"})
    assert response.status_code == 422 and problem in response.text
    assert not Campaign.objects.exists() and not PromptSet.objects.exists()


def test_one_contender_is_not_enough_and_words_that_name_one_are_refused(
    owner_client: Client, models: list[str]
) -> None:
    response = owner_client.post(NEW, {**filled(models[:1]), "start": "1"})
    assert "at least two contenders" in response.text
    told = filled(models[:2], instructions=f"Is {models[0]} good?")
    assert "it names SmolLM2-135M-Instruct" in owner_client.post(NEW, {**told, "start": "1"}).text
    assert not Campaign.objects.exists()


def test_a_new_one_like_an_old_one_asks_for_nothing_twice(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    old = make_campaign(project, owner, models, criteria=["Tone"], instructions="Read well.")
    page = owner_client.get(f"{NEW}?like={old.pk}").text
    assert page.count('name="model"') == 3 and "Read well." in page and "Tone" in page
    assert "18 of them there from earlier" in page


def test_a_link_is_shown_once_and_listed_with_its_state(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    made = make_campaign(project, owner, models)
    response = owner_client.post(f"/campaigns/{made.pk}/invite/", {"label": "Support", "days": "7"})
    link = re.search(r"http://testserver(/judge/[\w-]{40,}/)", response.text)
    assert link and response["Cache-Control"] == "no-store"
    page = owner_client.get(f"/campaigns/{made.pk}/").text
    assert link[1] not in page and "Support" in page and "Until" in page
    assert "Your name" in Client().get(link[1]).text
    Client().post(link[1], {"name": "Ana <b>"})
    page = owner_client.get(f"/campaigns/{made.pk}/").text
    assert "Ana &lt;b&gt;" in page and "0 of" in page
    owner_client.post(f"/campaigns/{made.pk}/revoke/link/{Invitation.objects.get().pk}/")
    assert "Revoked" in owner_client.get(f"/campaigns/{made.pk}/").text


def test_an_open_campaign_waits_for_nobody_but_a_person_when_it_is_told_to(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    made = make_campaign(project, owner, models, opens_itself=False)
    address = f"/campaigns/{made.pk}/"
    assert "Every answer is there. Open it" in owner_client.get(address).text
    owner_client.post(f"{address}open/")
    assert "Judge yourself" in owner_client.get(address).text


def test_a_campaign_that_has_its_votes_takes_more_when_more_are_asked_for(
    owner_client: Client, stranger_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    made = make_campaign(project, owner, models, votes_per_pair=4)
    votes = f"/campaigns/{made.pk}/votes/"
    assert stranger_client.post(votes, {"votes_per_pair": "9"}).status_code == 404
    refused = owner_client.post(votes, {"votes_per_pair": "4"}, follow=True).text
    assert "It wants 4 already. Give a higher number." in refused and "of 12 votes" in refused
    raised = owner_client.post(votes, {"votes_per_pair": "6"}, follow=True).text
    assert "Each pair gets 6 votes now." in raised and "of 18 votes" in raised
    made.refresh_from_db()
    assert made.votes_per_pair == 6


def test_what_was_in_the_way_of_the_answers_is_told_as_of_then_and_gone_once_all_are_there(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    made = make_campaign(project, owner, models, state=Campaign.State.ANSWERING, opens_itself=False)
    trouble = "The serving process does not run."
    missing = made.matrix.contenders[0]
    kept = KeptAnswer.objects.filter(contender=missing)
    rows = list(kept)
    kept.delete()
    Matrix.objects.filter(pk=made.matrix.pk).update(state=Matrix.State.DONE, troubles={missing: trouble})
    assert f"When it was last asked: {trouble}" in owner_client.get(f"/campaigns/{made.pk}/").text
    assert Campaign.objects.get().state_words == "waits for you"
    KeptAnswer.objects.bulk_create(rows)
    assert trouble not in owner_client.get(f"/campaigns/{made.pk}/").text


def test_votes_that_are_too_few_to_say_anything_are_told_before_the_campaign_begins(
    owner_client: Client, models: list[str]
) -> None:
    few = owner_client.post(NEW, {**filled(models, votes_per_pair="4"), "refresh": "1"}).text
    assert "Below 5 votes a pair nothing is said of it" in few
    assert "nothing is said of it" not in owner_client.post(NEW, {**filled(models), "refresh": "1"}).text


def test_a_deleted_campaign_leaves_its_answers(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    made = make_campaign(project, owner, models)
    owner_client.post(f"/campaigns/{made.pk}/delete/")
    assert not Campaign.objects.exists() and KeptAnswer.objects.count() == 18


def test_a_stranger_begins_nothing_with_what_is_not_theirs(
    stranger_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    made = make_campaign(project, owner, models)
    for query in (f"like={made.pk}", f"matrix={made.matrix.pk}", f"models={models[1]}"):
        assert 'name="model"' not in stranger_client.get(f"{NEW}?{query}").text
    prompts = f"set:{made.matrix.prompt_set.pk}"
    assert stranger_client.post(NEW, {**filled(models[1:], prompts=prompts), "start": "1"}).status_code == 422
    assert Campaign.objects.count() == 1


def test_the_matrix_of_a_campaign_is_not_deleted_under_it(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    made = make_campaign(project, owner, models)
    page = owner_client.post(f"/playground/matrices/{made.matrix_id}/delete/", follow=True).text
    assert "belongs to a campaign" in page and Campaign.objects.exists()
