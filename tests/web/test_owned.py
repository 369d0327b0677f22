"""A project belongs to its team: everything can be taken away, and everything can be deleted; nothing is left out."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts import first_start
from accounts.models import Membership, Project, User
from dashboard.owned import belonging, erasing, takeaway
from tests import makers
from tests.one_of_each import WORD, one_of_each
from training import home
from training.models import DatasetFile, TrainingJob


def fill(project: Project, user: User) -> tuple[DatasetFile, TrainingJob]:
    """A row of every table, a file with bytes and a run folder."""
    made = one_of_each(project, user)
    file, job = made[DatasetFile], made[TrainingJob]
    assert isinstance(file, DatasetFile) and isinstance(job, TrainingJob)
    home.file_folder(file.pk).mkdir(parents=True, exist_ok=True)
    file.path.write_text(f"{WORD} in a file\n")
    weights = job.folder / "checkpoints" / "epoch-1-step-10" / "adapter_model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights of " + WORD.encode())
    (job.folder / "events.jsonl").write_text("{}\n")
    return file, job


@pytest.fixture
def full(project: Project, owner: User) -> tuple[DatasetFile, TrainingJob]:
    return fill(project, owner)


def opened(project: Project) -> dict[str, bytes]:
    """The tar as {name: bytes}, as somebody finds it who has downloaded it."""
    whole = io.BytesIO(b"".join(takeaway.parcel(project).read()))
    with tarfile.open(fileobj=whole) as tar:
        return {member.name.split("/", 1)[1]: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_every_table_of_ours_belongs_to_a_project_or_says_why_not() -> None:
    ours = {model._meta.label for model in apps.get_models() if model._meta.app_label in belonging.OURS}
    assert ours == {model._meta.label for model in belonging.paths()} | set(belonging.SERVER_WIDE)


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_the_takeaway_holds_every_row_and_every_file(
    project: Project, owner: User, full: tuple[DatasetFile, TrainingJob]
) -> None:
    takeaway.prepare(project.pk)
    found = opened(project)
    for model in belonging.paths():
        rows = [json.loads(line) for line in found[f"rows/{belonging.label(model)}.jsonl"].splitlines()]
        there = {str(pk) for pk in belonging.rows(model, project).values_list("pk", flat=True)}
        assert {str(row["pk"]) for row in rows} == there and there, belonging.label(model)
    file, job = full
    assert found[f"files/{file.pk}/content-{file.filename}"] == file.path.read_bytes()
    assert found[f"runs/{job.pk}/checkpoints/epoch-1-step-10/adapter_model.safetensors"] == b"weights of zanzibar"
    assert owner.email in found["rows/people.jsonl"].decode() and project.name in found["README.md"].decode()


def test_the_takeaway_holds_no_secret(project: Project, full: tuple[DatasetFile, TrainingJob]) -> None:
    takeaway.prepare(project.pk)
    text = b"".join(content for name, content in opened(project).items() if name.startswith("rows/")).decode()
    assert not [name for name in takeaway.SECRETS if f'"{name}":' in text]


def test_the_takeaway_has_nothing_of_another_project(
    project: Project, stranger: User, full: tuple[DatasetFile, TrainingJob]
) -> None:
    other = Project.objects.get(memberships__user=stranger)
    theirs = makers.make_file(other, "theirs.jsonl")
    takeaway.prepare(project.pk)
    assert theirs.pk not in str(opened(project)) and stranger.email not in str(opened(project))


def test_a_file_gone_from_the_disk_is_named_in_the_takeaway(
    project: Project, full: tuple[DatasetFile, TrainingJob]
) -> None:
    shutil.rmtree(home.file_folder(full[0].pk))
    takeaway.prepare(project.pk)
    assert f"Not on the disk any more: files/{full[0].pk}" in opened(project)["README.md"].decode()


def test_a_run_gone_from_the_disk_is_named_and_a_job_that_never_began_is_not(
    project: Project, full: tuple[DatasetFile, TrainingJob]
) -> None:
    job = full[1]
    shutil.rmtree(job.folder)
    takeaway.prepare(project.pk)
    assert job.pk not in opened(project)["README.md"].decode()
    TrainingJob.objects.filter(pk=job.pk).update(attempt=1)
    assert f"Not on the disk any more: runs/{job.pk}" in opened(project)["README.md"].decode()


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_deleting_a_project_leaves_no_row_no_file_and_no_word_of_it() -> None:
    project, other = (Project.objects.create(name=name) for name in ("Doomed", "Kept"))
    owner = User.objects.create_user("owner@example.com", "a long password")
    file, job = fill(project, owner)
    kept_file, kept_job = fill(other, owner)
    log = home.server_log(makers.make_checkpoint(job).name)
    log.write_text("served full weights")
    takeaway.prepare(project.pk)
    before = {model: set(belonging.rows(model, other).values_list("pk", flat=True)) for model in belonging.paths()}
    erasing.erase(project)
    for model, theirs in before.items():
        assert not belonging.rows(model, project).exists(), belonging.label(model)
        assert set(belonging.rows(model, other).values_list("pk", flat=True)) == theirs, belonging.label(model)
    assert not Project.objects.filter(pk=project.pk).exists()
    left = [path for path in home.home().rglob("*") if any(pk in str(path) for pk in (project.pk, file.pk, job.pk))]
    assert left == [] and not log.exists() and kept_file.path.exists() and kept_job.folder.exists()


@pytest.mark.django_db(transaction=True)
def test_sqlites_file_holds_no_word_of_a_deleted_project() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("the bytes of Postgres are its own to clean")
    project = Project.objects.create(name="Doomed")
    makers.make_file(project, "xylophone-of-the-doomed.jsonl")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = Path(connection.settings_dict["NAME"])
    assert b"xylophone-of-the-doomed" in database.read_bytes()
    erasing.erase(project)
    places = [database, database.with_name(database.name + "-wal")]
    assert not any(b"xylophone-of-the-doomed" in place.read_bytes() for place in places if place.exists())


@pytest.mark.django_db(transaction=True)
def test_a_deletion_that_a_crash_broke_off_is_finished_at_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.objects.create(name="Doomed")
    file = makers.make_file(project)
    home.file_folder(file.pk).mkdir(parents=True, exist_ok=True)
    with monkeypatch.context() as broken:
        broken.setattr(erasing, "_free", lambda note: None)
        erasing.erase(project)
    assert home.file_folder(file.pk).exists()
    assert erasing.finish() >= 1 and not home.file_folder(file.pk).exists() and erasing.finish() == 0


@pytest.mark.django_db(transaction=True)
def test_the_key_for_use_on_this_machine_goes_with_its_project_alone(project: Project) -> None:
    path = first_start.ensure_local_key(project)
    erasing.erase(Project.objects.create(name="Another"))
    assert path.exists()
    erasing.erase(project)
    assert not path.exists()


def test_a_project_with_a_job_at_work_is_not_deleted(project: Project) -> None:
    job = makers.make_job(project, claim="somebody", label="Busy one")
    with pytest.raises(Exception, match="Busy one is still at work"):
        erasing.erase(project)
    assert TrainingJob.objects.filter(pk=job.pk).exists()


# ---- the page ----


def test_the_page_says_what_there_is_and_how_to_take_it(
    owner_client: Client, full: tuple[DatasetFile, TrainingJob]
) -> None:
    assert reverse("ownership") in owner_client.get(reverse("settings")).text
    assert "Prepare everything" in owner_client.get(reverse("ownership")).text


def test_an_owner_prepares_and_downloads(
    owner_client: Client, project: Project, full: tuple[DatasetFile, TrainingJob]
) -> None:
    owner_client.post(reverse("prepare-takeaway"))
    takeaway.prepare(project.pk)
    assert "Prepare it anew" in owner_client.get(reverse("ownership")).text
    answer = owner_client.get(reverse("download-takeaway"))
    assert answer.status_code == 200 and answer["Content-Type"] == "application/x-tar"
    owner_client.post(reverse("remove-takeaway"))
    assert takeaway.state(project).status == "none"


def test_deleting_wants_the_name(owner_client: Client, project: Project) -> None:
    owner_client.post(reverse("delete-project"), {"name": "Suport"})
    assert Project.objects.filter(pk=project.pk).exists()
    owner_client.post(reverse("delete-project"), {"name": project.name})
    assert not Project.objects.filter(pk=project.pk).exists()


@pytest.mark.parametrize("name", ["prepare-takeaway", "remove-takeaway", "delete-project"])
def test_a_member_who_is_no_owner_may_not(client: Client, project: Project, teammate: User, name: str) -> None:
    assert teammate.memberships.get().role == Membership.Role.MEMBER
    client.force_login(teammate)
    assert client.post(reverse(name), {"name": project.name}).status_code == 403
    assert client.get(reverse("download-takeaway")).status_code == 403
    assert Project.objects.filter(pk=project.pk).exists()
