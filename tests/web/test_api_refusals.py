"""What the API refuses at once of a recipe, as the form does, with the path that was sent."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import Project
from tests import makers
from training.engine.spec import DeviceFacts
from training.models import DatasetFile, TrainingJob

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("present")]
CPU = DeviceFacts(kind="cpu", name="a CPU", memory_bytes=16 << 30, free_bytes=12 << 30, bfloat16=False)


@pytest.fixture
def file(project: Project, monkeypatch: pytest.MonkeyPatch) -> DatasetFile:
    monkeypatch.setattr("training.devices.device_facts", lambda: CPU)
    makers.make_base_model()
    return makers.make_file(project, token_facts={})  # nothing is counted yet


def refused(api_key: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {api_key}"}
    answer = Client().post(f"/v1/fine_tuning/{path}", json.dumps(body), "application/json", headers=headers)
    assert answer.status_code == 400, answer.content
    assert not TrainingJob.objects.exists()
    return answer.json()["error"]


WRONG = [
    ({"lora": {"target_modules": ["nope"]}}, "lora.target_modules", "has no linear layer named nope. Choose among"),
    ({"lora": {"quantization": "4bit"}}, "lora.quantization", "needs an NVIDIA GPU"),
    ({"training": {"optimizer": "adamw_8bit"}}, "training.optimizer", "needs an NVIDIA GPU"),
    ({"training": {"max_length": 8193}}, "training.max_length", "over the context of tiny, 8192 tokens"),
    ({"training": {"stop_metric": "full_valid_loss"}}, "training.stop_metric", "Choose a validation file"),
    ({"training": {"keep_checkpoints": "best"}}, "training.keep_checkpoints", "Choose a validation file"),
    ({"lora": {"variant": "dora"}, "training": {"sharding": "fsdp"}}, "training.sharding", "DoRA"),
    ({"training": {"dtype": "bfloat16"}}, "training.dtype", "cannot compute in bfloat16"),
    ({"method": {"type": "dpo"}, "training": {"packing": "on"}}, "training.packing", "not packed"),
]


@pytest.mark.parametrize(("asked", "param", "words"), WRONG)
def test_what_the_model_or_the_machine_cannot_do_makes_no_job(
    api_key: str, file: DatasetFile, asked: dict[str, Any], param: str, words: str
) -> None:
    error = refused(api_key, "jobs", {"model": "tiny", "training_file": file.pk, **asked})
    assert (error["param"], error["code"]) == (param, "invalid_hyperparameters")
    assert words in error["message"]


def test_a_length_that_cuts_every_answer_away_makes_no_job_where_the_tokens_are_counted(
    api_key: str, file: DatasetFile, project: Project
) -> None:
    known = {"rows": 9, "tokens": 999, "trained_tokens": 99, "longest_tokens": 111, "least_length": 52}
    counted = makers.make_file(project, token_facts={"tiny": known})
    body = {"model": "tiny", "training_file": counted.pk, "training": {"max_length": 16}}
    error = refused(api_key, "jobs", body)
    assert error["param"] == "training.max_length" and "Choose at least 52" in error["message"]


def test_a_later_stage_of_a_recipe_is_refused_before_the_first_begins(api_key: str, file: DatasetFile) -> None:
    good = {"training_file": file.pk}
    wrong = {**good, "lora": {"target_modules": ["nope"]}}
    error = refused(api_key, "recipes", {"model": "tiny", "stages": [good, wrong]})
    assert error["param"] == "stages.1.lora.target_modules"


def test_a_recipe_says_how_many_stages_it_needs_and_what_the_best_checkpoint_needs(
    api_key: str, file: DatasetFile
) -> None:
    stage = {"training_file": file.pk}
    error = refused(api_key, "recipes", {"model": "tiny", "stages": []})
    assert (error["param"], error["code"]) == ("stages", "array_below_min_length")
    assert error["message"].startswith("Invalid 'stages': it must be at least 1")
    error = refused(api_key, "recipes", {"model": "tiny", "stages": [{**stage, "take": "best"}, stage]})
    assert error["param"] == "stages.0.take" and "has no validation file" in error["message"]


def test_what_only_the_rows_can_tell_does_not_hold_up_the_answer(
    api_key: str, file: DatasetFile, project: Project
) -> None:
    headers = {"Authorization": f"Bearer {api_key}"}
    body = {"model": "tiny", "training_file": file.pk, "validation_file": makers.make_file(project).pk}
    body["training"] = {"stop_metric": "full_valid_loss"}
    answer = Client().post("/v1/fine_tuning/jobs", json.dumps(body), "application/json", headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "validating_files"), answer.content


def test_random_weights_take_an_adapter_only_after_a_stage_that_trained_them(
    api_key: str, file: DatasetFile, project: Project
) -> None:
    facts = makers.FACTS.model_copy(update={"name": "new", "untrained": True})
    makers.make_base_model("new", facts_json=facts.model_dump())
    adapter, full = ({"training_file": file.pk, "training": {"adaptation": kind}} for kind in ("lora", "full"))
    error = refused(api_key, "recipes", {"model": "new", "stages": [adapter, full]})
    assert error["param"] == "stages.0.training.adaptation" and "random weights" in error["message"]
    headers = {"Authorization": f"Bearer {api_key}"}
    body = json.dumps({"model": "new", "stages": [full, adapter]})
    answer = Client().post("/v1/fine_tuning/recipes", body, "application/json", headers=headers)
    assert answer.status_code == 200, answer.content
