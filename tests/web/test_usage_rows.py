"""What was used becomes rows of an hour: nothing is counted twice, and nothing is lost while the database is away."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import ApiKey, Project, User
from playground.limits import reserving
from playground.limits.reserving import Grant
from playground.limits.tally import Tally
from tests import makers
from training import endings, supervisor
from training.engine.spec import End
from training.models import Metric, TrainingJob, Usage
from training.usage import book, jobs
from training.usage.book import Account

pytestmark = pytest.mark.django_db(transaction=True)
STARTED = {"train_tokens": 1000, "steps_per_epoch": 5, "world_size": 2}


@pytest.fixture
def job(project: Project, owner: User) -> TrainingJob:
    """Half through its ten steps, after 30 seconds on two devices."""
    job = makers.make_job(project, created_by=owner, status="running")
    resolved = {**(job.resolved_json or {}), "n_epochs": 2}
    TrainingJob.objects.filter(pk=job.pk).update(
        started_json=STARTED, resolved_json=resolved, step=5, total_steps=10, trainer_seconds=30
    )
    Metric.objects.create(job=job, step=5, revision=1, time=1, trained_tokens=400)
    job.refresh_from_db()
    return job


def told(job: TrainingJob) -> tuple[Any, ...]:
    row = Usage.objects.get(job=job)
    return row.trained_tokens, row.file_tokens, row.device_seconds


def test_a_job_is_written_when_it_pauses_and_again_with_what_came_since(job: TrainingJob, owner: User) -> None:
    endings.finish(job, End(time=1, status="paused"))
    assert told(job) == (400, 1000, 60)
    jobs.write(job.pk)
    assert told(job) == (400, 1000, 60), "nothing is counted twice"
    TrainingJob.objects.filter(pk=job.pk).update(status="running", step=10, trainer_seconds=50)
    Metric.objects.create(job=job, step=10, revision=2, time=2, trained_tokens=800)
    job.refresh_from_db()
    endings.finish(job, End(time=2, status="cancelled"))
    assert told(job) == (800, 2000, 100)
    row = Usage.objects.get(job=job)
    assert (row.kind, row.user, row.base) == ("training", owner, job.base_model.name)


def test_a_job_that_never_began_leaves_no_row(project: Project, owner: User) -> None:
    job = makers.make_job(project, created_by=owner, status="queued")
    endings.close(job, "cancelled", "Cancelled")
    assert not Usage.objects.exists()


def test_answers_of_one_hour_are_one_row(project: Project, owner: User) -> None:
    key = ApiKey.make(project=project, user=owner, name="a")[0]
    account = Account(project.pk, "chat", "tiny", "tiny", key.pk, owner.pk)
    for _ in range(3):
        book.note(account, requests=1, prompt_tokens=5)
    assert book.write() and book.write()
    book.note(account, requests=1, prompt_tokens=1)
    assert book.write()
    row = Usage.objects.get()
    assert (row.requests, row.prompt_tokens, row.api_key, row.user) == (4, 16, key, owner)


def test_what_cannot_be_written_is_written_later(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(project.pk, "chat", "tiny")
    book.note(account, requests=1)
    with monkeypatch.context() as away:
        away.setattr(Usage.objects, "create", _away)
        asked: list[float] = []
        away.setattr(book, "later", lambda *seconds: asked.extend(seconds))
        book._soon(0)
        assert asked == [book.AGAIN_SECONDS]
    book.note(account, requests=1)
    assert book.write() and Usage.objects.get().requests == 2


def _away(**fields: Any) -> None:
    raise OperationalError("database is locked")


ENDS = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()
from django.db import OperationalError
from training.usage import book

tries = []

def store(sums):
    tries.append(len(sums))
    if len(tries) < 3:
        raise OperationalError("database is locked")
    print("written", list(sums.values()))

book._store = store
book.note(book.Account("proj_a", "chat", "tiny"), requests=1)
"""


def test_a_process_that_ends_tries_once_more() -> None:
    done = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=True)
    assert done.stdout == "written [{'requests': 1}]\n", done.stderr


def test_an_answer_that_ends_with_the_process_is_recorded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = ThreadPoolExecutor(1)
    ended.shutdown()
    monkeypatch.setattr(reserving, "_afterwards", ended)
    Tally(Grant("window", 1, tokens=9), {"prompt": "four"}, Account(project.pk, "completion", "tiny")).close()
    assert book.write() and Usage.objects.get().requests == 1


def test_seconds_that_could_not_be_written_are_written_later(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt = supervisor.Attempt(job, slot=None)  # type: ignore[arg-type]
    attempt.counted_at = time.monotonic() - 100
    with monkeypatch.context() as away, pytest.raises(OperationalError):
        away.setattr(TrainingJob.objects, "filter", _away)
        attempt._count_seconds()
    attempt._count_seconds()
    job.refresh_from_db()
    assert job.trainer_seconds >= 130


def test_what_a_deleted_project_used_is_nobodys(project: Project) -> None:
    book.note(Account("proj_gone", "chat", "tiny"), requests=1)
    book.note(Account(project.pk, "chat", "tiny", "", 999, 999), requests=1)
    assert book.write()
    row = Usage.objects.get()
    assert (row.project, row.api_key, row.user) == (project, None, None)
