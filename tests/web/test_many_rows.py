"""Lists stay quick however much they list: how often the database is asked, and by which index."""

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import Project
from dashboard.schemas import ModelList
from tests import makers
from training import metadata_pair
from training.metadata_pair import MetadataPair
from training.models import TrainingJob

pytestmark = pytest.mark.django_db
JOBS = "/v1/fine_tuning/jobs"


@pytest.fixture
def api(api: Client) -> Client:
    api.get(JOBS)  # notes that the key was used, once
    return api


def queries(api: Client, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert api.get(address).status_code == 200
    return len(asked)


def job_with(project: Project, metadata: dict[str, str] | None, **columns: Any) -> str:
    job = makers.make_job(project, metadata=metadata, **columns)
    metadata_pair.keep(job)
    return job.pk


def found(api: Client, *pairs: str, **query: Any) -> list[str]:
    wanted = query | {f"metadata[{pair.split('=')[0]}]": pair.split("=")[1] for pair in pairs}
    return [job["id"] for job in api.get(JOBS, wanted).json()["data"]]


def test_many_models_are_listed_in_as_many_questions_as_one(api: Client, project: Project) -> None:
    job = makers.make_job(project, status="succeeded")
    makers.make_checkpoint(job, step=1)
    few = queries(api, "/v1/models")
    for step in range(2, 31):
        makers.make_checkpoint(job, step=step)
    makers.make_checkpoint(job, step=31, final_name="ft:tiny:hone::12345678")
    assert queries(api, "/v1/models") == few
    told = api.get("/v1/models").json()
    assert ModelList.model_validate(told).model_dump() == told
    listed = [model["id"] for model in told["data"]]
    assert listed[:2] == ["tiny", "ft:tiny:hone::12345678"] and len(listed) == 32
    assert api.get(f"/v1/models/{listed[1]}").json() == told["data"][1]


def test_the_queue_is_put_in_order_once_for_a_list_of_jobs(api: Client, project: Project) -> None:
    makers.make_job(project, status="queued")
    few = queries(api, JOBS)
    for _ in range(9):
        makers.make_job(project, status="queued")
    assert queries(api, JOBS) == few
    told = {job["id"]: job["hone"]["queue_position"] for job in api.get(JOBS).json()["data"]}
    assert sorted(told.values()) == [*range(1, 11)]
    assert all(api.get(f"{JOBS}/{pk}").json()["hone"]["queue_position"] == place for pk, place in told.items())


def test_jobs_are_found_by_metadata_newest_first_and_page_by_page(api: Client, project: Project) -> None:
    mine = [job_with(project, {"team": "a", "try": str(number)}) for number in range(3)]
    job_with(project, {"team": "b", "try": "1"})
    job_with(project, {"team": "a"}, archived_at=TrainingJob.objects.get(pk=mine[0]).created_at)
    job_with(Project.objects.create(name="Other"), {"team": "a"})
    without = job_with(project, None)
    assert found(api, "team=a") == mine[::-1] and found(api, "team=a", "try=1") == [mine[1]]
    assert found(api, "team=a", limit=2) + found(api, "team=a", after=mine[1]) == mine[::-1]
    assert found(api, "try=a") == found(api, "team=") == found(api, "Team=a") == []
    assert found(api, metadata="null") == [without]


def test_an_index_finds_and_sorts_jobs_by_metadata(project: Project) -> None:
    rows = MetadataPair.objects.listed(project, {"team": "a"}).order_by("-created_at", "-pk")
    plan = rows.explain()
    assert "USING INDEX metadata_list (project_id=? AND digest=?)" in plan and "TEMP B-TREE" not in plan


def test_the_migration_indexes_the_metadata_that_is_there(api: Client, project: Project) -> None:
    old = makers.make_job(project, metadata={"team": "a", "empty": ""})
    makers.make_job(project)
    import_module("training.migrations.0034_metadata_pairs").index_what_is_there(apps, None)
    assert found(api, "team=a", "empty=") == [old.pk] and MetadataPair.objects.count() == 2


def test_a_late_page_of_jobs_and_a_search_show_the_right_jobs(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.views.jobs.ROWS_A_PAGE", 20)
    labels = ["Morning"] * 20 + ["Evening"] * 10
    jobs = [makers.make_job(project, label=label, status="failed") for label in labels][::-1]
    for number, job in enumerate(jobs):
        TrainingJob.objects.filter(pk=job.pk).update(created_at=job.created_at - timedelta(minutes=number))
    first, second = (owner_client.get("/jobs/", {"status": "failed", "page": page}) for page in (1, 2))
    listed = [row.job.pk for answer in (first, second) for row in answer.context["rows"]]
    assert listed == [job.pk for job in jobs] and b"of 30" in second.content
    found = owner_client.get("/jobs/", {"q": "evening"})
    assert [row.job.pk for row in found.context["rows"]] == [job.pk for job in jobs[:10]]


def test_a_base_model_shows_its_newest_jobs_and_leads_to_the_others(
    owner_client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.views.models.FAMILY", 2)
    jobs = [makers.make_job(project, label=f"Job {number}", status="succeeded") for number in range(3)]
    for job in jobs[:2]:
        makers.make_checkpoint(job)
    (row,) = owner_client.get("/models/").context["rows"]
    assert row.family == jobs[1::-1] and not row.has_more, "a job without a checkpoint is left out"
    makers.make_checkpoint(jobs[2])
    page = owner_client.get("/models/")
    assert page.context["rows"][0].family == jobs[:0:-1] and b"All jobs that trained tiny" in page.content
