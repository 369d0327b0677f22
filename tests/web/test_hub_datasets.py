"""Datasets from a hub (a real server on localhost): listed, chosen, brought by the worker, continued after a break."""

import gzip
import html
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from tests.factories import chat_rows
from tests.fakes.hub import FakeHub, running
from training import checks, hub
from training.intake import making
from training.intake.models import Making
from training.models import DatasetFile

ID = "someone/sums"
ROWS = "".join(json.dumps(row) + "\n" for row in chat_rows(12)).encode()


@pytest.fixture
def fake(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    settings.HONE_OFFLINE = False
    settings.HONE_HUB_TOKEN = ""
    monkeypatch.setattr(hub.time, "sleep", lambda seconds: None)
    repository = {
        "train.jsonl": ROWS,
        "data/packed.jsonl.gz": gzip.compress(ROWS),
        "data/test.parquet": b"PAR1" + bytes(5000),
        "README.md": b"about it",
        "loader.py": b"print()",
        ".gitattributes": b"",
    }
    with running(FakeHub(models={f"datasets/{ID}": repository})) as server:
        settings.HONE_HUB = server.url
        yield server


def asked_for(client: Client, hub_id: str) -> tuple[int, str]:
    answer = client.get(reverse("dataset-from-hub"), {"id": hub_id})
    return answer.status_code, html.unescape(answer.content.decode())


def brought(client: Client, path: str) -> Making:
    assert client.post(reverse("bring-dataset"), {"id": ID, "path": path}).url == reverse("datasets")
    row = Making.objects.get()
    making.make(row.pk)
    row.refresh_from_db()
    return row


def test_the_files_that_can_be_read_are_listed_and_no_others(owner_client: Client, fake: FakeHub) -> None:
    status, page = asked_for(owner_client, f"https://huggingface.co/datasets/{ID}")
    assert status == 200 and "licence apache-2.0" in page
    assert all(name in page for name in ("train.jsonl", "data/packed.jsonl.gz", "data/test.parquet"))
    assert "loader.py" not in page and "README.md" not in page


def test_a_chosen_file_becomes_a_dataset_that_remembers_where_it_came_from(
    owner_client: Client, project: Project, fake: FakeHub
) -> None:
    row = brought(owner_client, "train.jsonl")
    assert row.status == "done", row.message
    file = project.files.get()
    assert (file.filename, file.status, file.rows) == ("sums-train.jsonl", "processed", 12)
    assert file.path.read_bytes() == ROWS
    assert file.origin["kind"] == "hub" and file.origin["hub_id"] == ID and len(file.origin["revision"]) == 40


def test_a_packed_file_in_a_folder_is_unpacked(owner_client: Client, project: Project, fake: FakeHub) -> None:
    brought(owner_client, "data/packed.jsonl.gz")
    file = project.files.get()
    checks.check(file.id)
    file.refresh_from_db()
    assert (file.filename, file.status, file.path.read_bytes()) == ("sums-packed.jsonl", "processed", ROWS)


def test_a_broken_connection_is_continued_where_it_was(owner_client: Client, project: Project, fake: FakeHub) -> None:
    fake.cut_after, fake.cuts_left = 2000, 2
    row = brought(owner_client, "data/test.parquet")
    assert row.status == "done", row.message
    assert [each for _, each in fake.asked if each] == ["bytes=2000-", "bytes=2000-", "bytes=4000-", "bytes=4000-"]
    assert project.files.get().path.read_bytes() == b"PAR1" + bytes(5000)


def test_a_damaged_file_fails_in_words_and_can_be_tried_again(
    owner_client: Client, project: Project, fake: FakeHub
) -> None:
    fake.damage = True
    row = brought(owner_client, "data/test.parquet")
    assert row.status == "failed" and "damaged" in row.message
    page = html.unescape(owner_client.get("/datasets/").content.decode())
    assert "damaged" in page and "Try again" in page
    fake.damage = False
    owner_client.post(reverse("making-again", args=[row.pk]))
    making.make(row.pk)
    assert project.files.get().bytes == 5004
    assert not Making.objects.exclude(status="done").exists()


def test_what_failed_can_be_dismissed(owner_client: Client, stranger_client: Client, fake: FakeHub) -> None:
    fake.damage = True
    row = brought(owner_client, "data/test.parquet")
    address = reverse("dismiss-making", args=[row.pk])
    assert stranger_client.post(address).status_code == 404
    owner_client.post(address)
    assert not Making.objects.exists()


@pytest.mark.parametrize(
    ("hub_id", "said"),
    [
        ("someone/nothing", "has no dataset someone/nothing"),
        ("no-slash", "is not a hub id"),
        ("../../etc", "is not a hub id"),
    ],
)
def test_what_is_not_there_is_said(owner_client: Client, fake: FakeHub, hub_id: str, said: str) -> None:
    status, page = asked_for(owner_client, hub_id)
    assert status == 200 and said in page


def test_a_repository_without_readable_files_says_what_could_be_read(owner_client: Client, fake: FakeHub) -> None:
    fake.models["datasets/someone/else"] = {"loader.py": b"", "../evil.jsonl": b"x"}
    assert "holds no file that Hone reads" in asked_for(owner_client, "someone/else")[1]


def test_without_a_network_the_page_says_so(owner_client: Client, settings) -> None:
    settings.HONE_OFFLINE = True
    assert "HONE_OFFLINE is set" in asked_for(owner_client, ID)[1]
    settings.HONE_OFFLINE, settings.HONE_HUB = False, "http://127.0.0.1:9"
    said = asked_for(owner_client, ID)[1]
    assert "No answer from" in said and "download the file elsewhere and upload it from your disk" in said


def test_nobody_sees_what_another_project_downloads(
    owner_client: Client, stranger_client: Client, fake: FakeHub, project: Project
) -> None:
    brought(owner_client, "train.jsonl")
    Making.objects.update(status="working", made=None)
    assert "sums-train.jsonl" not in stranger_client.get("/datasets/").content.decode()
    assert DatasetFile.objects.of(project).count() == 1
