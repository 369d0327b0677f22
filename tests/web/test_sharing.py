"""Sharing a checkpoint with another project: the page, and what the other project's names then mean."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.audit import AuditEntry
from accounts.errors import ApiError
from accounts.models import Membership, Project, User
from dashboard.owned import erasing
from playground import comparisons, contenders, deployments, preferences
from playground.deployments import find_target
from tests.playground_cast import make_base, make_checkpoint
from training import actions
from training.aliases import pointing
from training.aliases.models import Alias
from training.models import Checkpoint, TrainingJob
from training.permissions import granting
from training.permissions.models import CheckpointPermission

pytestmark = pytest.mark.django_db


@pytest.fixture
def epochs(project: Project) -> list[Checkpoint]:
    base = make_base()
    return [make_checkpoint(project, base, epoch=epoch) for epoch in (1, 2)]


@pytest.fixture
def elsewhere(stranger: User) -> Project:
    return Project.objects.of(stranger).get()


def page_of(checkpoint: Checkpoint) -> str:
    return f"/jobs/{checkpoint.job_id}/checkpoints/{checkpoint.pk}/sharing"


def test_an_owner_adds_a_project_on_the_page_and_removes_it(
    owner_client: Client, epochs: list[Checkpoint], elsewhere: Project
) -> None:
    page = page_of(epochs[0])
    assert "No other project may ask it" in owner_client.get(page).text
    assert owner_client.post(f"{page}/add", {"project": elsewhere.pk}).status_code == 302
    assert find_target(elsewhere, epochs[0].name) == epochs[0]
    assert "Elsewhere" in owner_client.get(page).text
    assert "Shared with 1 project" in owner_client.get(f"/jobs/{epochs[0].job_id}/").text
    permission = CheckpointPermission.objects.get()
    owner_client.post(f"{page}/{permission.pk}/remove")
    with pytest.raises(ApiError, match="does not exist"):
        find_target(elsewhere, epochs[0].name)


def test_a_project_that_is_not_there_is_told_beside_the_field(owner_client: Client, epochs: list[Checkpoint]) -> None:
    answer = owner_client.post(f"{page_of(epochs[0])}/add", {"project": "proj_nobody"})
    assert answer.status_code == 422 and "No such project: proj_nobody" in answer.text


def test_a_teammate_sees_the_page_without_its_buttons_and_is_refused(
    client: Client, teammate: User, stranger_client: Client, epochs: list[Checkpoint], elsewhere: Project
) -> None:
    client.force_login(teammate)
    page = page_of(epochs[0])
    assert "An owner of the project can change this" in client.get(page).text
    assert client.post(f"{page}/add", {"project": elsewhere.pk}).status_code == 403
    assert stranger_client.get(page).status_code == 404 == stranger_client.post(f"{page}/add").status_code
    assert not CheckpointPermission.objects.exists()


def test_an_alias_of_a_shared_model_stops_when_it_is_shared_no_more(
    owner: User, epochs: list[Checkpoint], elsewhere: Project
) -> None:
    permission = granting.share(epochs[0], owner, [elsewhere.pk])[0]
    pointing.promote(elsewhere, None, "borrowed", find_target(elsewhere, epochs[0].name))
    assert find_target(elsewhere, "borrowed") == epochs[0]
    granting.take_back(epochs[0], owner, permission.pk)
    with pytest.raises(ApiError, match="may not ask any more"):
        find_target(elsewhere, "borrowed")


def test_the_page_of_names_tells_a_model_that_is_shared_no_more_from_a_deleted_one(
    stranger_client: Client, owner: User, epochs: list[Checkpoint], elsewhere: Project
) -> None:
    permissions = granting.share(epochs[0], owner, [elsewhere.pk]) + granting.share(epochs[1], owner, [elsewhere.pk])
    for epoch in epochs:
        pointing.promote(elsewhere, None, "borrowed", find_target(elsewhere, epoch.name))
    granting.take_back(epochs[1], owner, permissions[1].pk)
    page = stranger_client.get("/models/names/").text
    assert f"It points at {epochs[1].name}, which its project shares no more." in page and "deleted" not in page
    assert "points here now, does not answer" in page and "chip--ready" not in page
    assert f'title="Back to {epochs[0].name}"' in page
    granting.take_back(epochs[0], owner, permissions[0].pk)
    assert "Back to" not in stranger_client.get("/models/names/").text, "neither answers"
    with pytest.raises(ApiError, match="no earlier model"):
        pointing.roll_back(Alias.objects.get(), None)
    epochs[1].delete()
    assert f"It points at {epochs[1].name}, which has been deleted." in stranger_client.get("/models/names/").text


def test_the_best_of_a_job_means_to_the_other_project_the_best_that_it_may_ask(
    owner: User, epochs: list[Checkpoint], elsewhere: Project, project: Project
) -> None:
    granting.share(epochs[0], owner, [elsewhere.pk])
    best = f"{epochs[0].job_id}:best"
    assert find_target(project, best) == epochs[1] and find_target(elsewhere, best) == epochs[0]
    assert contenders.lasting(elsewhere, best) == epochs[0].name


def test_the_other_project_finds_it_in_its_playground_and_sees_nothing_of_its_job(
    stranger_client: Client, owner: User, epochs: list[Checkpoint], elsewhere: Project
) -> None:
    shared, kept = epochs
    TrainingJob.objects.filter(pk=shared.job_id).update(label="Secret plan", suffix="tickets")
    Checkpoint.objects.filter(pk=shared.pk).update(label="for the board")
    found = reverse("playground-models") + "?q="
    assert shared.name not in stranger_client.get(found).text
    permission = granting.share(shared, owner, [elsewhere.pk])[0]
    column = f"/playground/?models={shared.name}"
    listed, page = stranger_client.get(found).text, stranger_client.get(column).text
    assert shared.name in listed and "shared by another project" in listed and kept.name not in listed
    for text in (listed, page):
        assert "Secret plan" not in text and "for the board" not in text and shared.job_id not in text
        assert "validation loss" not in text.lower() and "epoch 1" not in text
        assert "tickets" in text and "step 10" in text, "as its name says"
    for words in ("Secret", "board", shared.job_id):
        assert shared.name not in stranger_client.get(found + words).text, "no word of the job finds it"
    granting.take_back(shared, owner, permission.pk)
    assert "tickets" not in stranger_client.get(column).text and shared.name not in stranger_client.get(found).text


def test_the_pages_of_both_projects_hear_that_it_is_loaded_and_nobody_elses(
    owner: User, epochs: list[Checkpoint], project: Project, elsewhere: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    Project.objects.create(name="A third one")
    granting.share(epochs[0], owner, [elsewhere.pk])
    heard: list[str] = []
    monkeypatch.setattr(deployments, "project_changed", heard.append)
    deployments.want(checkpoint=epochs[0])
    assert sorted(heard) == sorted([project.pk, elsewhere.pk])
    heard.clear()
    deployments.want(checkpoint=epochs[1])
    assert heard == [project.pk]


def test_the_other_project_compares_it_and_it_never_becomes_the_start_of_its_training(
    stranger: User, owner: User, epochs: list[Checkpoint], elsewhere: Project
) -> None:
    names = (epochs[0].name, epochs[0].base_model.name)
    setup = comparisons.Setup.model_validate({"columns": [{"model": name} for name in names]})
    with pytest.raises(ApiError, match="does not exist in this project"):
        comparisons.start_comparison(project=elsewhere, user=stranger, setup=setup)
    granting.share(epochs[0], owner, [elsewhere.pk])
    comparison = comparisons.start_comparison(project=elsewhere, user=stranger, setup=setup)
    turn = comparisons.add_turn(comparison=comparison, prompt="Where is it?")
    for column, text in enumerate(("In the post.", "No idea.")):
        comparisons.record_response(turn=turn, column=column, answer=comparisons.Answer(text=text, stop_reason="stop"))
    comparisons.record_vote(turn=turn, voter=stranger, verdict="best", best_column=0)
    gathered = preferences.gather(elsewhere, preferences.Filters())
    assert len(gathered.pairs) == 1 and preferences.start_for(elsewhere, gathered) is None


def test_a_column_whose_model_is_shared_no_more_says_so_and_offers_no_retry(
    stranger_client: Client, stranger: User, owner: User, epochs: list[Checkpoint], elsewhere: Project
) -> None:
    permission = granting.share(epochs[0], owner, [elsewhere.pk])[0]
    names = (epochs[0].base_model.name, epochs[0].name)
    setup = comparisons.Setup.model_validate({"columns": [{"model": name} for name in names]})
    comparison = comparisons.start_comparison(project=elsewhere, user=stranger, setup=setup)
    turn = comparisons.add_turn(comparison=comparison, prompt="Where is it?")
    comparisons.record_response(turn=turn, column=0, answer=comparisons.Answer(text="No idea."))
    comparisons.record_response(turn=turn, column=1, answer=comparisons.Answer(error="It broke off."))
    page = stranger_client.get(f"/playground/{comparison.pk}/").text
    assert "B gave no answer. A vote needs two: retry." in page and "Retry column B" in page
    granting.take_back(epochs[0], owner, permission.pk)
    page = stranger_client.get(f"/playground/{comparison.pk}/").text
    assert page.count(contenders.GONE) == 2, "on the chip and below it"
    told = "A vote needs two, and B cannot be asked any more: remove the column or put another model there."
    assert told in page and "Retry column A" in page and "Retry column B" not in page


def test_who_owns_both_projects_is_offered_the_other_one(
    owner_client: Client, owner: User, epochs: list[Checkpoint]
) -> None:
    mine = Project.objects.create(name="Second of mine")
    Membership.objects.create(user=owner, project=mine)
    assert f'<option value="{mine.pk}">Second of mine</option>' in owner_client.get(page_of(epochs[0])).text


# ---- what the audit log says of it ----


def rows_of(project: Project) -> list[tuple[str, str, str]]:
    return list(AuditEntry.objects.filter(project=project).newest().values_list("words", "outcome", "reason"))


def test_both_audit_logs_say_with_whom_a_model_is_shared(
    owner_client: Client, owner: User, epochs: list[Checkpoint], project: Project, elsewhere: Project
) -> None:
    name, there = epochs[0].name, f"project Elsewhere ({elsewhere.pk})"
    for _ in range(2):  # the second time nothing changes
        owner_client.post(f"{page_of(epochs[0])}/add", {"project": elsewhere.pk})
    assert rows_of(project) == [(f"Shared model {name} with {there}", "done", "")]
    owner_client.post(f"{page_of(epochs[0])}/{CheckpointPermission.objects.get().pk}/remove")
    assert rows_of(project)[0] == (f"Took model {name} back from {there}", "done", "")
    giver = f"Project {project.name} ({project.pk})"
    assert [words for words, _, _ in rows_of(elsewhere)] == [
        f"{giver} took model {name} back from this project",
        f"{giver} shared model {name} with this project",
    ]
    theirs = AuditEntry.objects.filter(project=elsewhere).newest()[0]
    assert (theirs.who, theirs.user, theirs.address, theirs.agent, theirs.object_id) == (
        owner.email,
        None,
        "",
        "",
        name,
    )
    assert reverse("job", args=[epochs[0].job_id]) in owner_client.get(reverse("audit")).text


def test_a_program_that_shares_with_several_leaves_a_row_for_each_and_refusals_read_as_those_of_the_page(
    api: Client, owner_client: Client, epochs: list[Checkpoint], project: Project, elsewhere: Project
) -> None:
    third, name = Project.objects.create(name="A third one"), epochs[0].name
    permissions, page = f"/v1/fine_tuning/checkpoints/{name}/permissions", page_of(epochs[0])

    def refused_alike(words: str, code: str) -> None:
        assert rows_of(project)[:2] == [(words, "refused", code)] * 2
        assert {row.object_id for row in AuditEntry.objects.newest()[:2]} == {epochs[0].pk}

    def ask(*ids: str) -> int:
        return api.post(permissions, {"project_ids": ids}, content_type="application/json").status_code

    assert ask("proj_nobody") == 400
    owner_client.post(f"{page}/add", {"project": "proj_nobody"})
    refused_alike(f"Tried to share model {name} with project proj_nobody", "project_not_found")
    assert api.delete(f"{permissions}/cp_none").status_code == 404
    owner_client.post(f"{page}/cp_none/remove")
    refused_alike(f"Tried to take model {name} back from another project (permission cp_none)", "permission_not_found")
    assert ask(elsewhere.pk, "proj_nobody") == 400 and not rows_of(elsewhere)
    assert rows_of(project)[0][0] == f"Tried to share model {name} with projects {elsewhere.pk}, proj_nobody"
    assert ask(elsewhere.pk, third.pk) == 200
    assert {words for words, _, _ in rows_of(project)[:2]} == {
        f"Shared model {name} with project {other.name} ({other.pk})" for other in (elsewhere, third)
    }
    assert len(rows_of(elsewhere)) == len(rows_of(third)) == 1


def test_the_other_projects_audit_log_says_which_model_was_deleted_in_whichever_way(
    owner: User, project: Project, elsewhere: Project
) -> None:
    base = make_base()
    shared = [make_checkpoint(project, base, suffix=suffix) for suffix in ("alone", "with-its-job", "with-all")]
    for checkpoint in shared:
        granting.share(checkpoint, owner, [elsewhere.pk])
    actions.delete_checkpoint(shared[0])
    actions.delete_job(shared[1].job)
    erasing.erase(project)
    giver = f"project {project.name} ({project.pk})"
    assert [words for words, _, _ in rows_of(elsewhere)[:3]] == [
        f"Deleted model {checkpoint.name} that {giver} shared with this project" for checkpoint in reversed(shared)
    ]
    assert AuditEntry.objects.newest()[0].who == "Hone" and not CheckpointPermission.objects.exists()
