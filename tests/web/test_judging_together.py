"""Several people draw and judge at the same moment, each in a thread with a database connection of its own."""

import threading
from collections import Counter

import pytest
from django.db import connection

from accounts.models import Project, User
from playground.campaigns import judging, running
from playground.campaigns.judging import Said
from playground.campaigns.models import Assignment, Campaign, Evaluator
from tests.judging_cast import make_campaign
from tests.playground_cast import make_base, make_checkpoint

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]
VOTES = 8  # wanted for each pair


@pytest.fixture
def campaign(project: Project, owner: User) -> Campaign:
    base = make_base()
    names = [base.name, *(make_checkpoint(project, base, epoch=epoch).name for epoch in (1, 2))]
    made = make_campaign(project, owner, names, prompts=6, votes_per_pair=VOTES)
    running.refresh(made)
    return made


def judge_all(evaluator: Evaluator, together: threading.Barrier, seen: list[str]) -> None:
    try:
        together.wait(20)
        while (pair := judging.next_for(evaluator)[0]) is not None:
            seen.append(pair.pk)
            assert judging.judge(evaluator, pair.pk, Said("left"))
    finally:
        connection.close()


def test_who_draws_at_the_same_moment_gets_pairs_of_their_own_and_no_vote_too_many(campaign: Campaign) -> None:
    invitation = running.invite(campaign=campaign, user=campaign.created_by)[0]
    people = [running.join(invitation, name)[0] for name in ("Ana", "Ben", "Cem", "Dee")]
    together, seen = threading.Barrier(len(people)), {person.pk: list[str]() for person in people}
    threads = [threading.Thread(target=judge_all, args=(person, together, seen[person.pk])) for person in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    votes = list(Assignment.objects.votes(campaign))
    assert Counter((vote.first, vote.second) for vote in votes) == dict.fromkeys(
        {(vote.first, vote.second) for vote in votes}, VOTES
    )
    assert len(votes) == 3 * VOTES
    for person in people:
        drawn = list(person.assignments.filter(repeat_of=None).values_list("prompt", "first", "second"))
        assert len(drawn) == len(set(drawn))
        assert sorted(seen[person.pk]) == sorted(person.assignments.values_list("pk", flat=True))
    assert sum(map(len, seen.values())) == campaign.assignments.count()
