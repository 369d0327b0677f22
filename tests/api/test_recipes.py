"""/v1/fine_tuning/recipes with the official SDK, real workers and the real trainer."""

import pytest
from openai import BadRequestError, NotFoundError

from tests.api.conftest import JOB_SECONDS, jsonl
from tests.factories import chat_rows, preference_rows
from tests.workers import wait_for

PATH = "/fine_tuning/recipes"
QUICK = {"hyperparameters": {"n_epochs": 1, "batch_size": 4}, "training": {"max_length": 128}}


@pytest.fixture
def raw_text(client):
    rows = [{"text": f"Order {n} is done. Thank you for order {n}."} for n in range(40)]
    return client.files.create(file=("manuals.jsonl", jsonl(rows)), purpose="fine-tune").id


@pytest.mark.timeout(1200)  # three jobs one after the other, on a machine that may be busy
def test_text_then_examples_then_preferences_are_one_line_of_descent(
    client, training_file, validation_file, raw_text, server
):
    content = jsonl(preference_rows(12))
    preferences = client.files.create(file=("preferences.jsonl", content), purpose="fine-tune").id
    stages = [
        {"training_file": raw_text, **QUICK, "lora": {"r": 4}},
        {"training_file": training_file, "validation_file": validation_file, **QUICK, "take": "best"},
        {"training_file": preferences, **QUICK, "suffix": "last"},
    ]
    made = client.post(PATH, cast_to=dict, body={"model": "tiny", "stages": stages, "label": "Orders"})
    assert [stage["method"] for stage in made["stages"]] == ["pretrain", "sft", "dpo"], "by the format of the file"
    assert [bool(stage["job"]) for stage in made["stages"]] == [True, False, False]

    def state() -> dict:
        return client.get(f"{PATH}/{made['id']}", cast_to=dict)

    wait_for(lambda: state()["status"] != "running", 3 * JOB_SECONDS, "the end of the stages")
    ended = state()
    assert (ended["status"], ended["problem"]) == ("succeeded", None), server.logs()
    first, second, third = (client.fine_tuning.jobs.retrieve(stage["job"]) for stage in ended["stages"])
    assert second.model == first.fine_tuned_model, "the second starts from what the first made"
    assert third.model == second.fine_tuned_model and third.method.type == "dpo"
    assert ended["fine_tuned_model"] == third.fine_tuned_model and ":last:" in third.fine_tuned_model
    assert made["id"] in [each["id"] for each in client.get(PATH, cast_to=dict)["data"]]


def test_every_stage_is_checked_before_the_first_begins(client, training_file, raw_text, server):
    jobs = len(client.fine_tuning.jobs.list(limit=100).data)
    good = {"training_file": training_file}
    wrong = {
        "stages": [],
        "stages.1.training_file": [good, {"training_file": "file-none"}],
        "stages.1.hyperparameters.n_epochs": [good, {**good, "hyperparameters": {"n_epochs": 0}}],
        "stages.0.training_file": [{**good, "method": {"type": "pretrain"}}, good],
        "stages.1.method.type": [good, {**good, "method": {"type": "reinforcement"}}],
    }
    for param, stages in wrong.items():
        with pytest.raises(BadRequestError) as refused:
            client.post(PATH, cast_to=dict, body={"model": "tiny", "stages": stages})
        assert refused.value.param == param
    assert len(client.fine_tuning.jobs.list(limit=100).data) == jobs


def test_a_recipe_is_cancelled_and_a_strangers_is_not_found(client, server):
    rows = client.files.create(file=("long.jsonl", jsonl(chat_rows(200))), purpose="fine-tune").id
    stage = {"training_file": rows, "hyperparameters": {"n_epochs": 50, "batch_size": 1}}
    made = client.post(PATH, cast_to=dict, body={"model": "tiny", "stages": [stage, stage]})
    with pytest.raises(NotFoundError):
        server.client(server.stranger_key).post(f"{PATH}/{made['id']}/cancel", cast_to=dict)
    ended = client.post(f"{PATH}/{made['id']}/cancel", cast_to=dict)
    assert ended["status"] == "cancelled" and ended["problem"] == "Stopped by a person in stage 1."
    assert client.fine_tuning.jobs.retrieve(ended["stages"][0]["job"]).status == "cancelled"
