"""Things with the same name: every list and every choice tells them apart."""

import re
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from django.test import Client

from accounts.models import Project, User
from accounts.telling_apart import tell_apart
from playground.matrix import sets
from playground.matrix.models import Matrix, PromptSet
from tests import makers
from tests.campaign_cast import judge, make_campaign, make_evaluator
from tests.playground_cast import make_base, make_checkpoint

pytestmark = pytest.mark.django_db
MORNING, NOON = datetime(2024, 11, 3, 9, 30, tzinfo=UTC), datetime(2024, 11, 3, 12, 0, tzinfo=UTC)


def thing(pk: str, name: str, made: datetime) -> SimpleNamespace:
    return SimpleNamespace(pk=pk, name=name, created_at=made)


def options(page: str) -> list[str]:
    return [" ".join(words.split()) for words in re.findall(r"<option[^>]*>(.*?)</option>", page, re.DOTALL)]


def test_only_equal_names_get_the_time_and_equal_times_the_short_id() -> None:
    rows = [thing("set_aaaaaa1", "Tone", MORNING), thing("set_bbbbbb2", "Tone", MORNING), thing("x", "Other", MORNING)]
    assert [row.apart for row in tell_apart(rows)] == [
        "made 3 Nov 2024, 09:30, …aaaaa1",
        "made 3 Nov 2024, 09:30, …bbbbb2",
        "",
    ]
    rows = [thing("1", "Tone", MORNING), thing("2", "Tone", NOON)]
    assert [row.apart for row in tell_apart(rows)] == ["made 3 Nov 2024, 09:30", "made 3 Nov 2024, 12:00"]


@pytest.fixture
def twins(project: Project, owner: User) -> list[PromptSet]:
    """Two prompt sets of one name, with a matrix each, also of one name; and two files of one name."""
    found = [
        sets.make(project=project, user=owner, name="Tone", pinned=sets.typed("One?\nTwo?"), source={"kind": "typed"})
        for _ in range(2)
    ]
    for made, prompt_set in zip((MORNING, NOON), found, strict=True):
        PromptSet.objects.filter(pk=prompt_set.pk).update(created_at=made)
        Matrix.objects.create(project=project, name="Weekly", prompt_set=prompt_set, created_at=made)
        makers.make_file(project, "rows.jsonl", rows=120, created_at=made)
    return found


def test_prompt_sets_and_files_of_one_name_differ_in_every_choice(
    owner_client: Client, project: Project, twins: list[PromptSet]
) -> None:
    for address in ("/playground/matrices/new/", "/campaigns/new/", "/playground/prompts/new/", "/jobs/new/"):
        shown = [each for each in options(owner_client.get(address).text) if "Tone" in each or "rows.jsonl" in each]
        assert len(shown) >= 2 and len(set(shown)) >= 2, address
        assert all("made 3 Nov 2024, " in each for each in shown), address
    assert "Tone · 2 prompts · made 3 Nov 2024, 09:30" in options(owner_client.get("/playground/matrices/new/").text)


def test_the_lists_tell_equal_names_apart(owner_client: Client, twins: list[PromptSet]) -> None:
    for address in ("/playground/prompts/", "/playground/matrices/", "/datasets/"):
        page = owner_client.get(address).text
        assert page.count("made 3 Nov 2024, 09:30") == page.count("made 3 Nov 2024, 12:00") == 1, address


def test_campaigns_and_evaluators_of_one_name_differ_where_votes_are_chosen(
    owner_client: Client, project: Project
) -> None:
    base = make_base()
    models = [base.name, make_checkpoint(project, base).name]
    for _ in range(2):
        campaign = make_campaign(project, models, prompts=2)
        for link in ("first", "second"):
            judge(make_evaluator(campaign, link), 0, (0, 1), 0)
        campaign.evaluators.update(name="Ana")
    shown = options(owner_client.get("/playground/votes/preferences/").text)
    for name in (campaign.name, "Ana ("):
        found = [each for each in shown if each.startswith(name)]
        assert len(found) == len(set(found)) == (4 if name == "Ana (" else 2)
    assert owner_client.get("/campaigns/").text.count("made ") >= 2
