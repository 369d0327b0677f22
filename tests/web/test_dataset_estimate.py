"""The card on a dataset's page that says what a job on it would take, and that the form says the same."""

import json
import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from tests.factories import tiny_model
from training import files, token_counts
from training.engine.facts import read_model_facts
from training.models import BaseModel, DatasetFile, FileTask


def rows_of(number: int) -> bytes:
    turns = [[{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": str(n)}] for n in range(number)]
    return "".join(json.dumps({"messages": messages}) + "\n" for messages in turns).encode()


@pytest.fixture
def dataset(project: Project) -> DatasetFile:
    return files.create_file(project, None, "rows.jsonl", "fine-tune", rows_of(40))


@pytest.fixture
def tiny(db: None, tmp_path: Path) -> BaseModel:
    folder = tiny_model(tmp_path / "tiny")
    facts = read_model_facts(folder, "tiny").model_dump(mode="json")
    return BaseModel.objects.create(name="tiny", folder=str(folder), status="ready", source="folder", facts_json=facts)


def card_of(client: Client, file: DatasetFile) -> str:
    return client.get(reverse("dataset-estimate", args=[file.pk])).text


def figure(page: str, label: str) -> str:
    found = re.search(rf'figure__label">{label}</span><span class="figure__value[^>]*>([^<]+)<', page)
    assert found, f"no figure {label}"
    return found[1]


def test_the_card_says_what_the_form_says(owner_client: Client, dataset: DatasetFile, tiny: BaseModel) -> None:
    data = {"training_file": dataset.pk, "validation": "split", "split_share": 20}
    asked = data | {"model": "base:tiny", "adaptation": "lora"}
    form = owner_client.post(reverse("estimate-job"), asked).text
    card = card_of(owner_client, dataset)
    for label in ("Steps", "Tokens trained on"):
        assert figure(card, label) == figure(form, label)
    assert "20 % of it kept aside" in card and f"?file={dataset.pk}&amp;model=tiny" in card


def test_too_few_rows_are_told_in_the_verdict_and_have_no_card(
    owner_client: Client, project: Project, tiny: BaseModel
) -> None:
    few = files.create_file(project, None, "few.jsonl", "fine-tune", rows_of(4))
    page = owner_client.get(reverse("dataset", args=[few.pk])).text
    assert "too few to train on" in page and 'id="estimate"' not in page


def test_rows_that_a_split_leaves_too_few_are_said(owner_client: Client, project: Project, tiny: BaseModel) -> None:
    ten = files.create_file(project, None, "ten.jsonl", "fine-tune", rows_of(10))
    assert "8 of ten.jsonl" in card_of(owner_client, ten)


def test_without_a_model_the_card_says_where_to_get_one(owner_client: Client, dataset: DatasetFile) -> None:
    assert "Get one under Models" in card_of(owner_client, dataset)


def test_nobody_else_sees_it(stranger_client: Client, dataset: DatasetFile) -> None:
    assert stranger_client.get(reverse("dataset-estimate", args=[dataset.pk])).status_code == 404


def test_while_tokens_are_counted_the_card_estimates_from_a_sample(
    owner_client: Client, project: Project, tiny: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counts, "COUNTED_AT_ONCE_BYTES", 0)
    file = files.create_file(project, None, "many.jsonl", "fine-tune", rows_of(400))
    card = card_of(owner_client, file)
    assert "Estimated from 200 rows of 400" in card and "The exact figures come" in card and "every 3s" in card
    about, steps = figure(card, "Tokens trained on, about"), figure(card, "Steps")
    task = token_counts.task_of(file, tiny)
    assert task
    FileTask.objects.filter(pk=task.pk).update(status="failed", message="No space left.", finished_at=task.created_at)
    card = card_of(owner_client, file)
    assert "All of them could not be counted" in card and "every 3s" not in card
    monkeypatch.undo()
    card = card_of(owner_client, file)
    assert "Estimated from" not in card and figure(card, "Steps") == steps
    assert abs(int(figure(card, "Tokens trained on").replace(",", "")) - int(about.replace(",", ""))) < 200


def test_beside_a_tab_the_card_is_one_line_that_unfolds(
    owner_client: Client, dataset: DatasetFile, tiny: BaseModel
) -> None:
    page = owner_client.get(reverse("dataset", args=[dataset.pk])).text
    assert '<section class="card estimate"' in page and "slim" not in page
    tab = owner_client.get(reverse("dataset", args=[dataset.pk]), {"tab": "versions"}).text
    assert '<details class="card estimate estimate--slim"' in tab and "?slim=1" in tab
    address = reverse("dataset-estimate", args=[dataset.pk])
    line = re.search(r'id="estimate-line">(.+?)</summary>', owner_client.get(address, {"slim": 1}).text, re.S)
    assert line and "tokens trained on" in line[1] and "steps" in line[1] and "memory" in line[1]
    assert 'id="estimate" open' in owner_client.get(address, {"slim": 1, "open": 1, "model": "tiny"}).text
