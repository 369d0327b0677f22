"""A campaign's votes as lessons: filters, provenance, and the form of the job that learns from them."""

import json

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Project, User
from playground import judged_pairs, preferences
from playground.campaigns.models import Campaign, Evaluator
from playground.matrix.models import KeptAnswer
from playground.preferences import Filters, gather
from tests import makers
from tests.campaign_cast import judge, make_campaign, make_evaluator
from tests.playground_cast import make_base, make_checkpoint
from training.models import Checkpoint, DatasetFile, TrainingJob

pytestmark = pytest.mark.django_db
PAGE = "/playground/votes/preferences/"


@pytest.fixture
def checkpoint(project: Project) -> Checkpoint:
    return make_checkpoint(project, make_base())


@pytest.fixture
def campaign(project: Project, checkpoint: Checkpoint) -> Campaign:
    made = make_campaign(project, [checkpoint.base_model.name, checkpoint.name])
    KeptAnswer.objects.filter(model=checkpoint.name).update(checkpoint=checkpoint)
    return made


def test_what_people_chose_over_what_becomes_rows_and_repeats_and_ties_do_not(
    project: Project, campaign: Campaign, checkpoint: Checkpoint
) -> None:
    ana, ben = make_evaluator(campaign, "Ana"), make_evaluator(campaign, "Ben")
    first = judge(ana, 0, (0, 1), 1)
    judge(ana, 0, (0, 1), 0, swapped=True, repeat_of=first)
    judge(ben, 0, (0, 1), 1, swapped=True)
    judge(ana, 1, (0, 1), "tie")
    judge(ana, 2, (0, 1), "both_bad")
    judge(ana, 3, (0, 1), 0)
    judge(ben, 3, (0, 1), 1)
    found = gather(project, Filters())
    assert found.votes == 6 and found.left_out == {preferences.TIED: 4}
    (row,) = [json.loads(line) for line in found.content().splitlines()]
    base = checkpoint.base_model.name
    assert row == {
        "input": {"messages": [{"role": "user", "content": "question 0"}]},
        "preferred_output": [{"role": "assistant", "content": f"{checkpoint.name} to question 0"}],
        "non_preferred_output": [{"role": "assistant", "content": f"{base} to question 0"}],
    }
    assert found.pairs[0].votes == 2 and preferences.start_for(project, found) == checkpoint


def test_filters_choose_a_campaign_an_evaluator_and_how_many_votes_a_pair_has(
    project: Project, campaign: Campaign
) -> None:
    other = make_campaign(project, [column["model"] for column in campaign.matrix.columns], prompts=3)
    ana, ben, cleo = (make_evaluator(where, name) for where, name in ((campaign, "A"), (campaign, "B"), (other, "C")))
    judge(ana, 4, (0, 1), 1)
    judge(ben, 4, (0, 1), 1)
    judge(ben, 5, (0, 1), 1)
    judge(cleo, 2, (0, 1), 0)

    def pairs(**chosen: object) -> list[str]:
        found = gather(project, Filters.model_validate(chosen)).pairs
        return [pair.turns[-1]["text"].removeprefix("question ") for pair in found]

    assert sorted(pairs()) == ["2", "4", "5"]
    assert pairs(campaign=campaign.pk) == ["4", "5"] and pairs(campaign=other.pk) == ["2"]
    assert pairs(evaluator=ana.pk) == ["4"] and pairs(least_votes=2) == ["4"]
    assert pairs(campaign=preferences.PLAYGROUND) == []
    assert sorted(pairs(without=(ben.pk,))) == ["2", "4"]


def test_an_answer_that_is_no_longer_kept_and_a_system_prompt_of_its_own_teach_nothing(
    project: Project, campaign: Campaign
) -> None:
    ana = make_evaluator(campaign, "Ana")
    for prompt in range(2):
        judge(ana, prompt, (0, 1), 1)
    key = campaign.matrix.prompt_set.prompts.get(position=0).key
    KeptAnswer.objects.filter(prompt=key, contender=campaign.matrix.contenders[0]).delete()
    columns = campaign.matrix.columns
    KeptAnswer.objects.filter(prompt=campaign.matrix.prompt_set.prompts.get(position=1).key).update(text="same")
    found = gather(project, Filters())
    assert not found.pairs and found.left_out == {judged_pairs.GONE: 1, judged_pairs.ALIKE: 1}
    assert columns == campaign.matrix.columns


def test_one_press_makes_the_file_with_its_provenance_and_opens_the_form(
    owner_client: Client, project: Project, campaign: Campaign, checkpoint: Checkpoint
) -> None:
    ana = make_evaluator(campaign, "Ana")
    for prompt in range(10):
        judge(ana, prompt, (0, 1), 1)
    page = owner_client.get(PAGE, {"campaign": campaign.pk}).text
    assert "10 preference pairs from 10 votes" in page and "Ana (House voice)" in page and "question 9" in page
    made = owner_client.post(PAGE, {"name": "voice", "campaign": campaign.pk, "agreement": "0.5"})
    file = DatasetFile.objects.get(filename__startswith="voice")
    assert made.status_code == 302 and f"file={file.pk}" in made.url and f"checkpoint={checkpoint.pk}" in made.url
    assert (
        file.origin["campaigns"] == {campaign.pk: "House voice"} and file.origin["filters"]["campaign"] == campaign.pk
    )
    assert f"/campaigns/{campaign.pk}/results/" in owner_client.get(f"/datasets/{file.pk}/").text
    assert owner_client.get(made.url).status_code == 200


def test_fewer_pairs_than_a_job_takes_make_no_file(owner_client: Client, project: Project, campaign: Campaign) -> None:
    ana = make_evaluator(campaign, "Ana")
    for prompt in range(8):
        judge(ana, prompt, (0, 1), 1)
    page = owner_client.get(PAGE, {"campaign": campaign.pk}).text
    assert "A job needs at least 10 rows, and these are 8." in page and 'disabled aria-describedby="few"' in page
    before = DatasetFile.objects.of(project).count()
    posted = owner_client.post(PAGE, {"name": "voice", "campaign": campaign.pk, "agreement": "0.5"})
    assert posted.status_code == 200 and DatasetFile.objects.of(project).count() == before


def test_who_still_judges_sees_no_pairs_and_strangers_see_no_campaign(
    owner: User, owner_client: Client, stranger_client: Client, campaign: Campaign
) -> None:
    judge(make_evaluator(campaign, "Ana"), 0, (0, 1), 1)
    assert "House voice" not in stranger_client.get(PAGE).text
    Evaluator.objects.create(campaign=campaign, user=owner, name="Owner")
    page = owner_client.get(PAGE).text
    assert "1 preference pair from 1 vote" in page and "question 0" not in page


def test_a_checkpoint_that_learned_from_the_votes_joins_the_same_campaign_and_is_drawn_first(
    owner_client: Client, stranger_client: Client, project: Project, campaign: Campaign, checkpoint: Checkpoint
) -> None:
    make_campaign(project, [checkpoint.name], prompts=2, name="Another")
    file = DatasetFile.objects.create(project=project, filename="voice.jsonl", origin={"campaigns": {campaign.pk: "x"}})
    job = TrainingJob.objects.create(
        project=project, base_model=checkpoint.base_model, suffix="voice", status="succeeded", training_file=file,
        finished_at=timezone.now(),
    )  # fmt: skip
    tuned = makers.make_checkpoint(job, step=7)
    page = owner_client.get(f"/jobs/{job.pk}/?tab=lineage").text
    assert "Learns from the votes of" in page and f"/campaigns/{campaign.pk}/results/" in page
    address = f"/campaigns/contenders/add/?model={tuned.name}"
    assert address.replace(":", "%3A") in page or address in page
    form = owner_client.get(address).text
    assert "It learned from the votes of House voice" in form
    assert form.index(f'value="{campaign.pk}"') < form.index(">Another<")
    assert stranger_client.get(address).text.count("<option") == 0
    answered = owner_client.post(address, {"campaign": campaign.pk}, follow=True)
    assert "its pairs are drawn first" in answered.text
    campaign.matrix.refresh_from_db()
    assert [column["model"] for column in campaign.matrix.columns][2:] == [tuned.name]
    assert campaign.matrix.state == "answering"
    assert owner_client.post(address, {"campaign": campaign.pk}).status_code == 422, "it is in there already"
