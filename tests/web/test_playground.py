"""The playground's pages: who sees what, and what wrong input is told."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Project, User
from playground import comparisons, contenders
from playground.comparisons import Answer
from playground.forms import Setup
from playground.models import Comparison, Turn, Vote
from tests.playground_cast import make_base, make_checkpoint
from training.models import Checkpoint

pytestmark = pytest.mark.django_db
HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def models(project: Project) -> list[str]:
    """A base model and two epochs of one job."""
    base = make_base()
    return [base.name, *(make_checkpoint(project, base, epoch=epoch).name for epoch in (1, 2))]


def setup_of(models: list[str], **fields: object) -> Setup:
    return Setup.model_validate({"columns": [{"model": model} for model in models], **fields})


def answered(comparison: Comparison, prompt: str = "Why is the sky blue?") -> Turn:
    """A turn that every column has answered."""
    turn = comparisons.add_turn(comparison=comparison, prompt=prompt)
    for column in range(len(comparison.columns)):
        answer = Answer(
            text=f"answer number {column}",
            prompt_tokens=7 + column,
            completion_tokens=31 + column,
            first_token_seconds=0.25,
            tokens_per_second=12.5,
            stop_reason="stop",
        )
        comparisons.record_response(turn=turn, column=column, answer=answer)
    return turn


@pytest.fixture
def blind(project: Project, owner: User, models: list[str]) -> Comparison:
    setup = setup_of(models, settings={"temperature": 0.37})
    return comparisons.start_comparison(project=project, user=owner, setup=setup, blind=True)


def page_data(page: str) -> Any:
    """What the page gives its script."""
    found = re.search(r'<script id="playground-data" type="application/json">(.*?)</script>', page)
    assert found
    return json.loads(found[1])


# ---- columns ----


def test_the_empty_playground_teaches_and_offers_every_model(owner_client: Client, models: list[str]) -> None:
    page = owner_client.get("/playground/").content.decode()
    assert "Which model answers better?" in page
    assert page.count("data-choice") == 3


def test_columns_stand_in_the_order_of_the_address_with_epoch_and_state(
    owner_client: Client, models: list[str]
) -> None:
    page = owner_client.get("/playground/", {"models": ",".join(reversed(models))}).content.decode()
    names = re.findall(r'class="sheet__name clip" title="([^"]+)"', page)
    assert names == list(reversed(models))
    assert "epoch 2" in page and "Not loaded" in page


def test_a_column_can_be_moved_and_removed_by_links(owner_client: Client, models: list[str]) -> None:
    page = owner_client.get("/playground/", {"models": ",".join(models[:2])}).content.decode()
    assert f'href="/playground/?models={models[1]},{models[0]}"' in page
    assert f'href="/playground/?models={models[1]}"' in page


def test_an_unknown_model_is_named_and_gets_no_column(owner_client: Client, models: list[str]) -> None:
    page = owner_client.get("/playground/", {"models": f"{models[0]},<b>nobody</b>"}).content.decode()
    assert "The model `&lt;b&gt;nobody&lt;/b&gt;` does not exist" in page and "It has no column" in page
    assert page.count('class="sheet ') == 1


def test_a_ninth_column_is_left_out(owner_client: Client, project: Project) -> None:
    base = make_base()
    names = [make_checkpoint(project, base, epoch=epoch).name for epoch in range(1, 10)]
    page = owner_client.get("/playground/", {"models": ",".join(names)}).content.decode()
    assert page.count('class="sheet ') == 8
    assert 'aria-label="Column H"' in page and 'aria-label="Column I"' not in page


def test_search_finds_by_job_and_epoch_and_leaves_out_what_is_there(owner_client: Client, models: list[str]) -> None:
    found = owner_client.get("/playground/models/", {"q": "ticket epoch 2", "models": models[0]}, **HTMX)
    names = re.findall(r'choice__id mono tiny">([^<]+)<', found.content.decode())
    assert names == [models[2]]
    assert f"?models={models[0]},{models[2]}" in found.content.decode()


def test_a_search_without_result_says_what_to_search_by(owner_client: Client, models: list[str]) -> None:
    assert "Search by job" in owner_client.get("/playground/models/", {"q": "zzz"}).content.decode()


def test_a_stranger_finds_only_base_models(stranger_client: Client, models: list[str]) -> None:
    page = stranger_client.get("/playground/", {"models": ",".join(models)}).content.decode()
    assert page.count('class="sheet ') == 1
    assert stranger_client.get("/playground/models/").content.decode().count("data-choice") == 1


def test_somebody_signed_out_is_asked_to_sign_in(client: Client) -> None:
    for address in ("/playground/", "/playground/votes/", "/playground/blind/cmp_x/"):
        assert client.get(address).status_code == 302


# ---- an open comparison ----


def test_a_comparison_reopens_with_its_answers_and_figures(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models, system="Be brief."))
    answered(made)
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert "Why is the sky blue?" in page and "answer number 2" in page
    assert "7 prompt tokens · first token 0.25 s · 12 tok/s · 31 tokens · finished" in page
    assert "Be brief." in page and "Which is better?" in page


def test_an_answer_with_markup_is_escaped_in_the_page(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models[:1]))
    turn = comparisons.add_turn(comparison=made, prompt="<script>alert(1)</script>")
    comparisons.record_response(turn=turn, column=0, answer=Answer(text="<img src=x onerror=alert(2)>"))
    page = owner_client.get(f"/playground/{made.pk}/").content.decode()
    assert "<script>alert(1)" not in page and "<img src=x" not in page


def test_a_stranger_gets_404_for_every_address_of_a_comparison(stranger_client: Client, blind: Comparison) -> None:
    answered(blind)
    for address in (f"/playground/{blind.pk}/", f"/playground/blind/{blind.pk}/"):
        assert stranger_client.get(address).status_code == 404
    for address in (f"/playground/{blind.pk}/vote/", f"/playground/blind/{blind.pk}/next/"):
        assert stranger_client.post(address, {"verdict": "tie", "turn": 0}).status_code == 404
    assert not Vote.objects.exists()


def test_an_open_vote_can_be_changed(owner_client: Client, owner: User, project: Project, models: list[str]) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models))
    answered(made)
    for verdict in ("1", "tie"):
        assert owner_client.post(f"/playground/{made.pk}/vote/", {"verdict": verdict, "turn": 0}).status_code == 302
    vote = Vote.objects.get()
    assert (vote.verdict, vote.best, vote.blind) == ("tie", None, False)


@pytest.mark.parametrize("verdict", ["", "9", "-1", "x", "best", "1.5"])
def test_a_verdict_that_is_none_is_refused(
    owner_client: Client, owner: User, project: Project, models: list[str], verdict: str
) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models))
    answered(made)
    answer = owner_client.post(f"/playground/{made.pk}/vote/", {"verdict": verdict, "turn": 0}, **HTMX)
    assert answer.status_code == 422
    assert not Vote.objects.exists()


def test_a_vote_waits_for_every_answer(owner_client: Client, owner: User, project: Project, models: list[str]) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models))
    turn = comparisons.add_turn(comparison=made, prompt="x")
    comparisons.record_response(turn=turn, column=0, answer=Answer(text="only one"))
    comparisons.record_response(turn=turn, column=1, answer=Answer(error="gone"))
    answer = owner_client.post(f"/playground/{made.pk}/vote/", {"verdict": "0", "turn": 0})
    assert answer.status_code == 409 and "Not every column has answered" in answer.content.decode()


def test_a_vote_is_about_the_answers_that_came_when_a_column_failed(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models))
    turn = answered(made)
    comparisons.record_response(turn=turn, column=2, answer=Answer(error="its server is gone"))
    page = owner_client.get(f"/playground/{made.pk}/").text
    assert "C gave no answer: the vote is about the others." in page
    assert 'data-key="2"' in page and 'data-key="3"' not in page
    refused = owner_client.post(f"/playground/{made.pk}/vote/", {"verdict": "2", "turn": 0})
    assert refused.status_code == 400 and "Choose among those that did" in refused.text
    assert owner_client.post(f"/playground/{made.pk}/vote/", {"verdict": "0", "turn": 0}).status_code == 302
    (ballot,) = comparisons.ballots(project)
    assert ballot.seen == tuple(models[:2]) and ballot.best == models[0]


def test_one_answer_alone_cannot_be_voted_on_and_the_page_says_so(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models))
    turn = answered(made)
    for column in (1, 2):
        comparisons.record_response(turn=turn, column=column, answer=Answer(error="its server is gone"))
    page = owner_client.get(f"/playground/{made.pk}/").text
    assert "B and C gave no answer. A vote needs two: retry." in page and 'class="button vote"' not in page
    refused = owner_client.post(f"/playground/{made.pk}/vote/", {"verdict": "0", "turn": 0})
    assert refused.status_code == 409 and "A vote needs two answers" in refused.text


def test_an_answer_that_was_voted_on_stays(owner: User, project: Project, models: list[str]) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models))
    turn = answered(made)
    comparisons.record_vote(turn=turn, voter=owner, verdict="tie")
    with pytest.raises(Exception, match="voted on"):
        comparisons.record_response(turn=turn, column=0, answer=Answer(text="another"))


# ---- blind ----


def test_judge_blind_leads_to_an_address_that_names_nobody(owner_client: Client, models: list[str]) -> None:
    setup = setup_of(models).model_dump_json()
    answer = owner_client.post("/playground/blind/", {"setup": setup})
    assert answer.status_code == 302
    assert re.fullmatch(r"/playground/blind/cmp_\w+/", answer["Location"])


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ("not json", "valid JSON"),
        ('{"columns": []}', "at least 1"),
        ('{"columns": [{"model": "SmolLM2-135M-Instruct"}]}', "at least two columns"),
        ('{"columns": [{"model": "SmolLM2-135M-Instruct"}, {"model": "SmolLM2-135M-Instruct"}]}', "are the same"),
        ('{"columns": [{"model": "SmolLM2-135M-Instruct"}, {"model": "nobody"}]}', "does not exist"),
    ],
)
def test_a_blind_start_that_cannot_be_is_refused_with_the_reason(
    owner_client: Client, models: list[str], setup: str, said: str
) -> None:
    answer = owner_client.post("/playground/blind/", {"setup": setup})
    assert answer.status_code in (400, 404, 422)
    assert said in answer.content.decode()
    assert not Comparison.objects.exists()


def test_a_refused_blind_start_keeps_the_columns_and_what_was_set(owner_client: Client, models: list[str]) -> None:
    settings = {"n": 2, "temperature": 0}
    setup = {"columns": [{"model": name} for name in models], "system": "Be brief.", "settings": settings}
    page = owner_client.post("/playground/blind/", {"setup": json.dumps(setup)}).text
    assert all(f'title="{name}"' in page for name in models) and "at temperature 0" in page
    data = page_data(page)
    assert data["setup"]["models"] == models and data["setup"]["system"] == "Be brief."
    assert data["setup"]["settings"]["n"] == 2
    assert f'data-address="/playground/?models={",".join(models)}"' in page


def test_a_blind_start_refused_for_one_deleted_model_keeps_the_others(owner_client: Client, models: list[str]) -> None:
    setup = {"columns": [{"model": name} for name in (*models, "nobody")]}
    page = owner_client.post("/playground/blind/", {"setup": json.dumps(setup)}).text
    assert page_data(page)["setup"]["models"] == models
    assert "The model `nobody` does not exist" in page


def test_a_blind_start_refused_on_a_comparison_keeps_its_conversation(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models))
    answered(made)
    setup = {"columns": [{"model": name} for name in models], "settings": {"n": 9}}
    page = owner_client.post("/playground/blind/", {"setup": json.dumps(setup), "comparison": made.pk}).text
    assert "answer number 2" in page and page_data(page)["comparison"] == made.pk
    assert f'data-address="/playground/{made.pk}/"' in page


def test_a_next_prompt_that_cannot_be_keeps_the_models_that_are_left_and_names_none_before_the_vote(
    owner_client: Client, blind: Comparison, models: list[str]
) -> None:
    answered(blind)
    Checkpoint.objects.filter(project=blind.project, epoch=2).delete()
    answer = owner_client.post(f"/playground/blind/{blind.pk}/next/")
    assert answer.status_code == 404 and "does not exist any more" in answer.text
    (gone,) = {column["model"] for column in blind.columns} - {*contenders.find(blind.project, models)}
    assert gone not in answer.text and page_data(answer.text)["setup"]["models"] == []
    owner_client.post(f"/playground/{blind.pk}/vote/", {"verdict": "tie", "turn": 0})
    page = owner_client.post(f"/playground/blind/{blind.pk}/next/").text
    assert set(page_data(page)["setup"]["models"]) == set(models) - {gone}


def test_nothing_in_the_blind_page_tells_before_the_vote(
    owner_client: Client, blind: Comparison, models: list[str]
) -> None:
    for address in (f"/playground/blind/{blind.pk}/",):
        for headers in ({}, HTMX):
            empty = owner_client.get(address, **headers).content.decode()
            assert_tells_nothing(empty, models)
    answered(blind)
    for headers in ({}, HTMX):
        page = owner_client.get(f"/playground/blind/{blind.pk}/", **headers).content.decode()
        assert "answer number 1" in page and "Which is better?" in page
        assert_tells_nothing(page, models)


def assert_tells_nothing(page: str, models: list[str]) -> None:
    """No name, colour, epoch, figure, state or setting. Paths that a role is shut out of are on every page."""
    page = re.sub(r'<script id="closed".*?</script>', "", page, flags=re.DOTALL)
    for secret in (*models, "SmolLM2", "ticket", "ftckpt", "ftjob", "run-base", "run-4"):
        assert secret not in page, secret
    for telling in ("epoch", "tok/s", "prompt tokens", "finished", "chip--", "validation loss", "/device"):
        assert telling not in page.lower(), telling


def test_the_open_address_of_a_blind_comparison_leads_to_the_blind_one(owner_client: Client, blind: Comparison) -> None:
    assert owner_client.get(f"/playground/{blind.pk}/")["Location"] == f"/playground/blind/{blind.pk}/"


def test_half_of_the_answers_is_not_shown(owner_client: Client, blind: Comparison) -> None:
    turn = comparisons.add_turn(comparison=blind, prompt="x")
    comparisons.record_response(turn=turn, column=0, answer=Answer(text="too early"))
    assert "too early" not in owner_client.get(f"/playground/blind/{blind.pk}/").content.decode()


def test_a_failure_gives_no_reason_before_the_vote_and_can_be_retried(
    owner_client: Client, blind: Comparison, models: list[str]
) -> None:
    turn = answered(blind)
    comparisons.record_response(turn=turn, column=1, answer=Answer(error=f"{models[1]} ran out of memory"))
    page = owner_client.get(f"/playground/blind/{blind.pk}/").content.decode()
    assert "This column gave no answer." in page and "data-retry-all" in page
    assert_tells_nothing(page, models)


def test_the_vote_reveals_names_figures_and_the_record_of_the_pairs(
    owner_client: Client, blind: Comparison, models: list[str]
) -> None:
    answered(blind)
    answer = owner_client.post(f"/playground/{blind.pk}/vote/", {"verdict": "1", "turn": 0}, **HTMX)
    page = answer.content.decode()
    assert answer.status_code == 200 and "<html" not in page
    for model in models:
        assert model in page
    assert "You chose B." in page and "tok/s" in page and "Next prompt" in page
    assert "records__first" in page and "not enough votes" in page
    vote = Vote.objects.get()
    assert vote.blind and vote.best and vote.best.column == 1


def test_a_blind_vote_that_is_changed_counts_as_an_open_one(owner_client: Client, blind: Comparison) -> None:
    answered(blind)
    cast = f"/playground/{blind.pk}/vote/"
    owner_client.post(cast, {"verdict": "1", "turn": 0})
    page = owner_client.get(f"/playground/blind/{blind.pk}/?change=1").content.decode()
    assert "it counts as an open vote" in page and 'name="verdict"' in page
    owner_client.post(cast, {"verdict": "1", "turn": 0})
    assert Vote.objects.get().blind, "pressed twice is not changed"
    owner_client.post(cast, {"verdict": "0", "turn": 0})
    vote = Vote.objects.get()
    assert vote.best and vote.best.column == 0 and not vote.blind
    assert "an open vote" in owner_client.get(f"/playground/blind/{blind.pk}/").content.decode()
    owner_client.post(cast, {"verdict": "1", "turn": 0})
    assert not Vote.objects.get().blind, "back to the first choice is still open"


def test_a_blind_page_shows_what_all_columns_are_given_and_not_what_one_is_given(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    columns = [{"model": models[0], "settings": {"temperature": 0.37}}, {"model": models[1]}]
    setup = Setup.model_validate({"columns": columns, "system": "Answer as a ticket.", "settings": {"seed": 77}})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup, blind=True)
    page = owner_client.get(f"/playground/blind/{made.pk}/").content.decode()
    assert "Answer as a ticket." in page and "seed 77" in page
    assert "unless a column has its own" in page and "0.37" not in page


def test_a_teammate_sees_no_name_until_their_own_vote(
    teammate: User, owner: User, blind: Comparison, models: list[str]
) -> None:
    turn = answered(blind)
    comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=0)
    client = Client()
    client.force_login(teammate)
    assert_tells_nothing(client.get(f"/playground/blind/{blind.pk}/").content.decode(), models)
    client.post(f"/playground/{blind.pk}/vote/", {"verdict": "tie", "turn": 0})
    assert models[1] in client.get(f"/playground/blind/{blind.pk}/").content.decode()
    assert Vote.objects.count() == 2


def test_a_judged_blind_comparison_takes_no_further_message(owner: User, blind: Comparison) -> None:
    comparisons.record_vote(turn=answered(blind), voter=owner, verdict="tie")
    with pytest.raises(Exception, match="has been judged"):
        comparisons.add_turn(comparison=blind, prompt="and now?")


def test_the_next_prompt_draws_the_order_anew(owner_client: Client, blind: Comparison) -> None:
    orders = {tuple(column["model"] for column in blind.columns)}
    for _ in range(40):
        answer = owner_client.post(f"/playground/blind/{blind.pk}/next/")
        made = Comparison.objects.get(pk=answer["Location"].split("/")[-2])
        assert made.blind and made.settings == blind.settings
        orders.add(tuple(column["model"] for column in made.columns))
    assert len(orders) == 6  # of three columns; missing one in 41 draws has odds of 1 to 290


# ---- votes ----


def test_the_votes_page_teaches_when_there_are_none(owner_client: Client) -> None:
    assert "No votes yet" in owner_client.get("/playground/votes/").content.decode()


def test_the_votes_page_says_the_finding_and_lists_what_was_judged(
    owner_client: Client, owner: User, project: Project, models: list[str]
) -> None:
    for number in range(6):
        made = comparisons.start_comparison(project=project, user=owner, setup=setup_of(models[:2]), blind=number > 0)
        turn = answered(made, f"prompt {number}")
        tuned = next(i for i, column in enumerate(made.columns) if column["model"] == models[1])
        comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=tuned)
    page = owner_client.get("/playground/votes/").content.decode()
    assert "ticket, epoch 1 is better than SmolLM2 135M Instruct: 6–0" in page
    assert "prompt 5" in page and "prompt 0" in page
    only_blind = owner_client.get("/playground/votes/", {"blind": "1"}).content.decode()
    assert "5–0" in only_blind and "prompt 5" in only_blind and "prompt 0" not in only_blind


def test_a_blind_vote_that_is_changed_after_the_names_were_shown_is_an_open_one_of_that_moment(
    owner_client: Client, owner: User, blind: Comparison
) -> None:
    turn = answered(blind, "what about blindness?")
    vote = comparisons.record_vote(turn=turn, voter=owner, verdict="tie")
    cast = timezone.now() - timedelta(hours=3)
    Vote.objects.filter(pk=vote.pk).update(created_at=cast)
    again = comparisons.record_vote(turn=turn, voter=owner, verdict="tie")
    assert again.blind and Vote.objects.get().created_at == cast, "the same once more is nothing new"
    comparisons.record_vote(turn=turn, voter=owner, verdict="best", best_column=0)
    assert Vote.objects.get().created_at > cast + timedelta(hours=2)
    only_blind = owner_client.get("/playground/votes/", {"blind": "1"}).content.decode()
    assert "what about blindness?" not in only_blind and "No blind votes yet" in only_blind
    assert "what about blindness?" in owner_client.get("/playground/votes/").content.decode()


def test_the_votes_page_hides_a_teammates_blind_comparison_until_ones_own_vote(
    teammate: User, owner: User, blind: Comparison
) -> None:
    comparisons.record_vote(turn=answered(blind), voter=owner, verdict="best", best_column=0)
    client = Client()
    client.force_login(teammate)
    page = client.get("/playground/votes/").content.decode()
    assert "3 models, hidden until you vote" in page and "judged by owner@example.com" in page


def test_a_model_with_its_own_system_prompt_is_another_contender(
    owner: User, project: Project, models: list[str]
) -> None:
    setup = Setup.model_validate({"columns": [{"model": models[1]}, {"model": models[1], "system": "Long."}]})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup)
    comparisons.record_vote(turn=answered(made), voter=owner, verdict="best", best_column=0)
    (ballot,) = comparisons.ballots(project)
    assert ballot.best == models[1] and "own prompt" in ballot.seen[1]


def test_each_column_goes_on_with_its_own_answers(owner: User, project: Project, models: list[str]) -> None:
    setup = Setup.model_validate(
        {"columns": [{"model": models[0]}, {"model": models[1], "system": ""}], "system": "Be brief."}
    )
    made = comparisons.start_comparison(project=project, user=owner, setup=setup)
    answered(made, "first")
    turn = comparisons.add_turn(comparison=made, prompt="second")
    assert comparisons.messages_for(turn, 0) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer number 0"},
        {"role": "user", "content": "second"},
    ]
    assert [message["role"] for message in comparisons.messages_for(turn, 1)] == ["user", "assistant", "user"]


def test_the_setup_of_the_page_is_plain_json_for_the_script(owner_client: Client, models: list[str]) -> None:
    page = owner_client.get("/playground/", {"models": ",".join(models)}).content.decode()
    assert page_data(page)["setup"]["models"] == models
