"""A quick estimate of a file's tokens, how far the exact count is, and what is told when it fails."""

import html
import json
import random
import re
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Project
from tests.factories import tiny_model
from tests.jobs import make_base_model
from training import checks, documents, file_tasks, files, token_counts, token_sample
from training.models import BaseModel, DatasetFile, FileTask


def file_of(project: Project, rows: int, seed: int = 0) -> DatasetFile:
    chance = random.Random(seed)
    found = []
    for number in range(rows):
        words = " ".join(f"word{chance.randint(0, 99)}" for _ in range(chance.randint(1, 40)))
        messages = [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": words}]
        found.append(json.dumps({"messages": messages}) + "\n")
    return files.create_file(project, None, "rows.jsonl", "fine-tune", "".join(found).encode())


def test_the_sample_comes_near_the_exact_count_and_says_how_near(project: Project) -> None:
    model = make_base_model()
    within = 0
    for seed in range(5):
        file = file_of(project, 2000, seed)
        found, exact = token_sample.sample(file, model), token_counts.token_facts(file, model)
        assert found is not None and found.rows == 200
        assert abs(found.tokens - exact.tokens) < 0.15 * exact.tokens
        assert found.trained_tokens < found.tokens and found.longest_tokens <= exact.longest_tokens
        within += abs(found.tokens - exact.tokens) <= found.margin
    assert within >= 3


def test_what_is_counted_in_no_time_is_not_sampled(project: Project) -> None:
    assert token_sample.sample(file_of(project, 100), make_base_model()) is None


def test_the_page_shows_the_estimate_while_the_worker_counts(owner_client: Client, project: Project) -> None:
    model = make_base_model()
    file = file_of(project, 11_000)
    checks.check(file.id)
    page = owner_client.get(reverse("dataset-tokens", args=[file.id]), {"model": model.name}).content.decode()
    assert "Tokens, about" in page and "from 200 rows of 11" in page
    file_tasks.run(token_counts.task_of(file, model).pk)
    page = owner_client.get(reverse("dataset-tokens", args=[file.id]), {"model": model.name}).content.decode()
    assert "Tokens, about" not in page


def seen(client: Client, file: DatasetFile, model: BaseModel) -> str:
    """What the part of the page says."""
    page = client.get(reverse("dataset-tokens", args=[file.id]), {"model": model.name}).content.decode()
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


@pytest.fixture
def large(project: Project, monkeypatch: pytest.MonkeyPatch) -> DatasetFile:
    """A file that the worker counts."""
    monkeypatch.setattr(token_counts, "COUNTED_AT_ONCE_BYTES", 0)
    return file_of(project, 400)


def test_the_page_says_how_far_the_count_is_and_how_long_it_takes_once_that_is_known(
    owner_client: Client, large: DatasetFile
) -> None:
    model = make_base_model()
    assert "Waiting for a worker to count" in seen(owner_client, large, model)
    now, task = timezone.now(), FileTask.objects.get()
    FileTask.objects.update(status="running", share=0.004, started_at=now - timedelta(seconds=1), heartbeat_at=now)
    assert "Counting with the tokenizer of tiny: 0 %." in seen(owner_client, large, model)
    FileTask.objects.update(share=0.34, started_at=now - timedelta(seconds=51))
    said = seen(owner_client, large, model)
    assert "34 %, about 1 min 39 s left." in said and "estimated from 200 rows of 400" in said
    assert (
        "The exact figures come when all are counted"
        in owner_client.get(reverse("dataset-estimate", args=[large.id]), {"model": model.name}).content.decode()
    )
    FileTask.objects.filter(pk=task.pk).update(status="waiting")
    file_tasks.run(task.pk)
    assert "in one pass over the file" in seen(owner_client, large, model) and "left" not in said.split("Counting")[0]


def test_a_count_that_failed_says_why_and_can_be_repeated(
    owner_client: Client, large: DatasetFile, tmp_path: Path
) -> None:
    model = make_base_model("tiny", folder=tiny_model(tmp_path / "tiny"))
    seen(owner_client, large, model)
    tokenizer, kept = tmp_path / "tiny" / "tokenizer.json", tmp_path / "kept.json"
    tokenizer.replace(kept)
    tokenizer.write_text("{")
    token_counts._chat_format.cache_clear()
    file_tasks.run(FileTask.objects.get().pk)
    said = seen(owner_client, large, model)
    assert "They could not be counted with the tokenizer of tiny:" in said and "Count again" in said
    assert FileTask.objects.get().message in said and FileTask.objects.get().status == "failed"
    card = owner_client.get(reverse("dataset-estimate", args=[large.id]), {"model": "tiny"}).content.decode()
    assert "could not be counted" in card and "data-poll" not in card
    kept.replace(tokenizer)
    assert "could not be counted" in seen(owner_client, large, model), "nothing is repeated unasked"
    answer = owner_client.post(reverse("dataset-tokens", args=[large.id]) + "?model=tiny")
    assert answer.status_code == 302 and "tab=tokens" in answer["Location"]
    file_tasks.run(FileTask.objects.get().pk)
    assert "in one pass over the file" in seen(owner_client, large, model)


def test_a_tokenizer_that_is_gone_is_told(owner_client: Client, large: DatasetFile, tmp_path: Path) -> None:
    model = make_base_model("tiny", folder=tiny_model(tmp_path / "tiny"))
    task = token_counts.ask_worker(large, model)
    shutil.rmtree(tmp_path / "tiny")
    file_tasks.run(task.pk)
    assert "tiny is gone from the disk" in FileTask.objects.get().message


def test_a_stranger_has_nothing_counted(stranger_client: Client, large: DatasetFile) -> None:
    make_base_model()
    assert stranger_client.post(reverse("dataset-tokens", args=[large.id])).status_code == 404
    assert not FileTask.objects.exists()


def test_raw_text_is_estimated_from_places_spread_over_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(documents, "PLACE_EVERY_BYTES", 30_000)
    model = make_base_model("tiny", folder=tiny_model(tmp_path / "tiny"))
    chance = random.Random(3)
    stories: list[Any] = [" ".join(f"word{chance.randint(0, 99)}" for _ in range(300)) for _ in range(700)]
    content = "\n<|endoftext|>\n".join(stories).encode()
    file = files.create_file(project, None, "stories.txt", "fine-tune", content)
    found, exact = token_sample.sample(file, model), token_counts.token_facts(file, model)
    assert found is not None and 20 < found.rows <= 40
    assert abs(found.tokens - exact.tokens) < 0.05 * exact.tokens
