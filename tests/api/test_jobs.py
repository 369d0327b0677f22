"""/v1/fine_tuning/jobs with the official SDK, the real worker and the real trainer."""

import csv
import io
import re

import httpx2
import pytest
from openai import BadRequestError, NotFoundError

from tests.api.conftest import jsonl
from tests.factories import chat_row, chat_rows
from tests.workers import wait_for

OPENAI_ARGUMENTS = ("model", "training_file", "validation_file", "method", "suffix", "seed", "metadata")


@pytest.fixture
def idle_job(client, training_file):
    """A job long enough to be met while it runs or waits; cancelled afterwards if the test did not."""
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=training_file, hyperparameters={"n_epochs": 50, "batch_size": 1}
    )
    yield job
    if client.fine_tuning.jobs.retrieve(job.id).status not in ("succeeded", "failed", "cancelled"):
        client.fine_tuning.jobs.cancel(job.id)


def test_a_created_job_is_complete_at_once(client, training_file):
    job = client.fine_tuning.jobs.create(model="tiny", training_file=training_file)
    try:
        assert re.fullmatch(r"ftjob-[A-Za-z0-9]{24}", job.id)
        assert (job.object, job.model, job.training_file) == ("fine_tuning.job", "tiny", training_file)
        assert job.status in ("validating_files", "queued")
        assert isinstance(job.seed, int) and 0 <= job.seed <= 2_147_483_647
        assert (job.error.code, job.error.message, job.error.param) == (None, None, None)
        assert job.method.type == "supervised"
        assert (job.fine_tuned_model, job.finished_at, job.trained_tokens, job.result_files) == (None, None, None, [])
        assert job.user_provided_suffix is None and job.shared_with_openai is False
        assert job.metadata is None and job.integrations == []
    finally:
        client.fine_tuning.jobs.cancel(job.id)


def test_the_older_hyperparameters_field_is_the_same_thing(client, idle_job):
    assert idle_job.hyperparameters.n_epochs == 50 == idle_job.method.supervised.hyperparameters.n_epochs


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"batch_size": 0}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"epochs": 3}}, "hyperparameters.epochs"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 51}}}},
            "method.supervised.hyperparameters.n_epochs",
        ),
        ({"method": {"type": "sft"}}, "method.type"),
        ({"method": {"type": "reinforcement"}}, "method.type"),
        *(
            ({"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": beta}}}}, "method.dpo.hyperparameters.beta")
            for beta in (0, 2.1, "strong")
        ),
        ({"method": {"type": "dpo", "supervised": {"hyperparameters": {"n_epochs": 1}}}}, "method.supervised"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 0.1}}}},
            "method.supervised.hyperparameters.beta",
        ),
        ({"suffix": "x" * 65}, "suffix"),
        ({"suffix": "a:b"}, "suffix"),
        ({"suffix": "a/b"}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"seed": 2_147_483_648}, "seed"),
        ({"metadata": {f"k{n}": "v" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"model": "gpt-4o-mini"}, "model"),
        ({"training_file": "file-missing"}, "training_file"),
        ({"validation_file": "file-missing"}, "validation_file"),
        ({"extra_body": {"lora": {"r": 0}}}, "lora.r"),
        ({"extra_body": {"lora": {"target_modules": ["q_proj", 1]}}}, "lora.target_modules.1"),
        ({"extra_body": {"lora": {"r": 4}, "training": {"adaptation": "full"}}}, "lora"),
        ({"extra_body": {"training": {"max_length": 15}}}, "training.max_length"),
        ({"extra_body": {"training": {"lr_scheduler": "step"}}}, "training.lr_scheduler"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_path(client, training_file, fields, param):
    with pytest.raises(BadRequestError) as caught:
        client.fine_tuning.jobs.create(**{"model": "tiny", "training_file": training_file, **fields})
    assert caught.value.param == param, caught.value.message
    assert caught.value.request_id.startswith("req_")


def test_values_at_the_limits_and_nulls_are_taken(client, training_file):
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        validation_file=None,
        suffix="s" * 64,
        seed=2_147_483_647,
        integrations=None,
        hyperparameters={"n_epochs": 50, "batch_size": 256, "learning_rate_multiplier": "auto"},
        metadata={f"{n:02}" + "k" * 62: "v" * 512 for n in range(16)},
    )
    assert client.fine_tuning.jobs.cancel(job.id).user_provided_suffix == "s" * 64


def test_two_different_sets_of_hyperparameters_are_refused(client, training_file):
    with pytest.raises(BadRequestError) as caught:
        client.fine_tuning.jobs.create(
            model="tiny",
            training_file=training_file,
            hyperparameters={"n_epochs": 2},
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
        )
    assert caught.value.param == "hyperparameters"


def test_a_model_that_is_not_there_says_what_is(client, training_file):
    with pytest.raises(BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=training_file)
    assert caught.value.code == "model_not_available"
    assert "is not available for fine-tuning" in caught.value.message and "tiny" in caught.value.message


def test_a_file_of_seven_rows_fails_the_job_with_openais_words(client, until):
    file = client.files.create(file=("seven.jsonl", jsonl(chat_rows(7))), purpose="fine-tune")
    job = until(client.fine_tuning.jobs.create(model="tiny", training_file=file.id).id, "failed")
    assert (job.error.code, job.error.param) == ("invalid_n_examples", "training_file")
    assert job.error.message == "Training file has 7 example(s), but must have at least 10 examples"
    assert job.hyperparameters.n_epochs == "auto" and job.result_files == []


def test_a_row_without_a_role_fails_with_its_place(client, until):
    rows = chat_rows(12)
    del rows[9]["messages"][1]["role"]
    file = client.files.create(file=("bad.jsonl", jsonl(rows)), purpose="fine-tune")
    job = until(client.fine_tuning.jobs.create(model="tiny", training_file=file.id).id, "failed")
    assert job.error.code == "invalid_training_file"
    assert job.error.message.startswith(
        "The job failed due to an invalid training file. Invalid file format. Example 10"
    )


def test_a_preference_file_is_not_trained_on_as_chat(client, until):
    row = {
        "input": chat_row("a", "b") | {"messages": [{"role": "user", "content": "a"}]},
        "preferred_output": [{"role": "assistant", "content": "b"}],
        "non_preferred_output": [{"role": "assistant", "content": "c"}],
    }
    file = client.files.create(file=("pairs.jsonl", jsonl([row] * 12)), purpose="fine-tune")
    job = until(client.fine_tuning.jobs.create(model="tiny", training_file=file.id).id, "failed")
    assert job.error.code == "invalid_training_file" and "fine-tune-preference" in job.error.message


@pytest.mark.servers
def test_a_finished_job_has_its_model_tokens_and_result_file(finished, training_file, validation_file):
    assert re.fullmatch(r"ft:tiny:hone:bot:[A-Za-z0-9]{8}", finished.fine_tuned_model)
    assert finished.trained_tokens > 0
    assert finished.finished_at >= finished.created_at
    assert (finished.training_file, finished.validation_file) == (training_file, validation_file)
    assert (finished.seed, finished.user_provided_suffix) == (7, "bot")
    assert (finished.hyperparameters.n_epochs, finished.hyperparameters.batch_size) == (2, 4)
    assert isinstance(finished.hyperparameters.learning_rate_multiplier, float)
    assert finished.method.supervised.hyperparameters == finished.hyperparameters or (
        finished.method.supervised.hyperparameters.n_epochs == 2
    )
    assert finished.lora["r"] == 4 and finished.lora["alpha"] == 8
    assert finished.training["max_length"] == 128


@pytest.mark.servers
def test_events_come_newest_first_in_openais_words(client, finished):
    events = list(client.fine_tuning.jobs.list_events(finished.id, limit=5))
    assert len({event.id for event in events}) == len(events)
    assert [event.created_at for event in events] == sorted((event.created_at for event in events), reverse=True)
    texts = [event.message for event in reversed(events)]
    wanted = [
        f"Created fine-tuning job: {finished.id}",
        f"Validating training file: {finished.training_file} and validation file: {finished.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        f"New fine-tuned model created: {finished.fine_tuned_model}",
        "The job has successfully completed",
    ]
    assert [text for text in texts if text in wanted] == wanted
    snapshot = re.compile(r"Checkpoint created at step 3 with Snapshot ID: ft:tiny:hone:bot:\w{8}:ckpt-step-3")
    assert any(snapshot.fullmatch(text) for text in texts)


@pytest.mark.servers
def test_there_is_one_metrics_event_for_each_step(client, finished):
    metrics = [event for event in client.fine_tuning.jobs.list_events(finished.id) if event.type == "metrics"]
    assert [event.data["step"] for event in metrics] == [6, 5, 4, 3, 2, 1]
    for event in metrics:
        assert event.data["total_steps"] == 6 and event.data["train_loss"] > 0
        assert re.match(rf"Step {event.data['step']}/6: training loss=\d+\.\d\d", event.message)
    last = metrics[0]
    assert {"full_valid_loss", "full_valid_mean_token_accuracy"} <= set(last.data)
    assert re.search(r"full validation loss=\d+\.\d\d$", last.message)


@pytest.mark.servers
def test_checkpoints_come_newest_first_with_their_full_validation_loss(client, finished):
    found = client.fine_tuning.jobs.checkpoints.list(finished.id)
    assert [row.step_number for row in found.data] == [6, 3]
    assert found.data[0].fine_tuned_model_checkpoint == finished.fine_tuned_model
    assert found.data[1].fine_tuned_model_checkpoint.endswith(":ckpt-step-3")
    assert all(row.metrics.full_valid_loss > 0 for row in found.data)
    assert all(row.fine_tuning_job_id == finished.id for row in found.data)
    # None until something serves the checkpoint, which another test may have done by now
    assert all(row.parity is None or row.parity["outcome"] != "refused" for row in found.data)
    assert (found.has_more, found.first_id, found.last_id) == (False, found.data[0].id, found.data[1].id)
    assert [row.id for row in client.fine_tuning.jobs.checkpoints.list(finished.id, limit=1)] == [
        row.id for row in found.data
    ]


def test_the_result_file_is_plain_csv_with_a_row_for_each_step(client, finished):
    text = client.files.content(finished.result_files[0]).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(float(row["train_loss"]) > 0 for row in rows)
    assert {"train_accuracy", "train_mean_token_accuracy", "valid_loss", "full_valid_loss"} <= set(rows[0])
    assert client.files.retrieve(finished.result_files[0]).purpose == "fine-tune-results"


@pytest.mark.servers
def test_a_job_goes_on_from_a_fine_tuned_model(client, finished, training_file, until):
    job = client.fine_tuning.jobs.create(
        model=finished.fine_tuned_model, training_file=training_file, hyperparameters={"n_epochs": 1, "batch_size": 4}
    )
    assert job.model == finished.fine_tuned_model
    assert until(job.id, "succeeded").fine_tuned_model.startswith("ft:tiny:hone:")


@pytest.mark.servers
def test_a_cancelled_job_stays_cancelled_and_a_second_cancel_is_an_error(client, idle_job):
    assert client.fine_tuning.jobs.cancel(idle_job.id).status == "cancelled"
    with pytest.raises(BadRequestError) as caught:
        client.fine_tuning.jobs.cancel(idle_job.id)
    assert caught.value.request_id
    assert client.fine_tuning.jobs.retrieve(idle_job.id).status == "cancelled"


def test_a_running_job_can_be_paused_and_resumed(client, idle_job, until):
    until(idle_job.id, "running")
    assert client.fine_tuning.jobs.pause(idle_job.id).status == "paused"
    assert client.fine_tuning.jobs.resume(idle_job.id).status in ("queued", "running")
    assert client.fine_tuning.jobs.cancel(idle_job.id).status == "cancelled"


@pytest.mark.servers
def test_a_job_saves_when_asked_pauses_goes_on_and_is_cancelled_with_what_it_saved(client, until):
    """One pass over many rows: before its end there is a checkpoint only where one was asked for."""
    file = client.files.create(file=("many.jsonl", jsonl(chat_rows(3000))), purpose="fine-tune").id
    jobs = client.fine_tuning.jobs
    job = jobs.create(model="tiny", training_file=file, hyperparameters={"n_epochs": 1, "batch_size": 1})

    def step() -> int:
        found = jobs.retrieve(job.id)
        assert found.status in ("validating_files", "queued", "running"), found.error
        return found.hone["step"]

    wait_for(lambda: step() > 0, 120, "the first step")
    client.post(f"/fine_tuning/jobs/{job.id}/save", cast_to=object)
    wait_for(lambda: len(list(jobs.checkpoints.list(job.id))) == 1, 60, "the checkpoint")
    assert jobs.retrieve(job.id).status == "running"
    assert jobs.pause(job.id).status == "paused"
    paused_at = jobs.retrieve(job.id).hone["step"]
    with pytest.raises(BadRequestError) as caught:
        client.post(f"/fine_tuning/jobs/{job.id}/save", cast_to=object)
    assert caught.value.code == "job_not_training"
    jobs.resume(job.id)
    wait_for(lambda: step() > paused_at, 120, "a step after the pause")
    assert len(list(jobs.checkpoints.list(job.id))) == 2  # the pause saved where it was
    assert jobs.cancel(job.id, extra_query={"checkpoints": "drop"}).status == "cancelled"
    wait_for(lambda: not list(jobs.checkpoints.list(job.id)), 60, "the checkpoints to go")
    client.files.delete(file)


@pytest.mark.servers
def test_a_job_stops_early_by_the_rule_that_was_sent(client, training_file, validation_file, until):
    rule = {"stop_metric": "full_valid_loss", "stop_patience": 1, "stop_min_change": 100}
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        validation_file=validation_file,
        hyperparameters={"n_epochs": 9, "batch_size": 4},
        extra_body={"training": rule},
    )
    job = until(job.id, "succeeded")
    assert {name: job.training[name] for name in rule} == rule
    assert (job.hone["step"], job.hone["total_steps"]) == (6, 27)
    assert job.hone["status_text"].startswith("Stopped early after step 6")
    assert [c.step_number for c in client.fine_tuning.jobs.checkpoints.list(job.id)] == [6, 3]
    assert job.fine_tuned_model


def test_jobs_are_found_by_their_metadata(client, finished):
    jobs = client.fine_tuning.jobs
    found = list(jobs.list(metadata={"team": "support"}))  # the code of a docs page may have made another one
    assert finished.id in {job.id for job in found} and all(job.metadata["team"] == "support" for job in found)
    assert [job.id for job in jobs.list(metadata={"team": "support", "empty": ""})] == [finished.id]
    assert [job.id for job in jobs.list(metadata={"team": "sales"})] == []
    without = [job.id for job in jobs.list(extra_query={"metadata": "null"})]
    assert without and finished.id not in without


def test_pages_of_jobs_give_every_job_once_newest_first(client, finished):
    pages = list(client.fine_tuning.jobs.list(limit=2))
    assert len({job.id for job in pages}) == len(pages) >= 2
    assert [job.created_at for job in pages] == sorted((job.created_at for job in pages), reverse=True)
    assert finished.id in {job.id for job in pages}


def test_creates_of_one_idempotency_key_make_one_job_and_another_body_is_refused(server, client, training_file):
    named = {"Idempotency-Key": "nightly 2026-11-23"}
    ask = {"model": "tiny", "training_file": training_file, "extra_headers": named}
    job = client.fine_tuning.jobs.create(**ask, seed=1)
    assert client.fine_tuning.jobs.create(**ask, seed=1).id == job.id
    with pytest.raises(BadRequestError) as caught:
        client.fine_tuning.jobs.create(**ask, seed=2)
    assert caught.value.code == "idempotency_key_reused" and job.id in caught.value.message
    theirs = server.client(server.member_key).fine_tuning.jobs.create(**ask, seed=1)
    assert theirs.id != job.id  # each API key has names of its own
    for each in (job, theirs):
        client.fine_tuning.jobs.cancel(each.id)


def test_a_create_that_the_sdk_repeats_makes_no_second_job(client, training_file):
    ask = {"model": "tiny", "training_file": training_file, "suffix": "once"}
    first = client.fine_tuning.jobs.create(**ask)
    again = client.fine_tuning.jobs.create(**ask, extra_headers={"X-Stainless-Retry-Count": "1"})
    other = client.fine_tuning.jobs.create(**ask)
    assert again.id == first.id != other.id
    for job in (first, other):
        client.fine_tuning.jobs.cancel(job.id)


def test_a_stranger_sees_no_job(server, finished):
    stranger = server.client(server.stranger_key)
    assert list(stranger.fine_tuning.jobs.list()) == []
    jobs = stranger.fine_tuning.jobs
    for call in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.resume, jobs.list_events, jobs.checkpoints.list):
        with pytest.raises(NotFoundError) as caught:
            call(finished.id)
        assert caught.value.code == "fine_tune_not_found"
    with pytest.raises(BadRequestError) as caught:
        jobs.create(model="tiny", training_file=finished.training_file)
    assert caught.value.param == "training_file"


def test_integrations_follow_a_job_and_are_echoed_with_their_run(client, training_file, until, server):
    wish = {"type": "wandb", "wandb": {"project": "tickets", "tags": ["nightly"], "name": None, "offline": True}}
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=training_file,
        hyperparameters={"n_epochs": 1, "batch_size": 4},
        integrations=[{"type": "tensorboard"}, wish],
    )
    echoed = {each.type: each for each in job.integrations}
    assert echoed["wandb"].wandb.project == "tickets" and echoed["wandb"].wandb.tags == ["nightly"]
    assert echoed["wandb"].wandb.run_id == job.id and set(echoed) == {"wandb", "tensorboard"}
    until(job.id, "succeeded")

    def trackers() -> dict:
        return {each["type"]: each for each in client.fine_tuning.jobs.retrieve(job.id).hone["trackers"]}

    wait_for(lambda: all(each["state"] == "done" for each in trackers().values()), 240, f"both: {trackers()}")
    assert {each["step"] for each in trackers().values()} == {3}
    run = server.home / "runs" / job.id
    assert list(run.glob("tensorboard/events.out.tfevents.*")) and list(run.glob("trackers/wandb/wandb/offline-run-*"))


@pytest.mark.parametrize(
    ("integrations", "param"),
    [
        ([{"type": "wandb", "wandb": {"project": "tickets"}}], "integrations"),
        ([{"type": "wandb"}], "integrations.0.wandb"),
        ([{"type": "wandb", "wandb": {"project": "a/b"}}], "integrations.0.wandb.project"),
        ([{"type": "wandb", "wandb": {"project": "p", "team": "x"}}], "integrations.0.wandb.team"),
        ([{"type": "mlflow"}], "integrations.0"),
        ([{"type": "tensorboard"}] * 2, "integrations"),
    ],
)
def test_an_integration_that_cannot_be_is_refused_by_its_path(client, training_file, integrations, param):
    with pytest.raises(BadRequestError) as refused:
        client.fine_tuning.jobs.create(model="tiny", training_file=training_file, integrations=integrations)
    assert refused.value.param == param


def test_the_configuration_of_a_job_makes_the_same_job_again(client, finished):
    path = f"/fine_tuning/jobs/{finished.id}/configuration"
    body = client.get(path, cast_to=dict)
    assert (body["seed"], body["suffix"], body["lora"]["r"]) == (7, "bot", 4)
    again = client.fine_tuning.jobs.create(**{name: body.pop(name) for name in OPENAI_ARGUMENTS}, extra_body=body)
    try:
        made = client.get(f"/fine_tuning/jobs/{again.id}/configuration", cast_to=dict)
        assert made == client.get(path, cast_to=dict)
        text = client.get(path, cast_to=httpx2.Response, options={"params": {"format": "yaml"}}).text
        assert text.startswith(f"# Job {finished.id}") and "packing:" in text
    finally:
        client.fine_tuning.jobs.cancel(again.id)
