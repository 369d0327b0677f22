"""DPO by the official SDK, with the real worker and the real trainer."""

import csv
import io

import pytest
from openai.types.fine_tuning import FineTuningJob

from tests.api.conftest import jsonl
from tests.factories import preference_rows


@pytest.fixture(scope="module")
def preferred(server, until_ended) -> FineTuningJob:
    """Two epochs of three steps on pairs in one spelling, validated with pairs in the other."""
    client = server.client()
    other = [
        {
            "input": row["input"],
            "preferred_completion": row["preferred_output"],
            "non_preferred_completion": row["non_preferred_output"],
        }
        for row in preference_rows(5, start=50)
    ]
    train, valid = (
        client.files.create(file=(name, jsonl(rows)), purpose="fine-tune")
        for name, rows in (("pairs.jsonl", preference_rows(12)), ("valid.jsonl", other))
    )
    return until_ended(
        client.fine_tuning.jobs.create(
            model="tiny",
            training_file=train.id,
            validation_file=valid.id,
            seed=7,
            method={
                "type": "dpo",
                "dpo": {
                    "hyperparameters": {
                        "beta": 0.2, "n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 200,
                    }
                },
            },
            extra_body={"lora": {"r": 4, "alpha": 8}, "training": {"max_length": 128, "dtype": "float32"}},
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def until_ended(server):
    import time

    from tests.api.conftest import FINAL, JOB_SECONDS

    def wait(job: FineTuningJob) -> FineTuningJob:
        deadline = time.monotonic() + JOB_SECONDS
        while job.status not in FINAL and time.monotonic() < deadline:
            time.sleep(0.3)
            job = server.client().fine_tuning.jobs.retrieve(job.id)
        return job

    return wait


def test_a_dpo_job_succeeds_and_answers_in_openais_words(server, preferred):
    assert preferred.status == "succeeded", f"{preferred.error}\n{server.logs()}"
    assert preferred.method.type == "dpo" and preferred.method.supervised is None
    asked = preferred.method.dpo.hyperparameters
    assert (asked.beta, asked.n_epochs, asked.batch_size, asked.learning_rate_multiplier) == (0.2, 2, 4, 200)
    assert preferred.hyperparameters.n_epochs == 2  # the older field is filled for every method
    assert preferred.trained_tokens > 0 and preferred.fine_tuned_model.startswith("ft:tiny:")


def test_rewards_stand_in_events_checkpoints_and_the_result_file(client, preferred):
    events = [event for event in client.fine_tuning.jobs.list_events(preferred.id) if event.type == "metrics"]
    first, last = (min(events, key=_step), max(events, key=_step))
    assert abs(first.data["rewards/margins"]) < 1e-4 < last.data["rewards/margins"]
    assert last.data["full_valid_rewards/accuracies"] == 1
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(preferred.id))
    metrics = checkpoints[0].metrics.model_dump()
    assert len(checkpoints) == 2 and metrics["full_valid_rewards/margins"] > 0 and metrics["full_valid_loss"] < 0.69
    rows = list(csv.DictReader(io.StringIO(client.files.content(preferred.result_files[0]).text)))
    assert float(rows[-1]["rewards/accuracies"]) == 1 and float(rows[-1]["full_valid_rewards/margins"]) > 0


def _step(event) -> int:
    return event.data["step"]


def test_everything_may_be_auto_and_is_a_number_afterwards(client, until):
    file = client.files.create(file=("pairs.jsonl", jsonl(preference_rows(12))), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id, method={"type": "dpo"})
    assert job.method.dpo.hyperparameters.beta in ("auto", 0.1)
    job = until(job.id, "queued", "running", "succeeded")
    settled = job.method.dpo.hyperparameters
    assert (settled.beta, settled.n_epochs, settled.batch_size) == (0.1, 3, 1)
    if job.status != "succeeded":
        client.fine_tuning.jobs.cancel(job.id)


def test_a_chat_file_is_not_trained_on_as_preferences(client, until, training_file):
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file, method={"type": "dpo"})
    failed = until(job.id, "failed")
    assert (failed.error.code, failed.error.param) == ("invalid_training_file", "training_file")
    assert failed.error.message.endswith(
        "is in the fine-tune-chat format, but the specified fine-tuning job is not using 'supervised' as the training "
        "method (provided method=dpo)."
    )
