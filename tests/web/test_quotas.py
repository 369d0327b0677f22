"""What a project may use: jobs at once, jobs that wait, disk; and projects that take turns in the queue."""

import io
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.audit import AuditEntry
from accounts.errors import ApiError
from accounts.models import Project, User
from dashboard.management.commands.up import Command
from tests import makers
from training import actions, files, home, supervisor, uploads, versions
from training.job_log import refresh_queue
from training.models import DatasetFile, TrainingJob
from training.parts import joining
from training.quotas import limits, turns
from training.quotas.models import Quota

LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


@pytest.fixture
def other(db: None) -> Project:
    return Project.objects.create(name="Other")


def queued(project: Project, minute: int, **columns: Any) -> TrainingJob:
    """It came so many minutes after now."""
    job = makers.make_job(project, status="queued")
    for name, value in {"queued_at": timezone.now() + timedelta(minutes=minute), "started_at": None, **columns}.items():
        setattr(job, name, value)
    job.save()
    return job


def order() -> list[str]:
    return [place.job.pk for place in turns.queue()]


# ---- turns ----


def test_fifty_jobs_of_one_project_do_not_hold_up_the_one_of_another(project: Project, other: Project) -> None:
    many = [queued(project, minute) for minute in range(50)]
    late = queued(other, 90)
    assert order()[:3] == [many[0].pk, late.pk, many[1].pk] and len(order()) == 51


def test_projects_take_turns_and_each_has_its_oldest_first(project: Project, other: Project) -> None:
    a1, a2, b1, b2 = queued(project, 1), queued(project, 2), queued(other, 3), queued(other, 4)
    assert order() == [a1.pk, b1.pk, a2.pk, b2.pk]
    TrainingJob.objects.filter(pk=a1.pk).update(status="running", started_at=timezone.now())
    assert order()[0] == b1.pk, "a job of the first trains already"


def test_who_had_the_last_turn_waits_for_the_next(project: Project, other: Project) -> None:
    makers.make_job(project, status="succeeded")
    mine, theirs = queued(project, 1), queued(other, 2)
    assert order() == [theirs.pk, mine.pk]


def test_a_job_that_was_handed_back_keeps_its_place_in_front(project: Project, other: Project) -> None:
    queued(other, -60)
    begun = queued(project, -30, started_at=timezone.now())
    assert order()[0] == begun.pk


def test_jobs_beyond_the_limit_wait_and_say_so(project: Project, other: Project) -> None:
    Quota.objects.create(project=project, jobs=1)
    makers.make_job(project, status="running", claim="x", heartbeat_at=timezone.now())
    held, free = queued(project, 1), queued(other, 2)
    assert [job.pk for job in supervisor.waiting_jobs() if job.status == "queued"] == [free.pk]
    refresh_queue()
    held.refresh_from_db(), free.refresh_from_db()
    assert held.status_text == "Waits: the project may run 1 job at once"
    assert free.status_text == "Next in the queue"
    assert supervisor._claim(free) and not supervisor._claim(held), "also where two workers are at it at once"
    Quota.objects.update(jobs=0)
    assert held.pk in order() and not turns.queue()[0].blocked


# ---- what is refused ----


@pytest.mark.usefixtures("present")
def test_one_job_more_than_may_wait_is_refused_in_openais_shape(client: Client, api_key: str, project: Project) -> None:
    Quota.objects.create(project=project, waiting=1)
    model, file = queued(project, 1).base_model, makers.make_file(project)
    answer = client.post(
        "/v1/fine_tuning/jobs",
        json.dumps({"model": model.name, "training_file": file.pk}),
        content_type="application/json",
        headers={"Authorization": f"Bearer {api_key}"},
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (429, "quota_exceeded", "insufficient_quota")
    assert answer["x-should-retry"] == "false" and "1 jobs of the project wait already" in error["message"]
    assert TrainingJob.objects.of(project).count() == 1


def test_the_next_stage_of_a_recipe_is_not_refused_for_those_that_wait(project: Project) -> None:
    Quota.objects.create(project=project, waiting=1)
    asked = {"base_model": queued(project, 1).base_model, "training_file": makers.make_file(project)}
    with pytest.raises(ApiError, match="wait already"):
        actions.create_job(project=project, user=None, **asked)
    assert actions.create_job(project=project, user=None, by_itself=True, **asked).status == "validating_files"


def test_what_the_disk_of_a_project_does_not_hold_is_refused_before_a_byte_is_written(
    client: Client, owner_client: Client, api_key: str, project: Project, owner: User
) -> None:
    Quota.objects.create(project=project, disk_gb=1e-6)
    bearer = {"Authorization": f"Bearer {api_key}"}
    sent = {"file": SimpleUploadedFile("a.jsonl", LINE * 100), "purpose": "fine-tune"}
    answer = client.post("/v1/files", sent, headers=bearer)
    assert answer.status_code == 403 and answer["x-should-retry"] == "false"
    assert (
        answer.json()["error"]["code"] == "quota_exceeded"
        and "a.jsonl was not stored" in answer.json()["error"]["message"]
    )
    about = {"filename": "b.jsonl", "bytes": 10_000, "purpose": "fine-tune", "mime_type": "text/jsonl"}
    answer = client.post("/v1/uploads", json.dumps(about), content_type="application/json", headers=bearer)
    assert answer.status_code == 403
    with pytest.raises(ApiError, match=r"b\.jsonl was not stored"):
        uploads.begin_upload(project, owner, "b.jsonl", 10_000)
    page = owner_client.post(reverse("begin-upload"), {"filename": "b.jsonl", "bytes": 10_000})
    assert page.status_code == 403 and not DatasetFile.objects.exists()
    files.create_file(project, owner, "c.jsonl", "fine-tune", LINE * 5)
    files.create_file(project, owner, "step_metrics.csv", files.RESULTS, b"x" * 5_000)
    assert limits.usage(project).state == "full"
    with pytest.raises(ApiError, match="The job was not made"):
        limits.refuse_another_job(project)


def test_what_is_made_of_a_dataset_is_refused_where_the_disk_of_its_project_is_used_up(
    owner_client: Client, project: Project, owner: User
) -> None:
    file = files.create_file(project, owner, "a.jsonl", "fine-tune", LINE * 20)
    Quota.objects.create(project=project, disk_gb=1.5 * file.bytes / 1e9)
    with pytest.raises(ApiError, match=r"The next version of a\.jsonl was not made: the project holds"):
        versions.new_version(file, kind="sampled", words="", user=owner, write=lambda out: pytest.fail("written"))
    page = owner_client.post(reverse("split-dataset", args=[file.pk]), {"percent": "10"}, follow=True)
    assert page.status_code == 200 and "a.jsonl was not split: the project holds" in page.text
    assert DatasetFile.objects.get() == file


def test_the_parts_of_an_upload_do_not_count_beside_the_file_made_of_them(project: Project) -> None:
    files.create_file(project, None, "held.txt", "user_data", b"1234")
    Quota.objects.create(project=project, disk_gb=14.5e-9)
    first, second = (joining.begin(project, None, "b.txt", "user_data", 10, "text/plain") for _ in range(2))
    parts = [joining.add_part(upload, io.BytesIO(bytes(10)), 10).id for upload in (first, second)]
    with pytest.raises(ApiError, match=r"b\.txt was not stored"):
        joining.complete(first, parts[:1])
    joining.cancel(second)
    assert joining.complete(first, parts[:1]).bytes == 10
    assert limits.usage(project).state == "full" and limits.usage(project).total == 14


def test_runs_count_as_they_were_measured(project: Project) -> None:
    job = makers.make_job(project, attempt=1)
    assert limits.usage(project).unmeasured == 1
    (job.folder / "checkpoints").mkdir(parents=True)
    (job.folder / "checkpoints" / "weights").write_bytes(b"x" * 5_000)
    limits.measure_changing()
    used = limits.usage(project)
    assert (used.runs, used.unmeasured) == (5_000, 0)


def test_a_folder_that_goes_while_its_run_is_measured_counts_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, scandir = makers.make_job(project, attempt=1), os.scandir
    (job.folder / "checkpoints").mkdir(parents=True)
    (job.folder / "events.jsonl").write_bytes(b"x" * 7)

    def late(path: Any) -> Any:
        if Path(path).name == "checkpoints":  # somebody was faster
            Path(path).rename(home.home() / f"{job.pk}.deleted")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert limits.measure(job) == 7


def test_without_limits_nothing_is_counted_or_refused(project: Project, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        limits.refuse_bytes(project, 10**15, "Nothing")


def test_the_servers_defaults_hold_where_a_project_has_none_of_its_own(project: Project, settings: Any) -> None:
    settings.HONE_PROJECT_JOBS, settings.HONE_PROJECT_DISK_GB = 3, 2.5
    assert limits.of(project) == limits.Limits(3, 0, 2_500_000_000)
    Quota.objects.create(project=project, jobs=0)
    assert limits.of(project).jobs == 0


def test_a_project_whose_disk_is_used_up_holds_up_no_start(owner: User, project: Project) -> None:
    Quota.objects.create(project=project, disk_gb=1e-9)
    said = io.StringIO()
    Command(stdout=said)._prepare(no_serve=True)
    assert "was not stored: the project holds" in said.getvalue() and not DatasetFile.objects.exists()


# ---- the pages ----


def test_settings_show_the_bar_and_the_datasets_page_tells_when_it_is_near(
    owner_client: Client, project: Project
) -> None:
    file = makers.make_file(project)
    assert "no limit" in owner_client.get(reverse("settings")).content.decode()
    Quota.objects.create(project=project, disk_gb=file.bytes / 0.95 / 1e9)
    assert "nearly used up" in owner_client.get(reverse("settings")).content.decode()
    assert "nearly used up" in owner_client.get(reverse("datasets")).content.decode()
    assert "nearly used up" in owner_client.get(reverse("new-job")).content.decode()


def test_the_page_asks_as_much_of_the_database_for_many_projects_as_for_one(
    owner_client: Client, project: Project, django_assert_max_num_queries: Any
) -> None:
    with CaptureQueriesContext(connection) as one:
        owner_client.get(reverse("quotas"))
    for number in range(5):
        makers.make_file(Project.objects.create(name=f"Team {number}"))
    with django_assert_max_num_queries(len(one)):
        assert "Team 4" in owner_client.get(reverse("quotas")).text


def test_whoever_looks_after_the_server_sets_them_and_nobody_else(
    owner_client: Client, owner: User, project: Project, stranger_client: Client
) -> None:
    assert stranger_client.get(reverse("quotas")).status_code == 403
    given = {"project": project.pk, "jobs": "2", "waiting": "", "disk_gb": "1.5"}
    assert stranger_client.post(reverse("change-quota"), given).status_code == 403
    page = owner_client.get(reverse("quotas")).content.decode()
    assert "Support" in page and "Elsewhere" in page
    owner_client.post(reverse("change-quota"), given)
    quota = Quota.objects.get()
    assert (quota.jobs, quota.waiting, quota.disk_gb, quota.changed_by) == (2, None, 1.5, owner)
    row = AuditEntry.objects.newest().first()
    assert row and "Changed what Support may use (jobs at once: 2" in row.words
    wrong = owner_client.post(reverse("change-quota"), given | {"disk_gb": "-1"})
    assert wrong.status_code == 422 and Quota.objects.get().disk_gb == 1.5
