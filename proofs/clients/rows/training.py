"""What a job has learned: its success, events, checkpoints, result file, pause, seed, going on, masks."""

import csv
import io
import re
import time
from typing import Any

from openai import BadRequestError

from proofs.clients.rows.stage import Stage, chat_row, refused, row, supervised

NAME = r"ft:[^:]+:[^:]+:[^:]*:[A-Za-z0-9]{8}"
FULL_VALID = ("full_valid_loss", "full_valid_mean_token_accuracy")
SHOWN_STEP = re.compile(
    r"Step \d+/\d+: training loss=\d+\.\d\d(, validation loss=\d+\.\d\d)?(, full validation loss=\d+\.\d\d)?"
)


@row("success object")
def success(stage: Stage) -> None:
    job = stage.finished
    assert re.fullmatch(NAME, job.fine_tuned_model) and ":bot:" in job.fine_tuned_model
    assert job.trained_tokens > 0 and job.finished_at >= job.created_at and len(job.result_files) == 1
    assert (job.error.code, job.error.message) == (None, None) and job.metadata["empty"] == ""
    assert job.seed == 7 and job.hyperparameters.n_epochs == 2 and job.hyperparameters.batch_size == 4
    assert "::" in stage.plainest.fine_tuned_model, "an empty suffix leaves two colons"


@row("events")
def events(stage: Stage) -> None:
    """Newest first, over pages; the eight messages in OpenAI's words and order."""
    job, found = stage.finished, stage.events
    assert len({event.id for event in found}) == len(found)
    assert all(event.object == "fine_tuning.job.event" and event.level == "info" for event in found)
    assert all(event.id.startswith("ftevent-") for event in found)
    said = [event.message for event in found if event.type == "message"][::-1]
    earlier = stage.checkpoints[-1].fine_tuned_model_checkpoint
    assert said[:4] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file} and validation file: {job.validation_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ], said
    assert f"Checkpoint created at step 3 with Snapshot ID: {earlier}" in said[4:-2], said
    assert said[-2:] == [
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ], said
    started = next(event for event in found if event.message == "Fine-tuning job started")
    assert started.data is None and found[0].data == {}
    figures = [event for event in found if event.type == "metrics"][::-1]
    assert [event.data["step"] for event in figures] == [1, 2, 3, 4, 5, 6]
    for event in figures:
        assert event.data["total_steps"] == 6 and event.data["train_loss"] > 0
        assert 0 <= event.data["train_mean_token_accuracy"] <= 1
        assert SHOWN_STEP.fullmatch(event.message), event.message


@row("validation metrics")
def validation(stage: Stage) -> None:
    figures = [event for event in stage.events if event.type == "metrics"]
    assert {"valid_loss", "valid_mean_token_accuracy", *FULL_VALID} <= set(figures[0].data), figures[0].data
    assert "full validation loss=" in figures[0].message
    ends = [event.data["step"] for event in figures if "full_valid_loss" in event.data]
    assert ends == [6, 3], "the whole file at each epoch's end"


@row("checkpoints")
def checkpoints(stage: Stage) -> None:
    """Newest first, the last one under the final model's name; each answers."""
    job, found = stage.finished, stage.checkpoints
    assert [checkpoint.step_number for checkpoint in found] == [6, 3]
    assert found[0].fine_tuned_model_checkpoint == job.fine_tuned_model
    assert re.fullmatch(NAME + ":ckpt-step-3", found[1].fine_tuned_model_checkpoint)
    assert found[1].fine_tuned_model_checkpoint.split(":")[4] != job.fine_tuned_model.split(":")[4], "one id for two"
    for checkpoint in found:
        assert checkpoint.id.startswith("ftckpt_") and checkpoint.object == "fine_tuning.job.checkpoint"
        assert checkpoint.fine_tuning_job_id == job.id and checkpoint.metrics.step == checkpoint.step_number
        assert checkpoint.metrics.full_valid_loss > 0 and checkpoint.metrics.train_loss > 0
        assert stage.ask(checkpoint.fine_tuned_model_checkpoint).model == checkpoint.fine_tuned_model_checkpoint
    page = stage.client.fine_tuning.jobs.checkpoints.list(job.id, limit=1)
    assert page.has_more is True and page.first_id == page.last_id == found[0].id
    assert [checkpoint.id for checkpoint in page] == [checkpoint.id for checkpoint in found]


@row("result csv")
def result_file(stage: Stage) -> None:
    """Plain CSV, numbers only, a row for each step; also as pandas reads it, where it is installed."""
    content = stage.client.files.content(stage.finished.result_files[0]).read()
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert [int(each["step"]) for each in rows] == [1, 2, 3, 4, 5, 6]
    named = {"train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy", *FULL_VALID}
    assert named <= set(rows[0]), set(rows[0])
    for each in rows:
        assert all(cell == "" or float(cell) == float(cell) for cell in each.values())
    file = stage.client.files.retrieve(stage.finished.result_files[0])
    assert file.purpose == "fine-tune-results" and file.filename.endswith(".csv")
    try:
        import pandas
    except ImportError:
        return
    frame = pandas.read_csv(io.BytesIO(content))
    assert len(frame) == 6 and list(frame["step"]) == [1, 2, 3, 4, 5, 6]
    assert frame["train_loss"].dtype == float and frame["full_valid_loss"].count() == 2


@row("pause and resume")
def pause(stage: Stage) -> None:
    """A checkpoint at the pause; no step twice, and the job ends well."""
    jobs = stage.client.fine_tuning.jobs
    job = stage.create(hyperparameters={"n_epochs": 50, "batch_size": 1})
    while jobs.retrieve(job.id).hone["step"] < 3:
        assert jobs.retrieve(job.id).status not in ("failed", "succeeded"), "ended before it could be paused"
        time.sleep(0.1)
    assert jobs.pause(job.id).status == "paused" == jobs.retrieve(job.id).status
    saved = jobs.checkpoints.list(job.id).data
    assert saved and saved[0].step_number >= 3, "no checkpoint at the pause"
    assert jobs.resume(job.id).status in ("queued", "running")
    stage.until(job.id, "succeeded")
    steps = [event.data["step"] for event in jobs.list_events(job.id, limit=1000) if event.type == "metrics"]
    assert steps[::-1] == list(range(1, 601)), f"{len(steps)} steps, {len(set(steps))} of them different"
    refused(lambda: jobs.pause(job.id), BadRequestError)
    refused(lambda: jobs.resume(job.id), BadRequestError)


def losses(stage: Stage, job_id: str) -> "list[float]":
    found = stage.client.fine_tuning.jobs.list_events(job_id, limit=1000)
    return [event.data["train_loss"] for event in found if event.type == "metrics"][::-1]


@row("seed")
def seed(stage: Stage) -> None:
    """The same job with the same seed has the same curve."""
    first, same = losses(stage, stage.finished.id), losses(stage, stage.taught("same seed").id)
    assert all(abs(a - b) < 1e-4 for a, b in zip(first, same, strict=True)), "not the same curve"


@row("continue from an ft model")
def going_on(stage: Stage) -> None:
    """From the model, or from an earlier checkpoint: below the loss that the base began with."""
    with stage.idle_job(model=stage.finished.fine_tuned_model) as waiting:
        assert waiting.model == stage.finished.fine_tuned_model
    name = stage.checkpoints[-1].fine_tuned_model_checkpoint
    job = stage.taught("continued", model=name)
    assert job.model == name, job.model
    assert losses(stage, job.id)[0] < losses(stage, stage.finished.id)[0], "no lower loss at the first step"


@row("weight and tools")
def masks(stage: Stage) -> None:
    """An answer of weight 0 is not trained on; rows with tools train."""
    answer = "It is number 3."

    def trained(name: str, rows: "list[dict[str, Any]]") -> int:
        asked = {"training_file": stage.upload(rows).id, "method": supervised(n_epochs=1, batch_size=12)}
        return stage.learned(name, **asked).trained_tokens

    both = trained("both answers", [chat_row("Order 3?", answer, answer)] * 12)
    masked = trained("one masked", [chat_row("Order 3?", answer, answer, weights=(0, 1))] * 12)
    assert both == 2 * masked > 0, f"two answers {both} tokens, one of the two masked {masked}"
    assert stage.plainest.trained_tokens > 0, "rows with tools"
