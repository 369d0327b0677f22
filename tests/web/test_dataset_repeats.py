"""The tab for repeats and leaks: what it shows, who may see it, and the version without them."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import Project, User
from playground.film.prompts import Pinned
from playground.matrix import sets
from tests import makers
from training import file_tasks, files
from training.models import DatasetFile, FileTask

pytestmark = pytest.mark.django_db

PARCEL = "My parcel with the blue lamp has not arrived although your page says that it was delivered on Monday."
HELP = "I am sorry about that. I have asked the carrier where the lamp is and will write to you before noon tomorrow."


def row(user: str, assistant: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}], **more}


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in rows)


OTHERS = [
    row("What is wool?", "The hair of a sheep."),
    row("When do you open?", "At nine, on Sundays at eleven."),
    row("Can I pay by card?", "Yes, with every card and by invoice."),
    row("Who repairs chairs?", "Our joiner in the yard behind the shop."),
    row("How long is the guarantee?", "Three years for furniture and two for lamps."),
    row("Do you deliver abroad?", "Only to islands near the coast."),
    row("Where is my invoice?", "In the mail of last Tuesday."),
    row("May I bring my dog?", "Of course, it gets some water too."),
    row("Which oil suits oak?", "Linseed, thinly and twice."),
    row("Are keys cut here?", "No, but the smith next door does that."),
]
NEAR = row(PARCEL.replace("blue", "red"), HELP)
TRAIN = [row(PARCEL, HELP), *OTHERS, row(PARCEL, HELP, id=4), NEAR]  # lines 1, 12 and 13 are alike
VALID = [row("Who are you?", "A model."), NEAR, row("What is wool?", "I do not know.")]


@pytest.fixture
def train(project: Project, owner: User) -> DatasetFile:
    return files.create_file(project, owner, "tickets-train.jsonl", "fine-tune", lines(*TRAIN))


@pytest.fixture
def valid(project: Project, owner: User) -> DatasetFile:
    return files.create_file(project, owner, "tickets-valid.jsonl", "fine-tune", lines(*VALID))


def tab(client: Client, file: DatasetFile, **asked: Any) -> str:
    return client.get(f"/datasets/{file.pk}/", {"tab": "repeats", **asked}).text


def test_the_tab_shows_what_repeats_with_both_rows_beside_each_other(owner_client: Client, train: DatasetFile) -> None:
    page = tab(owner_client, train)
    assert "Exact copies" in page and "Near-duplicates" in page
    near = tab(owner_client, train, kind="near", row=13)
    assert "of the words alike" in near
    assert '<mark class="differs">blue' in near and '<mark class="differs">red' in near


def test_a_file_that_repeats_nothing_says_so(owner_client: Client, project: Project, owner: User) -> None:
    file = files.create_file(project, owner, "plain.jsonl", "fine-tune", lines(*OTHERS))
    assert "No row repeats another" in tab(owner_client, file)


def test_files_that_a_job_used_together_are_compared_without_being_asked(
    owner_client: Client, project: Project, train: DatasetFile, valid: DatasetFile
) -> None:
    makers.make_job(project, training_file=train, validation_file=valid)
    page = tab(owner_client, train, of=valid.pk)
    assert "Also in tickets-valid.jsonl" in page
    task = train.tasks.get(kind="leaks")
    assert {kind: task.result[kind]["rows"] for kind in ("exact", "near", "prompt")} == {
        "exact": 1, "near": 2, "prompt": 1
    }  # fmt: skip
    assert valid.tasks.count() == 0 and "tickets-train.jsonl" in tab(owner_client, valid)  # from the other side too


def test_any_other_file_is_compared_on_a_wish(owner_client: Client, train: DatasetFile, valid: DatasetFile) -> None:
    assert valid.pk in tab(owner_client, train)  # offered
    answer = owner_client.post(f"/datasets/{train.pk}/repeats/look", {"of": valid.pk}, follow=True)
    assert "Also in tickets-valid.jsonl" in answer.text
    owner_client.post(f"/datasets/{train.pk}/repeats/look", {"of": train.pk})
    assert not train.tasks.filter(key=train.pk)  # a file is not compared with itself


@pytest.mark.servers
def test_a_removal_is_shown_first_and_makes_a_version_without_the_copies(
    owner_client: Client, train: DatasetFile
) -> None:
    page = tab(owner_client, train, remove=["exact", "near"], alike=85, kind="exact")
    assert "Remove 2 rows" in page and DatasetFile.objects.count() == 1
    task = train.tasks.get(kind="repeats")
    form = {"task": task.pk, "remove": ["exact", "near"], "alike": 85, "side": "rows"}
    answer = owner_client.post(f"/datasets/{train.pk}/repeats/remove", form)
    made = DatasetFile.objects.get(version=2)
    assert answer.url == f"/datasets/{made.pk}/"
    assert made.path.read_bytes() == lines(*TRAIN[:11])
    assert made.origin["kind"] == "deduplicated" and made.origin["removed"] == 2
    assert made.origin["words"] == (
        "2 rows that repeat another removed: exact and near (alike by 85 % or more). The first of each group stayed."
    )
    assert train.path.read_bytes() == lines(*TRAIN)
    assert "removed in" in tab(owner_client, train) and "No row repeats another" in tab(owner_client, made)


def test_a_limit_of_likeness_keeps_what_is_less_alike(owner_client: Client, train: DatasetFile) -> None:
    tab(owner_client, train)
    task = train.tasks.get(kind="repeats")
    form = {"task": task.pk, "remove": ["near"], "alike": 100, "side": "rows"}
    answer = owner_client.post(f"/datasets/{train.pk}/repeats/remove", form, follow=True)
    assert "There is nothing to remove" in answer.text and DatasetFile.objects.count() == 1
    assert "Select a valid choice" in tab(owner_client, train, remove="nonsense")


@pytest.mark.parametrize(("side", "left"), [("rows", TRAIN[1:11]), ("other", [VALID[0], VALID[2]])])
def test_leaks_go_from_the_file_that_one_chooses(
    owner_client: Client, train: DatasetFile, valid: DatasetFile, side: str, left: list[dict[str, Any]]
) -> None:
    owner_client.post(f"/datasets/{train.pk}/repeats/look", {"of": valid.pk})
    task = train.tasks.get(kind="leaks")
    form = {"task": task.pk, "remove": ["exact", "near"], "alike": 80, "side": side}
    owner_client.post(f"/datasets/{train.pk}/repeats/remove", form)
    made = DatasetFile.objects.get(version=2)
    assert made.path.read_bytes() == lines(*left)
    assert made.family == (train if side == "rows" else valid).family


def test_rows_that_ask_a_prompt_kept_for_judging_are_found(
    owner_client: Client, project: Project, owner: User, train: DatasetFile
) -> None:
    pinned = [Pinned({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PARCEL}]})]
    sets.make(project=project, user=owner, name="Held out", pinned=pinned, source={"kind": "typed"})
    page = tab(owner_client, train, of="prompts")
    assert "prompt 1 of Held out" in page
    assert train.tasks.get(kind="prompts").result["exact"]["rows"] == 2
    sets.make(project=project, user=owner, name="More", pinned=[Pinned({"prompt": "What is wool?"})], source={})
    tab(owner_client, train)  # another set makes what was found stale
    assert train.tasks.get(kind="prompts").result["exact"]["rows"] == 3


def test_everything_that_was_found_can_be_taken_away(owner_client: Client, train: DatasetFile) -> None:
    tab(owner_client, train)
    task = train.tasks.get(kind="repeats")
    answer = owner_client.get(f"/datasets/{train.pk}/repeats/{task.pk}.csv")
    told = b"".join(answer).decode().splitlines()
    assert told[0] == "kind,line,like line,similarity"
    assert told[1:3] == ["exact,12,1,1.0000", "near,13,1,0.9750"]


def test_a_stranger_sees_and_does_nothing(
    stranger_client: Client, owner_client: Client, train: DatasetFile, valid: DatasetFile
) -> None:
    tab(owner_client, train)
    task = train.tasks.get(kind="repeats")
    base = f"/datasets/{train.pk}/repeats/"
    for address in (f"/datasets/{train.pk}/?tab=repeats", base, f"{base}{task.pk}.csv"):
        assert stranger_client.get(address).status_code == 404
    for address in (f"{base}look", f"{base}remove"):
        assert stranger_client.post(address, {"task": task.pk, "remove": "exact"}).status_code == 404


def test_a_file_of_another_project_is_nothing_to_compare_with(
    owner_client: Client, train: DatasetFile, stranger: User
) -> None:
    elsewhere = Project.objects.get(name="Elsewhere")
    secret = files.create_file(elsewhere, stranger, "secret.jsonl", "fine-tune", lines(*TRAIN))
    assert "secret.jsonl" not in tab(owner_client, train)
    assert owner_client.post(f"/datasets/{train.pk}/repeats/look", {"of": secret.pk}).status_code == 404


def test_a_larger_file_waits_for_a_worker_and_tells_how_far_it_is(
    owner_client: Client, train: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_tasks, "DONE_AT_ONCE_BYTES", 10)
    page = tab(owner_client, train)
    assert "waiting for a worker" in page and 'hx-trigger="every 2s' in page
    task = train.tasks.get(kind="repeats")
    FileTask.objects.filter(pk=task.pk).update(status="running", share=0.4, claim="x", heartbeat_at=task.created_at)
    assert "comparing, 40" in owner_client.get(f"/datasets/{train.pk}/repeats/").text  # the tab alone, as it polls
    FileTask.objects.filter(pk=task.pk).update(claim="", heartbeat_at=None)  # that worker is gone
    assert [each.pk for each in file_tasks.waiting()] == [task.pk]
    file_tasks.run(task.pk)
    assert "Exact copies" in tab(owner_client, train)


def test_a_file_that_is_gone_is_said_and_tried_again_on_a_wish(
    owner_client: Client, train: DatasetFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_tasks, "DONE_AT_ONCE_BYTES", 10)
    tab(owner_client, train)
    content = train.path.read_bytes()
    train.path.unlink()
    task = train.tasks.get(kind="repeats")
    file_tasks.run(task.pk)
    train.path.write_bytes(content)
    assert "The file is gone from the disk" in tab(owner_client, train)
    monkeypatch.undo()
    answer = owner_client.post(f"/datasets/{train.pk}/repeats/look", {"of": ""}, follow=True)
    assert "Exact copies" in answer.text


def test_plain_text_has_nothing_to_compare(owner_client: Client, project: Project, owner: User) -> None:
    file = files.create_file(project, owner, "book.txt", "fine-tune", b"One.\n<|endoftext|>\nTwo.\n")
    assert "are not compared" in tab(owner_client, file)


def test_a_row_counts_once_and_a_group_shows_no_pair_under_the_chosen_level(
    owner_client: Client, project: Project
) -> None:
    words = [f"word{number}" for number in range(40)]
    steps = [" ".join([f"new{at}" for at in range(many)] + words[many:]) for many in (0, 5, 10)]
    rows = [row(step, HELP.partition(".")[0]) for step in steps]
    file = files.create_file(project, None, "chain.jsonl", "fine-tune", lines(*OTHERS, *rows, rows[0]))
    shown = " ".join(tab(owner_client, file, kind="near").split())
    task = FileTask.objects.get(file=file, kind="repeats")
    assert (task.figures["exact"]["rows"], task.figures["near"]["rows"]) == (1, 1)
    assert "1 group" in shown and "line 11</span>" in shown and "line 12</span>" in shown
    assert "None of them" not in shown
    at_90 = " ".join(tab(owner_client, file, kind="near", alike=90).split())
    assert "None of them is alike by 90 % or more" in at_90
