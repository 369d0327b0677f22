"""A DPO job from the form: the method is offered, filled in, estimated and stored."""

import json

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from tests import jobs
from tests.factories import preference_rows
from training import files
from training.models import DatasetFile, TrainingJob

pytestmark = pytest.mark.django_db


@pytest.fixture
def pairs(project: Project) -> DatasetFile:
    jobs.make_base_model()
    content = "".join(json.dumps(row) + "\n" for row in preference_rows(30)).encode()
    return files.create_file(project, None, "pairs.jsonl", "fine-tune", content)


def asked(file: DatasetFile, **changes: str) -> dict[str, str]:
    return {
        "model": "base:tiny", "training_file": file.pk, "validation": "none", "adaptation": "lora", "method": "dpo",
    } | changes  # fmt: skip


def test_a_preference_file_opens_the_form_with_beta(owner_client: Client, pairs: DatasetFile) -> None:
    page = owner_client.get(reverse("new-job"), {"file": pairs.pk}).text
    assert 'data-method="dpo"' in page and 'name="beta"' in page
    assert "pairs.jsonl · 30 pairs" in page
    assert 'data-method="sft"' in owner_client.get(reverse("new-job")).text


def test_the_method_follows_the_files_format_unless_it_is_named(owner_client: Client, pairs: DatasetFile) -> None:
    for method, found in (("", "dpo"), ("dpo", "dpo"), ("sft", "sft")):
        card = owner_client.post(reverse("estimate-job"), asked(pairs, method=method, beta="wrong")).text
        assert f'id="method-is" data-method="{found}" hidden hx-swap-oob="true"' in card


def test_the_card_says_what_dpo_takes_and_why(owner_client: Client, pairs: DatasetFile) -> None:
    card = owner_client.post(reverse("estimate-job"), asked(pairs)).text
    assert 'id="auto-beta" hx-swap-oob="true">auto is <b>0.1</b>: As in the DPO paper' in card
    assert "DPO with LoRA" in card and "Tokens trained on" in card
    assert "&quot;type&quot;: &quot;dpo&quot;" in card


def test_a_dpo_job_is_made_with_its_beta(owner_client: Client, project: Project, pairs: DatasetFile) -> None:
    answer = owner_client.post(reverse("new-job"), asked(pairs, beta="0.3", n_epochs="2"))
    job = TrainingJob.objects.of(project).get()
    assert answer.status_code == 302 and (job.recipe.method, job.recipe.beta, job.recipe.n_epochs) == ("dpo", 0.3, 2)
    page = owner_client.get(reverse("job", args=[job.pk]), {"tab": "configuration"}).text
    assert "Beta" in page
    rerun = owner_client.get(reverse("new-job"), {"from": job.pk}).text
    assert '<option value="dpo" selected>' in rerun and 'value="0.3"' in rerun


def test_a_beta_left_over_from_dpo_is_no_part_of_a_supervised_job(owner_client: Client, project: Project) -> None:
    jobs.make_base_model()
    data = asked(jobs.make_file(project, 30), method="sft", beta="7")
    assert owner_client.post(reverse("new-job"), data).status_code == 302
    job = TrainingJob.objects.of(project).get()
    assert (job.recipe.method, job.recipe.beta) == ("sft", "auto")
    assert "Beta" not in owner_client.get(reverse("job", args=[job.pk]), {"tab": "configuration"}).text


@pytest.mark.parametrize("beta", ["0", "2.5", "much"])
def test_a_beta_out_of_range_is_refused_at_its_field(owner_client: Client, pairs: DatasetFile, beta: str) -> None:
    answer = owner_client.post(reverse("new-job"), asked(pairs, beta=beta))
    assert answer.status_code == 400 and '<a href="#id_beta">Beta</a>' in answer.text


def test_a_file_that_does_not_go_with_the_method_is_refused_before_anything_starts(
    owner_client: Client, project: Project, pairs: DatasetFile
) -> None:
    chats = jobs.make_file(project, 30)
    for data, said in (
        (asked(pairs, method="sft"), "pairs.jsonl is preference; this method trains on chat or prompt/completion"),
        (asked(chats), "train.jsonl is chat; this method trains on preference"),
        (
            asked(pairs, validation="file", validation_file=chats.pk),
            "train.jsonl is of another format than pairs.jsonl",
        ),
    ):
        answer = owner_client.post(reverse("new-job"), data)
        assert answer.status_code == 400 and said in answer.text, said
    assert not TrainingJob.objects.exists()


def test_a_split_of_pairs_is_pairs_again(owner_client: Client, project: Project, pairs: DatasetFile) -> None:
    answer = owner_client.post(reverse("new-job"), asked(pairs, validation="split", split_share="20"))
    assert answer.status_code == 302
    job = TrainingJob.objects.of(project).get()
    assert job.training_file and job.validation_file
    assert (job.training_file.format, job.training_file.rows, job.validation_file.rows) == ("preference", 24, 6)
