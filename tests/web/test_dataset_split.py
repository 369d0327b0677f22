"""The tab that splits a dataset: counts before anything is made, strata, groups, and who may."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import Project, User
from training import file_tasks, files
from training.models import DatasetFile

pytestmark = pytest.mark.django_db

ROWS = [
    {
        "messages": [{"role": "user", "content": f"Question {at}?"}, {"role": "assistant", "content": f"Answer {at}."}],
        "topic": "billing" if at < 30 else "delivery",
        "metadata": {"thread": at // 4},
    }
    for at in range(40)
]


@pytest.fixture
def dataset(project: Project, owner: User) -> DatasetFile:
    content = b"".join(json.dumps(each).encode() + b"\n" for each in ROWS)
    return files.create_file(project, owner, "tickets.jsonl", "fine-tune", content)


def tab(client: Client, file: DatasetFile, **asked: Any) -> str:
    return client.get(f"/datasets/{file.pk}/", {"tab": "split", **asked}).text


def read(file: DatasetFile) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.path.read_text().splitlines()]


def test_the_fields_of_the_rows_are_offered(owner_client: Client, dataset: DatasetFile) -> None:
    page = tab(owner_client, dataset)
    assert 'value="field:topic"' in page and "the same thread" in page and "What each would hold" not in page


def test_the_counts_of_each_stratum_are_shown_before_anything_is_made(
    owner_client: Client, dataset: DatasetFile
) -> None:
    page = tab(owner_client, dataset, preview=1, percent=20, stratify="field:topic", seed=3)
    assert "spread evenly over topic, seed 3" in page
    told = dataset.tasks.get(key="preview").result
    assert told["strata"] == [
        {"name": "billing", "rows": 30, "valid": 6},
        {"name": "delivery", "rows": 10, "valid": 2},
    ]
    assert DatasetFile.objects.count() == 1


def test_a_stratified_split_has_the_same_share_of_each_topic(owner_client: Client, dataset: DatasetFile) -> None:
    form = {"percent": "20", "stratify": "field:topic", "seed": "3"}
    answer = owner_client.post(f"/datasets/{dataset.pk}/split", form, follow=True)
    assert "tickets-train.jsonl (32 rows) and tickets-valid.jsonl (8 rows) are made" in answer.text
    train, valid = (DatasetFile.objects.get(filename=f"tickets-{part}.jsonl") for part in ("train", "valid"))
    assert sorted(each["topic"] for each in read(valid)) == ["billing"] * 6 + ["delivery"] * 2
    assert sorted(map(json.dumps, read(train) + read(valid))) == sorted(map(json.dumps, ROWS))
    assert (
        valid.origin["words"] == ("8 of the 40 rows of tickets.jsonl, spread evenly over topic, seed 3.")
        and valid.parent == dataset
    )
    owner_client.post(f"/datasets/{dataset.pk}/split", form)
    assert DatasetFile.objects.count() == 3  # the same split again is the same files


def test_a_grouped_split_keeps_every_thread_on_one_side(owner_client: Client, dataset: DatasetFile) -> None:
    owner_client.post(f"/datasets/{dataset.pk}/split", {"count": "10", "group": "field:thread"})
    train, valid = (DatasetFile.objects.get(filename=f"tickets-{part}.jsonl") for part in ("train", "valid"))
    threads = [{each["metadata"]["thread"] for each in read(file)} for file in (train, valid)]
    assert not threads[0] & threads[1] and len(read(valid)) == 8  # ten cannot be made of fours
    page = tab(owner_client, dataset, preview=1, count=10, group="field:thread")
    assert "10 were asked for" in page and "the largest has 4 rows" in page


def test_what_cannot_be_split_is_said_where_it_was_asked(owner_client: Client, dataset: DatasetFile) -> None:
    assert "The groups are too large" in tab(owner_client, dataset, preview=1, count=2, group="field:thread")
    assert "cannot be split off" in tab(owner_client, dataset, preview=1, count=40)
    answer = owner_client.post(f"/datasets/{dataset.pk}/split", {"count": "2", "group": "field:thread"}, follow=True)
    assert "The groups are too large" in answer.text and DatasetFile.objects.count() == 1


@pytest.mark.servers
def test_a_larger_file_is_split_by_a_worker(
    owner_client: Client, dataset: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_tasks, "DONE_AT_ONCE_BYTES", 10)
    owner_client.post(f"/datasets/{dataset.pk}/split", {"count": "8", "group": "near"})
    assert "being made by a worker" in tab(owner_client, dataset)
    file_tasks.run(dataset.tasks.get(key="make").pk)
    page = owner_client.get(f"/datasets/{dataset.pk}/split/tab").text
    assert "The last split made" in page and "tickets-valid.jsonl" in page


def test_a_stranger_splits_nothing(stranger_client: Client, dataset: DatasetFile) -> None:
    assert stranger_client.get(f"/datasets/{dataset.pk}/split/tab").status_code == 404
    assert stranger_client.post(f"/datasets/{dataset.pk}/split", {"count": "8"}).status_code == 404
