"""What is said about a job before it has learned anything: create, limits, refusals, lists, cancel."""

import re
import time

from openai import BadRequestError, NotFoundError

from proofs.clients.rows.stage import FINAL, Stage, chat_rows, dpo, preference_rows, refused, row, supervised

IN_METHOD = "method.supervised.hyperparameters"
OFF_BY_ONE = [
    ({"method": supervised(n_epochs=0)}, f"{IN_METHOD}.n_epochs"),
    ({"method": supervised(n_epochs=51)}, f"{IN_METHOD}.n_epochs"),
    ({"method": supervised(batch_size=0)}, f"{IN_METHOD}.batch_size"),
    ({"method": supervised(batch_size=257)}, f"{IN_METHOD}.batch_size"),
    ({"method": supervised(learning_rate_multiplier=0)}, f"{IN_METHOD}.learning_rate_multiplier"),
    ({"method": supervised(n_epoch=2)}, f"{IN_METHOD}.n_epoch"),
    ({"method": dpo(beta=0)}, "method.dpo.hyperparameters.beta"),
    ({"method": dpo(beta=2.01)}, "method.dpo.hyperparameters.beta"),
    ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs"),
    ({"suffix": "x" * 65}, "suffix"),
    ({"suffix": "a:b"}, "suffix"),
    ({"suffix": "a/b"}, "suffix"),
    ({"seed": -1}, "seed"),
    ({"seed": 2_147_483_648}, "seed"),
    ({"metadata": {f"k{number}": "v" for number in range(17)}}, "metadata"),
    ({"metadata": {"k" * 65: "v"}}, "metadata"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k"),
    ({"training_file": "file-none"}, "training_file"),
    ({"validation_file": "file-none"}, "validation_file"),
    ({"model": "gpt-4o-mini-2024-07-18"}, "model"),
    ({"extra_body": {"nonsense": 1}}, "nonsense"),
]
AT_THE_LIMITS = {
    "hyperparameters": {"n_epochs": 50, "batch_size": 256, "learning_rate_multiplier": 0.001},
    "suffix": "x" * 64,
    "seed": 2_147_483_647,
    "metadata": {f"{number:02d}".ljust(64, "k"): "v" * 512 for number in range(16)},
    "validation_file": None,
    "integrations": None,
}


@row("create SFT", light=True)
def create(stage: Stage) -> None:
    job = stage.create()
    stage.client.fine_tuning.jobs.cancel(job.id)
    assert re.fullmatch(r"ftjob-[A-Za-z0-9]{24}", job.id) and job.object == "fine_tuning.job"
    assert (job.model, job.training_file, job.validation_file) == (stage.model, stage.training_file, None)
    assert job.status in ("validating_files", "queued")
    assert isinstance(job.seed, int) and 0 <= job.seed <= 2_147_483_647
    assert (job.error.code, job.error.message, job.error.param) == (None, None, None), "not the object of nulls"
    assert job.method.type == "supervised"
    assert job.hyperparameters.n_epochs == job.method.supervised.hyperparameters.n_epochs
    assert (job.fine_tuned_model, job.finished_at, job.trained_tokens, job.result_files) == (None, None, None, [])
    assert (job.integrations, job.metadata, job.user_provided_suffix) == ([], None, None)
    assert job.shared_with_openai is False and job.usage_metrics is None and job.estimated_finish is None
    assert job.organization_id.startswith("org-") and abs(job.created_at - time.time()) < 600


@row("old hyperparameters", light=True)
def old_hyperparameters(stage: Stage) -> None:
    with stage.idle_job(hyperparameters={"n_epochs": 2}) as job:
        assert job.hyperparameters.n_epochs == 2 == job.method.supervised.hyperparameters.n_epochs


@row("limits", light=True)
def limits(stage: Stage) -> None:
    for fields, param in OFF_BY_ONE:
        error = refused(lambda fields=fields: stage.create(**fields), BadRequestError, param)
        if param == "model":
            assert "is not available for fine-tuning" in error.message and error.code == "model_not_available"
    with stage.idle_job(**AT_THE_LIMITS) as job:
        assert (job.seed, job.user_provided_suffix) == (2_147_483_647, "x" * 64)
        assert job.hyperparameters.batch_size == 256


EPOCHS = {10: (10, 1), 11: (9, 1), 25: (4, 1), 100: (3, None)}  # rows: epochs, batch size where it is OpenAI's too


@row("auto resolution")
def auto(stage: Stage) -> None:
    """Numbers take the place of "auto" as soon as the file is validated, in both places."""
    jobs = stage.client.fine_tuning.jobs
    made = {rows: stage.create(training_file=stage.upload(chat_rows(rows)).id).id for rows in EPOCHS}
    found_by_rows = {rows: stage.until(job, "queued", "running", "succeeded") for rows, job in made.items()}
    for job in list(made.values())[::-1]:  # the newest first, so that none of them is started in between
        if jobs.retrieve(job).status not in FINAL:
            jobs.cancel(job)
    for rows, (n_epochs, batch_size) in EPOCHS.items():
        found = found_by_rows[rows]
        resolved = found.hyperparameters
        assert resolved.n_epochs == n_epochs, f"{rows} rows: {resolved.n_epochs} epochs"
        assert batch_size in (None, resolved.batch_size), f"{rows} rows: batches of {resolved.batch_size}"
        assert isinstance(resolved.learning_rate_multiplier, int | float)
        assert found.method.supervised.hyperparameters.model_dump() == resolved.model_dump()


@row("failure objects")
def failure(stage: Stage) -> None:
    job = stage.until(stage.create(training_file=stage.upload(chat_rows(7)).id).id, "failed")
    assert (job.error.code, job.error.param) == ("invalid_n_examples", "training_file")
    assert job.error.message == "Training file has 7 example(s), but must have at least 10 examples"
    assert (job.fine_tuned_model, job.trained_tokens, job.result_files) == (None, None, [])
    assert job.hyperparameters.n_epochs == "auto"
    broken = chat_rows(12)
    del broken[6]["messages"][1]["role"]
    job = stage.until(stage.create(training_file=stage.upload(broken).id).id, "failed")
    prefix = "The job failed due to an invalid training file. Invalid file format. Example 7, message 2 "
    assert job.error.code == "invalid_training_file" and job.error.message.startswith(prefix), job.error.message


@row("format and method clash")
def clash(stage: Stage) -> None:
    job = stage.until(stage.create(method=dpo(beta=0.1)).id, "failed")
    assert job.error.code == "invalid_training_file"
    assert f"Input file {stage.training_file} is in the fine-tune-chat format" in job.error.message
    assert "(provided method=dpo)" in job.error.message
    job = stage.until(stage.create(training_file=stage.preference_file).id, "failed")
    assert "is in the fine-tune-preference format" in job.error.message


@row("list jobs, metadata filter", light=True)
def listing(stage: Stage) -> None:
    jobs = stage.client.fine_tuning.jobs
    mark = f"v{time.time_ns()}"
    tagged = [stage.create(metadata={"k": mark, "e": "", "n": str(number)}) for number in range(3)]
    bare = stage.create()
    for job in (*tagged, bare):
        jobs.cancel(job.id)
    found = [job.id for job in jobs.list(metadata={"k": mark}, limit=2)]
    assert found == [job.id for job in tagged[::-1]], "all three, newest first, over two pages"
    assert [job.id for job in jobs.list(metadata={"k": mark, "n": "1"})] == [tagged[1].id]
    assert [job.id for job in jobs.list(extra_query={"metadata[k]": mark, "metadata[e]": ""})] == found
    assert list(jobs.list(metadata={"k": mark + "x"})) == []
    without = [job.id for job in jobs.list(extra_query={"metadata": "null"}, limit=100)]
    assert bare.id in without and not set(found) & set(without)
    page = jobs.list(limit=1)
    assert page.has_more is True and len(page.data) == 1 and page.data[0].id == bare.id
    assert jobs.list(limit=1, after=bare.id).data[0].id == tagged[2].id
    refused(lambda: jobs.list(after="ftjob-none").data, BadRequestError, "after")
    error = refused(lambda: jobs.retrieve("ftjob-none"), NotFoundError, code="fine_tune_not_found")
    assert "Could not find fine tune: ftjob-none" in error.message


@row("cancel", light=True)
def cancel(stage: Stage) -> None:
    with stage.idle_job() as job:
        client, sent = stage.counted()
        assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
        before = len(sent)
        refused(lambda: client.fine_tuning.jobs.cancel(job.id), BadRequestError)
        assert len(sent) == before + 1, f"the second cancel was sent {len(sent) - before} times"
        newest = stage.client.fine_tuning.jobs.list_events(job.id, limit=1).data[0]
        assert "cancel" in newest.message.lower(), newest.message


@row("idempotent create", light=True)
def idempotent(stage: Stage) -> None:
    """The SDK's own retry makes no second job; neither does the same Idempotency-Key."""
    again = {"extra_headers": {"X-Stainless-Retry-Count": "1"}}
    first, second = stage.create(suffix="once"), stage.create(suffix="once", **again)
    assert first.id == second.id != stage.create(suffix="once").id
    named = {"extra_headers": {"Idempotency-Key": f"nightly {time.time_ns()}"}}
    one, other = stage.create(seed=1, **named), stage.create(seed=1, **named)
    assert one.id == other.id
    refused(lambda: stage.create(seed=2, **named), BadRequestError, code="idempotency_key_reused")
    for job in stage.client.fine_tuning.jobs.list(limit=3).data:
        stage.client.fine_tuning.jobs.cancel(job.id)


@row("W&B integration", light=True)
def wandb(stage: Stage) -> None:
    """Without a key of the project an error at once; a run that stays offline needs none."""
    wish = {"type": "wandb", "wandb": {"project": "tickets", "tags": ["nightly"]}}
    error = refused(lambda: stage.create(integrations=[wish]), BadRequestError, "integrations")
    assert "key" in error.message
    offline = {"type": "wandb", "wandb": {**wish["wandb"], "offline": True}}
    with stage.idle_job(integrations=[offline]) as job:
        echoed = job.integrations[0]
        assert (echoed.type, echoed.wandb.project, echoed.wandb.tags) == ("wandb", "tickets", ["nightly"])
        assert (echoed.wandb.run_id, echoed.wandb.entity, echoed.wandb.name) == (job.id, None, None)


@row("DPO")
def preference(stage: Stage) -> None:
    """Both spellings of the answers in one file, and a beta."""
    file = stage.upload([*preference_rows(6), *preference_rows(6, "completion")])
    job = stage.learned("dpo", training_file=file.id, method=dpo(beta=0.1, n_epochs=1, batch_size=6))
    assert (job.method.type, job.method.dpo.hyperparameters.beta) == ("dpo", 0.1)
    assert job.method.dpo.hyperparameters.batch_size == 6 and job.fine_tuned_model
