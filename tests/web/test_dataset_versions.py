"""Versions of a dataset on the screens: the list, what a job's form offers, and the tab that tells where they come
from."""

import html
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from dashboard import form_start
from dashboard.forms import JobForm
from playground.campaigns.models import Campaign
from playground.matrix.models import Matrix, PromptSet
from tests import makers
from training import files
from training.models import DatasetFile

pytestmark = pytest.mark.django_db


@pytest.fixture
def two(project: Project) -> tuple[DatasetFile, DatasetFile]:
    first = makers.make_file(project, "orders.jsonl")
    second = makers.make_file(
        project,
        "orders.jsonl",
        rows=100,
        family=first.pk,
        version=2,
        parent=first,
        origin={"kind": "repair", "words": "Trailing spaces removed from 20 rows."},
    )
    DatasetFile.objects.update(last_version=2)
    return first, second


@pytest.mark.servers
def test_the_list_shows_the_newest_version_with_the_jobs_of_all(
    owner_client: Client, project: Project, two: tuple[DatasetFile, DatasetFile]
) -> None:
    first, second = two
    makers.make_job(project, training_file=first, label="On the first")
    makers.make_job(project, training_file=second, validation_file=first, label="On the second")
    page = owner_client.get(reverse("datasets")).text
    assert reverse("dataset", args=[second.pk]) in page and reverse("dataset", args=[first.pk]) not in page
    assert "version 2" in page and "3 jobs" in page and "through a part" not in page


def test_each_version_is_saved_under_a_name_of_its_own(
    owner_client: Client, project: Project, two: tuple[DatasetFile, DatasetFile]
) -> None:
    alone = makers.make_file(project, "alone.jsonl")
    saved = [owner_client.get(reverse("dataset-content", args=[each.pk])) for each in (*two, alone)]
    names = ["orders.v1.jsonl", "orders.v2.jsonl", "alone.jsonl"]
    assert [each["Content-Disposition"] for each in saved] == [f'attachment; filename="{name}"' for name in names]


def test_what_a_version_was_made_of_is_told_after_that_is_deleted(
    owner_client: Client, project: Project, two: tuple[DatasetFile, DatasetFile]
) -> None:
    first, second = two
    part = makers.make_file(project, "orders-valid.jsonl", parent=first)
    files.delete(first)
    for page in ("", "?tab=versions"):
        shown = owner_client.get(reverse("dataset", args=[second.pk]) + page).text
        assert "rom version 1, deleted since" in shown
    shown = owner_client.get(reverse("dataset", args=[part.pk]) + "?tab=versions").text
    assert "Split off from orders.jsonl." in shown and "From orders.jsonl, deleted since." in shown


def options(form: JobForm, name: str = "training_file") -> dict[str, str]:
    """Those that stand first, and under "Older versions" the others."""
    return {str(key): label for key, label in form.fields[name].choices}  # type: ignore[attr-defined]


def test_a_job_is_offered_the_newest_version_and_may_still_use_an_older_one(
    project: Project, two: tuple[DatasetFile, DatasetFile], present: None
) -> None:
    first, second = two
    makers.make_base_model()
    offered = options(JobForm(project=project))
    assert second.pk in offered and first.pk not in offered
    assert offered[second.pk].startswith("orders.jsonl · version 2 · 100 rows")
    sent = {"model": "base:tiny", "training_file": first.pk, "validation": "none", "adaptation": "lora"}
    form = JobForm(sent, project=project)
    assert form.is_valid(), form.errors
    assert form.cleaned_data["training_file"] == first
    assert offered["Older versions"] == [(first.pk, "orders.jsonl · version 1 · 120 rows")]
    rerun = str(JobForm(project=project, initial={"training_file": first.pk})["training_file"])
    assert f'<option value="{first.pk}" selected>' in rerun


def newest_first(page: str, first: DatasetFile, second: DatasetFile) -> bool:
    return page.index(second.pk) < page.index('<optgroup label="Older versions') < page.index(first.pk)


@pytest.mark.parametrize("address", ["new-prompt-set", "new-campaign", "new-job", "new-recipe"])
def test_every_choice_shows_the_newest_version_and_the_older_ones_below(
    owner_client: Client, two: tuple[DatasetFile, DatasetFile], address: str, present: None
) -> None:
    makers.make_base_model()
    page = owner_client.get(reverse(address)).text
    assert newest_first(page, *two)
    assert "orders.jsonl · version 1 · 120 rows" in page and "orders.jsonl · version 2 · 100 rows" in page


def test_search_finds_the_newest_version_and_an_older_one_by_its_id(
    owner_client: Client, two: tuple[DatasetFile, DatasetFile]
) -> None:
    first, second = (reverse("dataset", args=[each.pk]) for each in two)
    found = owner_client.get(reverse("search"), {"q": "orders"}).text
    assert second in found and first not in found and "100 rows · version 2" in found
    assert first in owner_client.get(reverse("search"), {"q": two[0].pk}).text


def test_a_comparison_is_offered_with_newest_versions_first(
    owner_client: Client, project: Project, two: tuple[DatasetFile, DatasetFile]
) -> None:
    other = makers.make_file(project, "other.jsonl")
    page = owner_client.get(reverse("dataset", args=[other.pk]), {"tab": "repeats"}).text
    assert newest_first(page, *two)


def test_a_version_with_problems_hides_no_version_that_works(
    project: Project, two: tuple[DatasetFile, DatasetFile]
) -> None:
    first, second = two
    DatasetFile.objects.filter(pk=second.pk).update(status="error")
    assert first.pk in options(JobForm(project=project))


def test_a_version_has_the_validation_file_of_what_it_was_made_of(project: Project) -> None:
    whole = makers.make_file(project, "whole.jsonl")
    train, valid = (makers.make_file(project, f"whole-{part}.jsonl", parent=whole) for part in ("train", "valid"))
    better = makers.make_file(project, "whole-train.jsonl", family=train.pk, version=2, parent=train)
    newer = makers.make_file(project, "whole-valid.jsonl", family=valid.pk, version=2, parent=valid)
    assert form_start.validation_partner(train) == form_start.validation_partner(better) == newer


def test_a_repaired_file_waits_for_nobody(
    owner_client: Client, project: Project, two: tuple[DatasetFile, DatasetFile]
) -> None:
    DatasetFile.objects.filter(pk=two[0].pk).update(status="error")
    assert "file with problems" not in owner_client.get(reverse("overview")).text


def tab(client: Client, file: DatasetFile) -> str:
    return client.get(f"{reverse('dataset', args=[file.pk])}?tab=versions").text


@pytest.mark.servers
def test_each_version_tells_what_was_done_and_what_came_of_it(
    owner_client: Client, project: Project, two: tuple[DatasetFile, DatasetFile]
) -> None:
    first, second = two
    assert "It is behind 1 later version (version 2). That stays." in tab(owner_client, second)
    job = makers.make_job(project, training_file=first, label="On the first", status="succeeded")
    checkpoint = makers.make_checkpoint(job, label="the good one")
    campaign = campaign_of(project, checkpoint.step_name)
    page = tab(owner_client, second)
    assert "Trailing spaces removed from 20 rows." in page and "Uploaded." in page
    assert "On the first" in page and "the good one" in page and campaign.name in page
    assert page.count("Nothing yet") == 1  # of the second
    assert "Version 1 of orders.jsonl" in page and "The other versions stay." in page
    question = html.unescape(page)
    assert "1 job (On the first); " in question and "1 campaign (Which one?)" in question
    used = owner_client.get(reverse("dataset", args=[first.pk]), {"tab": "used"}).text
    assert "Succeeded, as its training file" in used and "the good one" in used and campaign.name in used


def campaign_of(project: Project, model: str) -> Campaign:
    prompts = PromptSet.objects.create(project=project, name="Questions")
    matrix = Matrix.objects.create(project=project, name="Asked", prompt_set=prompts, columns=[{"model": model}])
    return Campaign.objects.create(project=project, name="Which one?", matrix=matrix)


def test_prompts_and_parts_of_a_version_are_named(owner_client: Client, project: Project) -> None:
    file = makers.make_file(project, "orders.jsonl")
    makers.make_file(project, "orders-valid.jsonl", parent=file)
    source = {"kind": "file", "file": file.pk, "filename": "orders.jsonl"}
    PromptSet.objects.create(project=project, name="Drawn questions", source=source)
    page = tab(owner_client, file)
    assert "orders-valid.jsonl" in page and "Drawn questions" in page
    assert "1 prompt set (Drawn questions); 1 file made of it (orders-valid.jsonl)" in html.unescape(page)


def test_an_older_version_says_that_there_is_a_newer_one(
    owner_client: Client, two: tuple[DatasetFile, DatasetFile]
) -> None:
    first, second = two
    older = tab(owner_client, first)
    assert f'{reverse("dataset", args=[second.pk])}?tab=versions#tabs">go on with version 2</a>' in older
    assert "lacks what was done since" in older and "<li>Version 2: " in older
    assert "lacks what was done since" not in tab(owner_client, second)


def test_a_deleted_version_leaves_the_others(owner_client: Client, two: tuple[DatasetFile, DatasetFile]) -> None:
    first, second = two
    answer = owner_client.post(reverse("delete-dataset", args=[first.pk]), follow=True)
    assert answer.redirect_chain[-1][0] == f"{reverse('dataset', args=[second.pk])}?tab=versions"
    assert "Version 1 of orders.jsonl is deleted; the others stay." in answer.text
    assert second.path.exists() and list(DatasetFile.objects.all()) == [second]


def test_versions_are_no_parts_of_each_other(owner_client: Client, two: tuple[DatasetFile, DatasetFile]) -> None:
    assert "rows split off" not in owner_client.get(f"{reverse('dataset', args=[two[0].pk])}?tab=used").text


def test_each_version_is_a_file_of_its_own_for_the_api(
    client: Client, api_key: str, two: tuple[DatasetFile, DatasetFile]
) -> None:
    listed = client.get("/v1/files", headers={"Authorization": f"Bearer {api_key}"}).json()["data"]
    assert {each["id"] for each in listed} == {file.pk for file in two}


def test_a_version_can_be_told_to_go_by_itself(
    owner_client: Client, stranger_client: Client, two: tuple[DatasetFile, DatasetFile]
) -> None:
    first, second = two
    address = reverse("expire-dataset", args=[first.pk])
    assert stranger_client.post(address, {"days": "7"}).status_code == 404
    page = owner_client.post(address, {"days": "7"}, follow=True).text
    first.refresh_from_db()
    assert first.expires_at and 6.9 < (first.expires_at - timezone.now()).total_seconds() / 86_400 <= 7
    assert f"is removed on {timezone.localtime(first.expires_at):%-d %B %Y}" in page
    DatasetFile.objects.filter(pk=first.pk).update(expires_at=timezone.now() - timedelta(hours=1))
    assert files.remove_stale() == 1 and list(DatasetFile.objects.all()) == [second]
    other = reverse("expire-dataset", args=[second.pk])
    assert "is kept for good" in owner_client.post(other, {"days": ""}, follow=True).text
    assert "Choose one of the times." in owner_client.post(other, {"days": "-1"}, follow=True).text
