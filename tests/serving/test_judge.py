"""A model judges what people judged: both orders, strict reading, its bias and its agreement shown beside the votes."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project
from playground.campaigns.models import Campaign
from playground.external.models import ExternalModel
from playground.judge import judging, runs
from playground.judge.findings import JudgeFindings, findings
from playground.judge.models import JudgeRun, JudgeVerdict
from playground.matrix.models import KeptAnswer
from tests.campaign_cast import judge, make_campaign, make_evaluator
from tests.playground_cast import make_base, make_checkpoint
from tests.stand_in import KEY, StandIn, standing
from training.workers import new_claim

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with standing() as server:
        yield server


@pytest.fixture
def campaign(project: Project) -> Campaign:
    """Two people judge twelve prompts; the tuned model thanks, and they like it in five of six cases."""
    base = make_base()
    made = make_campaign(project, [base.name, make_checkpoint(project, base).name], prompts=12)
    KeptAnswer.objects.filter(contender=made.matrix.contenders[1]).update(text="Your order is sent, thank you.")
    for name in ("Ana", "Ben"):
        evaluator = make_evaluator(made, name)
        for prompt in range(12):
            judge(evaluator, prompt, (0, 1), 0 if prompt % 6 == 0 else 1, swapped=bool(prompt % 2))
    return made


def ask(campaign: Campaign, server: StandIn, model: str) -> JudgeRun:
    external = ExternalModel(project=campaign.project, name=model, base_url=server.base_url, model=model)
    external.keep_key(KEY)
    external.save()
    return runs.start(
        project=campaign.project,
        user=None,
        model=external.pk,
        rubric="The kinder answer.",
        matrix=campaign.matrix,
        campaign=campaign,
    )


def work(run: JudgeRun) -> JudgeRun:
    """What the worker does with its message."""
    judging.judge(run.pk)
    run.refresh_from_db()
    return run


def found_by(campaign: Campaign, server: StandIn, model: str) -> JudgeFindings:
    run = work(ask(campaign, server, model))
    assert run.state == "done" and not run.claim, run.trouble
    return findings(run)


def test_a_matrix_that_nobody_judged_has_a_judge_on_its_own_page(
    project: Project, server: StandIn, owner_client: Client, stranger_client: Client
) -> None:
    base = make_base()
    matrix = make_campaign(project, [base.name, make_checkpoint(project, base).name], prompts=6).matrix
    Campaign.objects.all().delete()
    KeptAnswer.objects.filter(contender=matrix.contenders[1]).update(text="Your order is sent, thank you.")
    external = ExternalModel(project=project, name="Careful", base_url=server.base_url, model="careful")
    external.keep_key(KEY)
    external.save()
    address, page = f"/playground/matrices/{matrix.pk}/judges/", f"/playground/matrices/{matrix.pk}/"
    assert "Ask a model to judge" in owner_client.get(page).text
    asked = {"model": external.pk, "rubric": "The kinder answer."}
    assert stranger_client.post(address, asked).status_code == 404
    assert owner_client.post(address, asked)["Location"] == page
    run = work(JudgeRun.objects.get())
    assert (run.state, run.campaign, run.matrix) == ("done", None, matrix), run.trouble
    said = owner_client.get(page).text
    assert "ticket, epoch 1 is better than SmolLM2 135M Instruct: 6" in said and "Models as judges" in said
    assert "Agreement with people" not in said and "let people judge the same answers" in said
    assert owner_client.post(f"/campaigns/judges/{run.pk}/go-on")["Location"] == page
    owner_client.post(address, {"model": base.name, "rubric": "x"})
    assert JudgeRun.objects.count() == 1, "it does not judge itself"


def test_a_judge_that_always_prefers_the_first_is_found_out(
    campaign: Campaign, server: StandIn, owner_client: Client
) -> None:
    found = found_by(campaign, server, "biased")
    assert (found.asked, found.said, found.unreadable) == (24, 24, 0)
    assert found.first and found.first.rate == 1 and found.first.decided
    assert found.same and found.same.rate == 0
    assert found.model[0].ties == 12, "two orders that contradict each other are a tie"
    assert found.flags[0] == (
        "It prefers whatever stands first: 100 % of the points went there, though each pair was shown in both orders"
    )
    assert found.agreed and found.agreed.rate == 0 and found.votes == 24
    page = owner_client.get(f"/campaigns/{campaign.pk}/judges/").text
    assert "It prefers whatever stands first" in page and "0 % of 24 votes" in page


def test_a_careful_judge_is_shown_beside_its_agreement_and_never_among_the_votes(
    campaign: Campaign, server: StandIn, owner_client: Client
) -> None:
    found = found_by(campaign, server, "careful")
    assert found.first and found.first.rate == 0.5 and found.same and found.same.rate == 1
    assert found.agreed and found.agreed.rate == pytest.approx(20 / 24)
    assert found.kappa == 0, "who always says the same agrees no more than chance would have it"
    assert found.among_people == 1
    (pair,) = found.model
    assert (pair.first, pair.wins, pair.losses) == (campaign.matrix.contenders[1], 12, 0)
    page = owner_client.get(f"/campaigns/{campaign.pk}/judges/").text
    assert "83 % of 24 votes" in page and "The kinder answer." in page
    results = owner_client.get(f"/campaigns/{campaign.pk}/results/").text
    assert "24 votes by 2 people" in results


def test_replies_that_cannot_be_read_are_counted_and_shown(
    campaign: Campaign, server: StandIn, owner_client: Client
) -> None:
    found = found_by(campaign, server, "parrot")
    assert found.unreadable == found.said == 24 and found.model == [] and found.agreed is None
    assert "24 of its 24 replies were neither the JSON nor the letter asked for" in found.flags
    page = owner_client.get(f"/campaigns/{campaign.pk}/judges/").text
    assert "None of its replies could be used" in page and "heard &lt;request&gt;" in page


def test_nothing_is_asked_twice_and_new_votes_are_judged_when_somebody_says_so(
    campaign: Campaign, server: StandIn
) -> None:
    run = work(ask(campaign, server, "careful"))
    asked = len(server.seen()["asked"])
    JudgeVerdict.objects.filter(pk__in=JudgeVerdict.objects.values("pk")[:5]).delete()
    judging.judge(run.pk)
    assert len(server.seen()["asked"]) == asked, "it is done"
    runs.go_on(run)
    work(run)
    assert len(server.seen()["asked"]) == asked + 5 and findings(run).said == 24


def test_a_cancelled_run_stops_and_a_lost_worker_is_told_again(
    campaign: Campaign, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    run = ask(campaign, server, "careful")
    monkeypatch.setattr(runs, "wake_for", lambda each: told.append(each.pk))
    long_ago = timezone.now() - timezone.timedelta(hours=1)
    JudgeRun.objects.update(woken_at=long_ago, claim=new_claim(), heartbeat_at=timezone.now())
    judging.tend()
    assert not told, "a living worker judges"
    JudgeRun.objects.update(heartbeat_at=long_ago)
    judging.tend()
    assert told == [run.pk]
    runs.cancel(run)
    judging.tend()
    assert told == [run.pk] and work(run).state == "cancelled" and not JudgeVerdict.objects.exists()


def test_a_server_that_refuses_is_told_in_words_and_can_be_asked_again(
    campaign: Campaign, server: StandIn, owner_client: Client
) -> None:
    run = work(ask(campaign, server, "broke"))
    assert run.state == "failed" and run.trouble
    assert run.trouble[:20] in owner_client.get(f"/campaigns/{campaign.pk}/judges/").text
    ExternalModel.objects.update(model="careful")
    assert owner_client.post(f"/campaigns/judges/{run.pk}/go-on").status_code == 302
    assert work(run).state == "done"


def test_the_page_starts_a_run_and_a_model_does_not_judge_itself(
    campaign: Campaign, server: StandIn, owner_client: Client, stranger_client: Client
) -> None:
    address = f"/campaigns/{campaign.pk}/judges/"
    other = make_base("another", "Another")
    page = owner_client.get(address).text
    assert "No model has judged here yet" in page and ">Another<" in page
    assert owner_client.post(address, {"model": other.name, "rubric": "Kinder."}).status_code == 302
    assert JudgeRun.objects.get().rubric == "Kinder."
    own = campaign.matrix.columns[0]["model"]
    assert owner_client.post(address, {"model": own, "rubric": "Kinder."}).status_code == 422
    with pytest.raises(ApiError, match="does not judge itself"):
        runs.start(project=campaign.project, user=None, model=own, rubric="x", matrix=campaign.matrix)
    assert stranger_client.get(address).status_code == 404
    run = JudgeRun.objects.get()
    assert stranger_client.post(f"/campaigns/judges/{run.pk}/cancel").status_code == 404
    assert owner_client.post(f"/campaigns/judges/{run.pk}/cancel").status_code == 302
    run.refresh_from_db()
    assert run.state == "cancelled"
