"""What the rows of a campaign say of a vote, and what the database refuses."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import Project
from playground.campaigns.models import Assignment, Campaign, Evaluator, Invitation
from playground.matrix.models import Matrix, PromptSet

pytestmark = pytest.mark.django_db
CAT, DOG = "cat", "dog"  # contender keys


@pytest.fixture
def campaign(project: Project) -> Campaign:
    prompts = PromptSet.objects.create(project=project, name="Questions")
    matrix = Matrix.objects.create(project=project, name="Questions", prompt_set=prompts)
    return Campaign.objects.create(project=project, name="House voice", matrix=matrix)


@pytest.fixture
def ana(campaign: Campaign) -> Evaluator:
    soon = timezone.now() + timedelta(days=1)
    invitation = Invitation.objects.create(campaign=campaign, hash="0" * 64, expires_at=soon)
    return Evaluator.objects.create(campaign=campaign, invitation=invitation, name="Ana")


def judged(evaluator: Evaluator, verdict: str, *, swapped: bool = False, **columns: object) -> Assignment:
    columns = {"prompt": "p1", "first": CAT, "second": DOG} | columns
    return Assignment.objects.create(
        campaign=evaluator.campaign,
        evaluator=evaluator,
        swapped=swapped,
        verdict=verdict,
        judged_at=timezone.now(),
        **columns,
    )


def test_a_verdict_about_sides_is_told_of_contenders(ana: Evaluator) -> None:
    plain = judged(ana, "left")
    assert (plain.left, plain.right, plain.choice, plain.point, plain.left_point) == (CAT, DOG, CAT, 1.0, 1.0)
    said = {"criteria": {"Tone": "right", "Facts": "tie"}, "satisfaction": {"left": 2, "right": 5}}
    swapped = judged(ana, "left", swapped=True, prompt="p2", **said)
    assert (swapped.left, swapped.choice, swapped.point, swapped.left_point) == (DOG, DOG, 0.0, 1.0)
    assert [swapped.choice_of(name) for name in ("Tone", "Facts", "Length")] == [CAT, "tie", ""]
    assert swapped.satisfaction_by_contender == {DOG: 2, CAT: 5}
    assert (judged(ana, "both_bad", prompt="p3").choice, judged(ana, "tie", prompt="p4").point) == ("both_bad", 0.5)


def test_a_repeat_is_no_vote(ana: Evaluator) -> None:
    vote = judged(ana, "left")
    repeat = judged(ana, "right", swapped=True, repeat_of=vote)
    assert list(Assignment.objects.votes(ana.campaign)) == [vote]
    assert [(each.repeat_of.choice, each.choice) for each in Assignment.objects.repeats(ana.campaign)] == [(CAT, CAT)]
    assert repeat.point == vote.point


def test_nobody_votes_twice_on_one_pair_nor_holds_two_open_pairs(ana: Evaluator) -> None:
    judged(ana, "left")
    with pytest.raises(IntegrityError), transaction.atomic():
        judged(ana, "right", swapped=True)
    open_pair = {"campaign": ana.campaign, "evaluator": ana, "first": CAT, "second": DOG, "swapped": False}
    Assignment.objects.create(prompt="p2", **open_pair)
    with pytest.raises(IntegrityError), transaction.atomic():
        Assignment.objects.create(prompt="p3", **open_pair)


def test_a_verdict_and_its_time_belong_together(ana: Evaluator) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        judged(ana, "")
