"""A team's own names for models: promote, answer to them, roll back, and what the history keeps."""

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.audit import AuditEntry
from accounts.errors import ApiError
from accounts.models import Project, User
from playground import comparisons, contenders
from playground.deployments import find_target
from playground.forms import Setup
from tests import makers
from tests.playground_cast import make_base, make_checkpoint
from training.aliases import pointing
from training.aliases.models import Alias
from training.models import Checkpoint

pytestmark = pytest.mark.django_db
PAGE = "/models/names/"


@pytest.fixture
def epochs(project: Project) -> list[Checkpoint]:
    base = make_base()
    return [make_checkpoint(project, base, epoch=epoch) for epoch in (1, 2)]


def test_a_name_answers_with_the_model_that_it_points_at_and_moves_with_it(
    project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    pointing.promote(project, owner, "support-bot", epochs[0])
    assert find_target(project, "support-bot") == epochs[0]
    pointing.promote(project, owner, "support-bot", epochs[1], "won the campaign")
    assert find_target(project, "support-bot") == epochs[1]
    assert contenders.named(project, ["support-bot"])[0].checkpoint == epochs[1], "a column keeps the checkpoint itself"


def test_an_alias_and_the_best_of_a_job_open_the_column_of_what_they_mean_now(
    owner_client: Client, project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    pointing.promote(project, owner, "own-bot", epochs[0])
    best = f"{epochs[0].job_id}:best"
    page = owner_client.get("/playground/", {"models": f"own-bot,{best},{epochs[0].name}"}).text
    names = re.findall(r'class="sheet__name clip" title="([^"]+)"', page)
    assert names == [epochs[0].name, epochs[1].name] and "no column" not in page
    setup = Setup.model_validate({"columns": [{"model": "own-bot"}, {"model": best}]})
    made = comparisons.start_comparison(project=project, user=owner, setup=setup, blind=True)
    assert {column["model"] for column in made.columns} == set(names)
    epochs[0].delete()
    page = owner_client.get("/playground/", {"models": "own-bot"}).text
    assert f"`own-bot` points at {names[0]}, which has been deleted" in page


def test_a_search_for_an_alias_finds_the_model_that_it_points_at(
    owner_client: Client, stranger_client: Client, project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    for name, target in (("own-bot", epochs[0]), ("own-bot", epochs[1]), ("old-bot", epochs[0].base_model)):
        pointing.promote(project, owner, name, target)

    def found(words: str) -> list[str]:
        page = owner_client.get("/playground/models/", {"q": words}).text
        return re.findall(r'choice__id mono tiny">([^<]+)<', page)

    assert found("OWN-BOT") == found("own bot") == [f"own-bot → {epochs[1].name}"]
    assert found("own-bot epoch 2") and not found("own-bot epoch 1")
    assert found("-bot") == [f"old-bot → {epochs[0].base_model.name}", f"own-bot → {epochs[1].name}"]
    assert "own-bot" not in stranger_client.get("/playground/models/").text


def test_a_roll_back_returns_to_the_model_before_and_stands_in_the_history(
    owner_client: Client, project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    for each in epochs:
        pointing.promote(project, owner, "support-bot", each)
    assert owner_client.post(f"{PAGE}support-bot/roll-back").status_code == 302
    alias = Alias.objects.get()
    assert alias.current.checkpoint == epochs[0] and alias.promotions.count() == 3
    page = owner_client.get(PAGE).text
    assert f"Rolled back from {epochs[1].name}" in page and "points here now" in page


def test_what_cannot_be_done_to_a_name_leaves_it_and_is_in_the_audit_log(
    owner_client: Client, project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    pointing.promote(project, owner, "support-bot", epochs[0])
    assert owner_client.post(f"{PAGE}support-bot/polish").status_code == 404
    assert find_target(project, "support-bot") == epochs[0]
    entry = AuditEntry.objects.get(action="act-on-alias")
    assert (entry.words, entry.outcome) == ("Tried to ask for something else of support-bot", "refused")


def test_the_page_begins_with_the_best_checkpoint_of_the_newest_job(
    owner_client: Client, stranger_client: Client, project: Project
) -> None:
    for label, losses in (("older", (0.1,)), ("newer", (0.7, 0.4, 0.6))):
        job = makers.make_job(project, status="succeeded", label=label)
        for epoch, loss in enumerate(losses, 1):
            makers.make_checkpoint(job, step=epoch, epoch=epoch, full_valid_loss=loss)
    best = job.best_checkpoint()
    assert best and best.epoch == 2
    assert f'value="{best.name}" autocomplete' in owner_client.get(PAGE).text
    assert "At first the best one of the newest job." in owner_client.get(PAGE).text
    without_jobs = stranger_client.get(PAGE).text
    assert best.name not in without_jobs and "At first" not in without_jobs
    assert "once a job has finished" in without_jobs


def test_the_page_promotes_with_a_reason_and_says_what_is_wrong(
    owner_client: Client, project: Project, epochs: list[Checkpoint]
) -> None:
    page = owner_client.get(PAGE, {"model": epochs[1].name}).text
    assert epochs[1].name in page and "No names yet" in page
    given = {"model": epochs[1].name, "name": "support-bot", "reason": "better form"}
    assert owner_client.post(f"{PAGE}promote", given).status_code == 302
    assert "better form" in owner_client.get(PAGE).text
    for changed, said in [
        ({"name": "two words"}, "A name has 1 to 64 letters"),
        ({"name": "smollm2-135m-instruct"}, "is the name of a base model"),
        ({"model": "ft:none"}, "does not exist"),
        ({}, "points at"),
    ]:
        answer = owner_client.post(f"{PAGE}promote", given | changed)
        assert answer.status_code == 422 and said in answer.text, changed
    assert Alias.objects.get().promotions.count() == 1


def test_a_name_whose_model_is_deleted_says_so_and_can_be_rolled_back(
    owner_client: Client, project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    for each in epochs:
        pointing.promote(project, owner, "support-bot", each)
    gone = epochs[1].name
    epochs[1].delete()
    with pytest.raises(ApiError, match="has been deleted"):
        find_target(project, "support-bot")
    assert f"It points at {gone}, which has been deleted" in owner_client.get(PAGE).text
    pointing.roll_back(Alias.objects.get(), owner)
    assert find_target(project, "support-bot") == epochs[0]
    with pytest.raises(ApiError, match="no earlier model"):
        pointing.roll_back(Alias.objects.get(), owner)


def test_the_api_lists_only_names_that_answer_and_says_why_another_does_not(
    api: Client, project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    def listed() -> list[str]:
        return [each["id"] for each in api.get("/v1/models").json()["data"] if each["id"].endswith("-bot")]

    for name, target in (("base-bot", epochs[0].base_model), ("lost-bot", epochs[0]), ("own-bot", epochs[1])):
        pointing.promote(project, owner, name, target)
    assert listed() == ["base-bot", "lost-bot", "own-bot"]
    assert api.get("/v1/models/lost-bot").json()["parent"] == epochs[0].name
    gone = epochs[0].name
    epochs[0].delete()
    assert listed() == ["base-bot", "own-bot"]
    answer = api.get("/v1/models/lost-bot")
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["message"].startswith(f"`lost-bot` points at {gone}, which has been deleted.")
    with CaptureQueriesContext(connection) as few:
        listed()
    for number in range(5):
        pointing.promote(project, owner, f"bot-{number}", epochs[1])
    with CaptureQueriesContext(connection) as many:
        listed()
    assert len(many) == len(few), "no query for each name"


def test_a_name_belongs_to_its_project(
    stranger_client: Client, project: Project, owner: User, epochs: list[Checkpoint]
) -> None:
    pointing.promote(project, owner, "support-bot", epochs[0])
    assert "support-bot</h2>" not in stranger_client.get(PAGE).text
    for action in ("roll-back", "delete"):
        assert stranger_client.post(f"{PAGE}support-bot/{action}").status_code == 404
    stranger = Project.objects.exclude(pk=project.pk).first() or Project.objects.create(name="Other")
    assert pointing.resolve(stranger, "support-bot") is None
    with pytest.raises(ApiError, match="does not exist"):
        find_target(stranger, "support-bot")


def test_a_deleted_name_leaves_its_model(owner_client: Client, project: Project, owner: User, epochs: list) -> None:
    pointing.promote(project, owner, "support-bot", epochs[0])
    owner_client.post(f"{PAGE}support-bot/delete")
    assert not Alias.objects.exists() and Checkpoint.objects.count() == 2
