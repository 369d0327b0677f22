"""/v1/models with the official SDK."""

import pytest
from openai import BadRequestError, NotFoundError, PermissionDeniedError


def test_base_models_and_fine_tuned_ones_are_listed_and_found_by_name(client, finished):
    listed = {model.id: model for model in client.models.list()}
    assert "tiny" in listed and finished.fine_tuned_model in listed
    assert listed[finished.fine_tuned_model].owned_by == "org-hone"
    for name in ("tiny", finished.fine_tuned_model):
        assert client.models.retrieve(name).id == name


def test_the_last_checkpoint_answers_to_its_step_name_too(client, finished):
    for row in client.fine_tuning.jobs.checkpoints.list(finished.id):
        assert client.models.retrieve(row.fine_tuned_model_checkpoint).parent == "tiny"


def test_an_unknown_model_is_not_found_with_or_without_a_slash(client):
    for name in ("gpt-9", "ft:Qwen/Qwen3-0.6B:org:suf:12345678", "a/b/c"):
        with pytest.raises(NotFoundError) as caught:
            client.models.retrieve(name)
        assert caught.value.code == "model_not_found"


def test_a_stranger_sees_base_models_only(server, finished):
    stranger = server.client(server.stranger_key)
    seen = [model.id for model in stranger.models.list()]
    assert "tiny" in seen and not any(name.startswith("ft:") for name in seen)
    for call in (stranger.models.retrieve, stranger.models.delete):
        with pytest.raises(NotFoundError):
            call(finished.fine_tuned_model)


def test_a_base_model_cannot_be_deleted(client):
    with pytest.raises(BadRequestError):
        client.models.delete("tiny")


def test_only_an_owner_may_delete_a_model_and_its_job_stays(server, client, training_file, until):
    job = client.fine_tuning.jobs.create(
        model="tiny", training_file=training_file, hyperparameters={"n_epochs": 1, "batch_size": 12}
    )
    name = until(job.id, "succeeded").fine_tuned_model
    with pytest.raises(PermissionDeniedError):
        server.client(server.member_key).models.delete(name)
    assert client.models.delete(name).deleted
    with pytest.raises(NotFoundError):
        client.models.retrieve(name)
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == name
