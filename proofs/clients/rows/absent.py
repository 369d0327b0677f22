"""What is not served yet says so in OpenAI's shape: never a 500, never silently ignored."""

from openai import APIStatusError, BadRequestError, NotFoundError

from proofs.clients.rows.stage import Stage, refused, row
from proofs.clients.told import NotInThisSdk


def not_served(*calls) -> None:
    for call in calls:
        error = refused(call, NotFoundError, code="not_served")
        assert "not served yet" in error.message, error.message


@row("webhook endpoints", light=True)
def webhook_endpoints(stage: Stage) -> None:
    from proofs.clients.rows.walls import ENDS, listening

    hooks = stage.client.webhooks
    if not hasattr(hooks, "create"):
        raise NotInThisSdk
    assert list(hooks.event_types.list().data) == ENDS
    with listening() as (url, came):
        made = hooks.create(name="a", url=url, event_types=ENDS[:1])
        assert made.signing_secret.startswith("whsec_")
        tried = hooks.test(made.id, event_type=ENDS[0])
        assert (tried.status_code, tried.success, len(came)) == (204, True, 1)
        rotated = hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True).signing_secret
        hooks.test(made.id, event_type=ENDS[0])
        for secret in (made.signing_secret, rotated):
            hooks.unwrap(came[-1][1], came[-1][0], secret=secret)
        assert hooks.update(made.id, name="b").name == "b"
    assert made.id in [each.id for each in hooks.list()]
    assert hooks.delete(made.id).deleted
    refused(lambda: hooks.retrieve(made.id), NotFoundError)


@row("RFT (refused)", light=True)
def reinforcement(stage: Stage) -> None:
    grader = {"type": "string_check", "name": "g", "input": "a", "reference": "a", "operation": "eq"}
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    error = refused(lambda: stage.create(method=method), BadRequestError, "method.type", "not_served")
    assert "not served yet" in error.message


@row("graders (refused)", light=True)
def graders(stage: Stage) -> None:
    alpha = stage.client.fine_tuning.alpha.graders
    grader = {"type": "string_check", "name": "g", "input": "a", "reference": "a", "operation": "eq"}
    not_served(
        lambda: alpha.run(grader=grader, model_sample="a", item={"x": "a"}), lambda: alpha.validate(grader=grader)
    )


@row("stored completions (refused)", light=True)
def stored(stage: Stage) -> None:
    """`store` itself is taken and ignored, as docs/api.md says."""
    chats = stage.client.chat.completions
    not_served(
        lambda: chats.list(metadata={"t": "1"}).data,
        lambda: chats.retrieve("chatcmpl-1"),
        lambda: chats.update("chatcmpl-1", metadata={}),
        lambda: chats.delete("chatcmpl-1"),
        lambda: chats.messages.list("chatcmpl-1").data,
    )


@row("evals (refused)", light=True)
def evals(stage: Stage) -> None:
    found = stage.client.evals
    not_served(
        lambda: found.list().data,
        lambda: found.create(data_source_config={"type": "custom", "item_schema": {}}, testing_criteria=[]),
        lambda: found.runs.list("eval_1").data,
    )


@row("batches (refused)", light=True)
def batches(stage: Stage) -> None:
    found, files = stage.client.batches, stage.client.files
    not_served(
        lambda: found.list().data,
        lambda: found.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h"),
    )
    refused(lambda: files.create(file=("b.jsonl", b"{}"), purpose="batch"), BadRequestError, "purpose", "not_served")


@row("responses, embeddings (refused)", light=True)
def passed_through(stage: Stage) -> None:
    client = stage.client
    not_served(
        lambda: client.responses.create(model=stage.model, input="Hi"),
        lambda: client.responses.retrieve("resp_1"),
        lambda: client.embeddings.create(model=stage.model, input="Hi"),
    )


@row("legacy /v1/fine-tunes", light=True)
def legacy(stage: Stage) -> None:
    """Gone, with the name of what replaced it."""
    client, sent = stage.counted()
    for call in (
        lambda: client.post("/fine-tunes", body={"training_file": "file-1", "model": "curie"}, cast_to=object),
        lambda: client.get("/fine-tunes", cast_to=object),
        lambda: client.get("/fine-tunes/ft-1/events", cast_to=object),
        lambda: client.post("/fine-tunes/ft-1/cancel", cast_to=object),
    ):
        error = refused(call, APIStatusError)
        assert error.status_code == 410 and "/v1/fine_tuning/jobs" in error.message, error.message
    assert len(sent) == 4
