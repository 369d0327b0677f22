"""Several datasets become one, one gives a sample: the same seed takes the same rows, and all of it is told."""

import html
import json

import pytest
from django.test import Client
from django.urls import reverse

from accounts.errors import ApiError
from accounts.models import Project
from tests.factories import chat_rows, preference_row
from training import files
from training.intake import combine
from training.intake.combine import Source
from training.models import DatasetFile


def added(project: Project, rows: list[dict], name: str, before: bytes = b"", end: str = "\n") -> DatasetFile:
    content = before + "".join(json.dumps(row) + end for row in rows).encode()
    return files.create_file(project, None, name, "fine-tune", content)


@pytest.fixture
def first(project: Project) -> DatasetFile:
    return added(project, chat_rows(40), "first.jsonl", before=b"\xef\xbb\xbf", end="\r\n\r\n")


@pytest.fixture
def second(project: Project) -> DatasetFile:
    return added(project, chat_rows(30, start=100), "second.jsonl")


def rows_of(file: DatasetFile) -> list[dict]:
    return [json.loads(line) for line in file.path.read_bytes().splitlines()]


def made(project: Project, *sources: Source, shuffle: bool = False, seed: int = 0) -> DatasetFile:
    row = combine.ask(project, None, list(sources), shuffle=shuffle, seed=seed)
    assert row.status == "done", row.message
    return row.made


def test_two_datasets_one_after_another(project: Project, first: DatasetFile, second: DatasetFile) -> None:
    file = made(project, Source(first), Source(second))
    assert rows_of(file) == chat_rows(40) + chat_rows(30, start=100)
    assert (file.filename, file.rows, file.status, file.format) == ("first-and-second.jsonl", 70, "processed", "chat")
    assert file.origin["kind"] == "merged" and file.parent == first
    assert (
        file.origin["words"] == "Made of all 40 rows of first.jsonl and all 30 rows of second.jsonl, one after another."
    )
    assert [each["sha256"] for each in file.origin["sources"]] == [first.sha256, second.sha256]
    assert (file.version, file.family == first.family) == (1, False)


def test_shuffled_is_every_row_once_in_an_order_that_the_seed_decides(
    project: Project, first: DatasetFile, second: DatasetFile
) -> None:
    one, again, other = (
        rows_of(made(project, Source(first), Source(second), shuffle=True, seed=seed)) for seed in (7, 7, 8)
    )
    assert one == again != other
    in_order = chat_rows(40) + chat_rows(30, start=100)
    assert one != in_order and sorted(one, key=str) == sorted(in_order, key=str)


def test_a_sample_has_exactly_so_many_rows_in_their_order(project: Project, first: DatasetFile) -> None:
    one, again, other = (rows_of(made(project, Source(first, 13), seed=seed)) for seed in (1, 1, 2))
    assert len(one) == len(other) == 13 and one == again != other
    all_rows = chat_rows(40)
    places = [all_rows.index(row) for row in one]
    assert places == sorted(set(places))


def test_every_row_is_as_likely_as_any_other(project: Project, first: DatasetFile) -> None:
    """600 samples of 10 of 40: each row is expected 150 times, with a deviation of 10.6; six of them are allowed."""
    counts = dict.fromkeys(range(40), 0)
    with first.path.open("rb") as file:
        for seed in range(600):
            file.seek(0)
            for _, line in combine._taken(file, Source(first, 10), seed, 0):
                text = json.loads(line.decode("utf-8-sig"))["messages"][0]["content"]
                counts[int(text.removeprefix("Order ").removesuffix("?"))] += 1
    assert sum(counts.values()) == 6000
    assert all(abs(count - 150) < 64 for count in counts.values())


def test_what_does_not_go_together_is_refused_in_words(project: Project, first: DatasetFile) -> None:
    pairs = added(project, [preference_row("2 and 2?", "4", f"{n + 5}") for n in range(12)], "pairs.jsonl")
    text = added(project, [{"text": "x"}], "broken.jsonl")
    DatasetFile.objects.filter(pk=text.pk).update(status="error")
    text.refresh_from_db()
    for sources, said in (
        ([Source(first), Source(pairs)], "first.jsonl is chat; pairs.jsonl is preference"),
        ([Source(first, 41)], "41 rows cannot be taken from first.jsonl: it has 40"),
        ([Source(first, 0)], "0 rows cannot be taken"),
        ([Source(first)], "Say how many rows"),
        ([Source(text, 1)], "has problems"),
        ([], "Choose at least one"),
    ):
        with pytest.raises(ApiError) as caught:
            combine.ask(project, None, sources, shuffle=False, seed=0)
        assert said in caught.value.message


@pytest.mark.servers
def test_the_page_ticks_what_it_came_from_and_makes_a_merged_file(
    owner_client: Client, project: Project, first: DatasetFile, second: DatasetFile
) -> None:
    address = reverse("combine-datasets")
    assert f"{address}?file={first.id}" in owner_client.get(reverse("dataset", args=[first.id])).content.decode()
    page = owner_client.get(address, {"file": first.id}).content.decode()
    assert f'value="{first.id}" id="{first.id}" checked' in page and "second.jsonl" in page
    answer = owner_client.post(
        address, {"file": [first.id, second.id], f"take-{second.id}": "50 %", "order": "shuffled", "seed": "3"}
    )
    file = project.files.order_by("created_at").last()
    assert answer.url == reverse("dataset", args=[file.id])
    assert file.rows == 55 and file.origin["seed"] == 3
    second.delete()
    page = owner_client.get(answer.url).content.decode()
    assert f'from <a href="{reverse("dataset", args=[first.id])}">first.jsonl</a> and second.jsonl' in page


@pytest.mark.parametrize(
    ("take", "said"), [("many", "is no number of rows"), ("0 %", "is no number of rows"), ("1000", "it has 40")]
)
def test_a_wrong_number_of_rows_is_named_and_the_form_kept(
    owner_client: Client, project: Project, first: DatasetFile, take: str, said: str
) -> None:
    answer = owner_client.post(
        reverse("combine-datasets"), {"file": first.id, f"take-{first.id}": take, "name": "mine"}
    )
    page = html.unescape(answer.content.decode())
    assert answer.status_code == 400 and said in page
    assert f'value="{take}"' in page and 'value="mine"' in page
    assert project.files.count() == 1


def test_datasets_of_another_project_are_not_there(
    stranger_client: Client, first: DatasetFile, stranger: object
) -> None:
    assert "first.jsonl" not in stranger_client.get(reverse("combine-datasets")).content.decode()
    answer = stranger_client.post(reverse("combine-datasets"), {"file": first.id, f"take-{first.id}": "5"})
    assert answer.status_code == 400 and DatasetFile.objects.count() == 1
