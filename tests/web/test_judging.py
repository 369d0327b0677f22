"""The evaluator's page: by a link or an account, blind, each pair once, whatever happens in between."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Project, User
from playground.campaigns import judge_views, judging, overview, running
from playground.campaigns.models import Assignment, Campaign, Evaluator, Invitation
from playground.matrix.models import KeptAnswer
from playground.matrix.table import columns_of
from tests.judging_cast import answer, make_campaign
from tests.playground_cast import make_base, make_checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_tries_so_far() -> None:
    cache.clear()


@pytest.fixture
def models(project: Project) -> list[str]:
    base = make_base()
    return [base.name, *(make_checkpoint(project, base, epoch=epoch).name for epoch in (1, 2))]


@pytest.fixture
def campaign(project: Project, owner: User, models: list[str]) -> Campaign:
    return make_campaign(project, owner, models, prompts=4)


def link_to(campaign: Campaign, **columns: Any) -> str:
    return f"/judge/{running.invite(campaign=campaign, user=campaign.created_by, **columns)[1]}/"


def come(address: str, name: str = "Ana") -> Client:
    """Somebody without an account opens the link and gives a name."""
    client = Client()
    assert "Your name" in client.get(address).text
    assert client.post(address, {"name": name}).status_code == 302
    return client


def pair_on(page: str) -> str:
    found = re.search(r'name="pair" value="(\w+)"', page)
    assert found, page
    return found[1]


def judge(client: Client, address: str, verdict: str = "left", **more: Any) -> Any:
    return client.post(address, {"pair": pair_on(client.get(address).text), "verdict": verdict, **more}, follow=True)


def test_somebody_without_an_account_judges_until_nothing_is_left(
    project: Project, owner: User, models: list[str]
) -> None:
    campaign = make_campaign(project, owner, models, prompts=4, repeat_share=0.3)
    address = link_to(campaign, label="Support")
    ana = come(address)
    page = ana.get(address).text
    assert "0 of 13" in page  # 3 pairs on 4 prompts, and a repeat
    verdicts = 0
    while 'name="pair"' in page:
        page = judge(ana, address, ["left", "right", "tie", "both_bad"][verdicts % 4]).text
        verdicts += 1
        assert verdicts < 20
    assert f"You judged {verdicts} pairs" in page
    votes = list(Assignment.objects.votes(campaign))
    repeats = list(Assignment.objects.repeats(campaign))
    assert len(votes) == 12 and len(repeats) == verdicts - 12 >= 1
    order = {each.pk: at for at, each in enumerate(campaign.assignments.order_by("drawn_at"))}
    for again in repeats:
        assert again.swapped != again.repeat_of.swapped
        assert order[again.pk] - order[again.repeat_of_id] > 8
    assert Evaluator.objects.get().name == "Ana"


def test_nothing_that_reaches_an_evaluator_tells_a_model(
    campaign: Campaign, project: Project, models: list[str]
) -> None:
    campaign.matrix.columns[0]["system"] = "Be terse, as only the base is."
    campaign.matrix.save()
    answer(campaign)
    address = link_to(campaign)
    ana = come(address)
    for _ in range(8):
        response = ana.get(address)
        heard = response.text + str(response.headers) + address + str(ana.cookies)
        told = [*models, *campaign.matrix.contenders, "ticket", "SmolLM", "epoch", "Be terse", "run-4", "run-base"]
        assert [word for word in told if word in heard] == []
        shown = Assignment.objects.get(judged_at=None)
        assert re.search(r'id="left">([^<]*)<', response.text)[1] == judging.answers_in(shown)[0]  # type: ignore[index]
        judge(ana, address)


def test_a_member_judges_with_their_account_and_the_frame_says_nothing(
    owner_client: Client, campaign: Campaign, models: list[str]
) -> None:
    address = f"/campaigns/{campaign.pk}/judge/"
    page = owner_client.get(address).text
    assert "Which answer is better" in page or "which answer is better" in page
    assert "/ws/project/" not in page and not any(name in page for name in models)
    judge(owner_client, address, "right")
    assert Assignment.objects.votes(campaign).get().evaluator.user.email == "owner@example.com"
    campaign.refresh_from_db()
    assert campaign.is_judged_by(Evaluator.objects.get().user)


def test_a_stranger_finds_no_campaign_but_may_follow_a_link(stranger_client: Client, campaign: Campaign) -> None:
    for address in (f"/campaigns/{campaign.pk}/", f"/campaigns/{campaign.pk}/judge/"):
        assert stranger_client.get(address).status_code == 404
    for verb in ("close", "invite", "delete"):
        assert stranger_client.post(f"/campaigns/{campaign.pk}/{verb}/").status_code == 404
    assert campaign.pk not in stranger_client.get("/campaigns/").text
    assert "Your name" in stranger_client.get(link_to(campaign)).text


def test_somebody_without_a_project_may_follow_a_link(campaign: Campaign) -> None:
    client = Client()
    client.force_login(User.objects.create_user("nobody@example.com", "a long password"))
    assert "Your name" in client.get(link_to(campaign)).text


def test_sending_a_verdict_twice_is_one_vote(campaign: Campaign) -> None:
    address = link_to(campaign)
    ana = come(address)
    sent = {"pair": pair_on(ana.get(address).text), "verdict": "left"}
    for verdict in ("left", "right"):
        assert ana.post(address, sent | {"verdict": verdict}).status_code == 302
    assert [each.verdict for each in Assignment.objects.votes(campaign)] == ["left"]


def test_a_verdict_on_the_pair_of_somebody_else_is_none(campaign: Campaign) -> None:
    address = link_to(campaign)
    ana, ben = come(address), come(address, "Ben")
    ben.get(address)
    ben.post(address, {"pair": pair_on(ana.get(address).text), "verdict": "left"})
    assert not Assignment.objects.votes(campaign)


def test_two_who_judge_one_pair_at_the_same_moment_both_count(project: Project, owner: User, models: list[str]) -> None:
    campaign = make_campaign(project, owner, models[:2], prompts=1)
    address = link_to(campaign)
    ana, ben = come(address), come(address, "Ben")
    pairs = [pair_on(client.get(address).text) for client in (ana, ben)]
    for client, pair, verdict in ((ana, pairs[0], "left"), (ben, pairs[1], "tie")):
        client.post(address, {"pair": pair, "verdict": verdict})
    assert [each.evaluator.name for each in Assignment.objects.votes(campaign)] == ["Ana", "Ben"]
    assert len({(each.prompt, each.first, each.second) for each in Assignment.objects.votes(campaign)}) == 1


def test_a_reload_and_a_second_tab_show_the_same_pair(campaign: Campaign) -> None:
    address = link_to(campaign)
    ana = come(address)
    assert len({pair_on(ana.get(address).text) for _ in range(3)}) == 1
    assert Assignment.objects.count() == 1


def test_the_last_vote_can_be_taken_back_with_its_reasons(project: Project, owner: User, models: list[str]) -> None:
    rubric = {"criteria": ["Tone", "Facts"], "tags": ["too long", "wrong"], "satisfaction": True}
    campaign = make_campaign(project, owner, models, **rubric)
    address = link_to(campaign)
    ana = come(address)
    said = {"criterion-0": "right", "criterion-1": "sideways", "satisfaction-left": "2", "satisfaction-right": "9"}
    page = judge(ana, address, "right", tag=["wrong", "made up"], comment="Cold.", **said).text
    vote = Assignment.objects.votes(campaign).get()
    assert (vote.criteria, vote.satisfaction, vote.tags) == ({"Tone": "right"}, {"left": 2}, ["wrong"])
    assert vote.comment == "Cold." and vote.seconds is not None and "Undo" in page

    page = ana.post(address, {"take_back": "1"}, follow=True).text
    assert pair_on(page) == vote.pk and "Cold." in page and not Assignment.objects.votes(campaign)
    assert "Undo" not in page
    assert ana.post(address, {"take_back": "1"}, follow=True).status_code == 200  # pressed twice: still that one
    judge(ana, address, "left")
    vote.refresh_from_db()
    assert (vote.verdict, Assignment.objects.votes(campaign).count()) == ("left", 1)


def test_a_form_without_a_verdict_says_so_and_keeps_the_pair(campaign: Campaign) -> None:
    address = link_to(campaign)
    ana = come(address)
    pair = pair_on(ana.get(address).text)
    response = ana.post(address, {"pair": pair, "verdict": "whatever"})
    assert response.status_code == 422 and "Choose which answer is better" in response.text
    assert pair_on(response.text) == pair


def test_a_revoked_link_says_so_at_the_next_action_and_keeps_what_was_said(
    owner_client: Client, campaign: Campaign
) -> None:
    address = link_to(campaign)
    ana = come(address)
    judge(ana, address)
    sent = {"pair": pair_on(ana.get(address).text), "verdict": "left", "comment": "A long thought."}
    link = Invitation.objects.get()
    assert owner_client.post(f"/campaigns/{campaign.pk}/revoke/link/{link.pk}/").status_code == 302
    response = ana.post(address, sent)
    assert response.status_code == 410
    for words in ("This link was revoked", "Your 1 vote is kept", "was not counted", "A long thought."):
        assert words in response.text
    assert Assignment.objects.votes(campaign).count() == 1
    assert "This link was revoked" in Client().get(address).text


def test_one_person_can_be_let_in_no_more(owner_client: Client, campaign: Campaign) -> None:
    address = link_to(campaign)
    ana, ben = come(address), come(address, "Ben")
    row = Evaluator.objects.get(name="Ana").pk
    owner_client.post(f"/campaigns/{campaign.pk}/revoke/person/{row}/")
    assert ana.get(address).status_code == 410 and ben.get(address).status_code == 200


def test_an_expired_link_and_one_that_never_was_lead_nowhere(campaign: Campaign) -> None:
    address = link_to(campaign)
    ana = come(address)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert "This link has expired" in ana.get(address).text
    unknown = Client().get("/judge/not-a-link/")
    assert unknown.status_code == 404 and "leads nowhere" in unknown.text


def test_only_the_hash_of_a_link_is_stored(campaign: Campaign) -> None:
    token = link_to(campaign).split("/")[2]
    row = Invitation.objects.values().get()
    assert token not in str(row) and len(row["hash"]) == 64


def test_a_personal_link_is_one_person_on_every_device(campaign: Campaign) -> None:
    address = link_to(campaign, personal=True, label="Ana")
    laptop = come(address, "Ana")
    phone = Client()
    assert pair_on(phone.get(address).text) == pair_on(laptop.get(address).text)
    assert Evaluator.objects.count() == 1


def test_guessed_links_names_without_end_and_verdicts_by_machine_are_slowed(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("WRONG_LINKS", "NEW_NAMES", "VERDICTS"):
        monkeypatch.setattr(judge_views, limit, (3, 600))
    client, address = Client(), link_to(campaign)
    assert [client.get(f"/judge/guess-{n}/").status_code for n in range(5)] == [404, 404, 404, 429, 429]
    assert [Client().post(address, {"name": f"Bot {n}"}).status_code for n in range(4)] == [302, 302, 302, 429]
    own = link_to(campaign)
    ana = come(own)
    assert [ana.post(own, {"take_back": "1"}).status_code for _ in range(4)] == [302, 302, 302, 429]
    assert ana.get(own).status_code == 200


def test_judging_waits_for_the_answers_and_ends_when_it_is_closed(owner_client: Client, campaign: Campaign) -> None:
    campaign.matrix.state = "answering"
    campaign.matrix.save()
    address = link_to(campaign)
    ana = come(address)
    assert "Not open yet" in ana.get(address).text
    answer(campaign)
    judge(ana, address)
    pair = pair_on(ana.get(address).text)
    owner_client.post(f"/campaigns/{campaign.pk}/close/")
    closed = ana.post(address, {"pair": pair, "verdict": "left"})
    assert "The judging is over" in closed.text and "Your 1 vote is kept" in closed.text
    owner_client.post(f"/campaigns/{campaign.pk}/reopen/")
    assert pair_on(ana.get(address).text) == pair


def test_prompts_that_a_contender_failed_on_are_named_and_left_out(
    owner_client: Client, project: Project, owner: User, models: list[str]
) -> None:
    campaign = make_campaign(project, owner, models, prompts=3)
    KeptAnswer.objects.all().delete()
    answer(campaign, without={models[1]: ["Question 1?"]})
    page = owner_client.get(f"/campaigns/{campaign.pk}/").text
    assert "1 of 3 prompts lacks an answer" in page and "Question 1?" in page and "Open without it" in page
    owner_client.post(f"/campaigns/{campaign.pk}/open/")
    campaign.refresh_from_db()
    gone = campaign.matrix.prompt_set.prompts.get(text="Question 1?").key
    assert campaign.left_out == [gone] and gone not in judging.plan_of(campaign).answers
    assert campaign.state == "open"


def test_how_much_is_left_is_told_as_at_most_as_soon_as_others_judge_too() -> None:
    assert judging.Progress(0, 12).words == "0 of 12"
    assert judging.Progress(0, 4, 600.0, others=True).words == "0 of at most 4, about 10 minutes left"


def test_votes_stop_where_a_pair_has_those_that_are_wanted(project: Project, owner: User, models: list[str]) -> None:
    campaign = make_campaign(project, owner, models, votes_per_pair=2, repeat_share=0)
    address = link_to(campaign)
    ana, ben = come(address), come(address, "Ben")
    for client in (ana, ben) * 3:
        judge(client, address)
    assert "You judged 3 pairs" in ana.get(address).text
    assert sorted(each.votes for each in _pairs(campaign)) == [2, 2, 2]


def test_a_prompt_of_100k_characters_and_a_hostile_answer_are_text(
    project: Project, owner: User, models: list[str]
) -> None:
    campaign = make_campaign(project, owner, models[:2], prompts=1)
    prompt = campaign.matrix.prompt_set.prompts.get()
    prompt.ask = {"messages": [{"role": "system", "content": "Be <b>."}, {"role": "user", "content": "long " * 20_000}]}
    prompt.save()
    KeptAnswer.objects.update(text="</pre><script>alert(1)</script><svg onload=alert(1)>")
    address = link_to(campaign)
    page = come(address).get(address).text
    assert "long " * 20_000 in page and "Be &lt;b&gt;." in page
    assert "<script>alert" not in page and "<svg onload" not in page and page.count("&lt;script&gt;alert(1)") == 2


def _pairs(campaign: Campaign) -> Any:
    return overview.pairs(campaign, columns_of(campaign.matrix))


def test_the_time_of_a_page_does_not_grow_with_the_queries_of_the_votes(campaign: Campaign) -> None:
    address = link_to(campaign)
    ana = come(address)
    judge(ana, address)
    with CaptureQueriesContext(connection) as few:
        ana.get(address)
    for _ in range(8):
        judge(ana, address)
    with CaptureQueriesContext(connection) as many:
        ana.get(address)
    assert len(many) <= len(few) + 1
