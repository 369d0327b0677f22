"""A quick estimate of a file's tokens, beside the exact count."""

import json
import random

from django.test import Client
from django.urls import reverse

from accounts.models import Project
from tests.jobs import make_base_model
from training import checks, files, token_counts, token_sample
from training.models import DatasetFile


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
    token_counts.count_in_worker(file.id, model.pk)
    page = owner_client.get(reverse("dataset-tokens", args=[file.id]), {"model": model.name}).content.decode()
    assert "Tokens, about" not in page
