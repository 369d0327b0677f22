"""Models: list, retrieve, delete, and names with colons and slashes; who may use a checkpoint."""

import time
from typing import Any

from openai import APIStatusError, BadRequestError, NotFoundError, PermissionDeniedError

from proofs.clients.rows.stage import HUB_ID, Stage, refused, row


@row("models")
def models(stage: Stage) -> None:
    """A list in one page; retrieve and delete by names with colons; the names of the last checkpoint."""
    job, found = stage.finished, stage.client.models
    listed = {model.id: model for model in found.list()}
    assert {stage.model, job.fine_tuned_model} <= set(listed)
    tuned = found.retrieve(job.fine_tuned_model)
    assert (tuned.id, tuned.object, tuned.owned_by) == (job.fine_tuned_model, "model", job.organization_id)
    assert tuned.created >= job.created_at and found.retrieve(stage.model).id == stage.model
    earlier = stage.checkpoints[-1].fine_tuned_model_checkpoint
    assert found.retrieve(earlier).id == earlier
    error = refused(lambda: found.retrieve("ft:tiny:hone:none:00000000"), NotFoundError, "model", "model_not_found")
    assert error.body["message"].endswith("does not exist or you do not have access to it."), error.body
    refused(lambda: found.delete(stage.model), BadRequestError, "model")


@row("models with a slash")
def slashes(stage: Stage) -> None:
    """A base model that is called as on the hub, and what is fine-tuned from it: raw and encoded slashes."""
    found, job = stage.client.models, stage.plainest
    assert found.retrieve(HUB_ID).id == HUB_ID
    assert job.model == HUB_ID.split("/")[1] and found.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
    for missing in ("acme/none", "ft:acme/none:hone:x:00000000"):
        refused(lambda missing=missing: found.retrieve(missing), NotFoundError, "model")
        refused(lambda missing=missing: stage.ask(missing), NotFoundError, "model")


@row("delete a model")
def deleting(stage: Stage) -> None:
    """Owners only; then chat and retrieve know it no more, and the job stays."""
    job = stage.plainest
    name = job.fine_tuned_model
    refused(lambda: stage.client_of("member_key").models.delete(name), PermissionDeniedError)
    refused(lambda: stage.client_of("stranger_key").models.delete(name), NotFoundError)
    gone = stage.client.models.delete(name)
    assert (gone.id, gone.object, gone.deleted) == (name, "model", True)
    refused(lambda: stage.client.models.retrieve(name), NotFoundError, "model", "model_not_found")
    refused(lambda: stage.ask(name), NotFoundError, "model", "model_not_found")
    assert stage.client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == name


@row("checkpoint permissions")
def permissions(stage: Stage) -> None:
    """Another project may chat with a checkpoint that is shared with it, until it is not any more."""
    name, elsewhere = stage.finished.fine_tuned_model, stage.keys["stranger_project"]
    stranger, sharing = stage.client_of("stranger_key"), stage.client.fine_tuning.checkpoints.permissions
    refused(lambda: stage.ask(name, stranger), NotFoundError)
    made = list(sharing.create(name, project_ids=[elsewhere]))
    assert [(each.object, each.project_id) for each in made] == [("checkpoint.permission", elsewhere)]
    assert made[0].id.startswith("cp_") and abs(made[0].created_at - time.time()) < 600
    look: Any = getattr(sharing, "list", sharing.retrieve)  # the older name
    page = look(name)
    assert [each.id for each in page.data] == [made[0].id] and page.has_more is False
    assert page.first_id == page.last_id == made[0].id
    assert stage.ask(name, stranger).model == name
    gone = sharing.delete(made[0].id, fine_tuned_model_checkpoint=name)
    assert (gone.id, gone.object, gone.deleted) == (made[0].id, "checkpoint.permission", True)
    try:
        stage.ask(name, stranger)
    except APIStatusError as error:
        assert error.status_code in (403, 404), error.status_code
    else:
        raise AssertionError("the other project still chats")
