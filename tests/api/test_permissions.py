"""client.fine_tuning.checkpoints.permissions with the official SDK: one checkpoint is shared, and nothing else."""

from collections.abc import Iterator

import pytest
from openai import APIStatusError, BadRequestError, NotFoundError, OpenAI, PermissionDeniedError
from openai.types.fine_tuning import FineTuningJob

ASK = [{"role": "user", "content": "Order 1?"}]


@pytest.fixture
def stranger(server) -> OpenAI:
    return server.client(server.stranger_key)


@pytest.fixture
def early(client: OpenAI, finished: FineTuningJob) -> Iterator[str]:
    """The name of an earlier checkpoint; what was shared of it is taken back."""
    name = client.fine_tuning.jobs.checkpoints.list(finished.id).data[-1].fine_tuned_model_checkpoint
    assert ":ckpt-step-" in name
    yield name
    for each in client.fine_tuning.checkpoints.permissions.list(name):
        client.fine_tuning.checkpoints.permissions.delete(each.id, fine_tuned_model_checkpoint=name)


def refusal(client: OpenAI, model: str) -> APIStatusError:
    with pytest.raises(APIStatusError) as caught:
        client.chat.completions.create(model=model, messages=ASK)
    return caught.value


def test_another_project_asks_exactly_what_is_shared_until_it_is_taken_back(
    server, client, stranger, finished, training_file, early
):
    permissions = client.fine_tuning.checkpoints.permissions
    made = permissions.create(early, project_ids=[server.stranger_project]).data
    assert [(each.object, each.project_id) for each in made] == [("checkpoint.permission", server.stranger_project)]
    assert made[0].id.startswith("cp_") and made[0].created_at
    assert early in [model.id for model in stranger.models.list()] and stranger.models.retrieve(early).id == early
    assert refusal(stranger, early).code != "model_not_found", "it may ask; whether it is loaded is another matter"
    for call in (
        lambda: stranger.fine_tuning.jobs.retrieve(finished.id),
        lambda: stranger.fine_tuning.jobs.checkpoints.list(finished.id),
        lambda: stranger.models.retrieve(finished.fine_tuned_model),
        lambda: stranger.models.delete(early),
        lambda: stranger.fine_tuning.checkpoints.permissions.list(early),
        lambda: stranger.files.retrieve(training_file),
    ):
        with pytest.raises(NotFoundError):
            call()
    own_file = stranger.files.create(file=("a.jsonl", b'{"prompt":"a","completion":"b"}\n' * 12), purpose="fine-tune")
    with pytest.raises(BadRequestError) as caught:
        stranger.fine_tuning.jobs.create(model=early, training_file=own_file.id)
    assert caught.value.code == "model_not_available"
    gone = permissions.delete(made[0].id, fine_tuned_model_checkpoint=early)
    assert gone.deleted and gone.id == made[0].id
    with pytest.raises(NotFoundError):
        stranger.models.retrieve(early)
    assert refusal(stranger, early).code == "model_not_found"


def test_permissions_are_listed_in_pages_and_by_project_and_asked_twice_are_the_same(server, client, early):
    permissions = client.fine_tuning.checkpoints.permissions
    first = permissions.create(early, project_ids=[server.stranger_project]).data[0]
    second = permissions.create(early, project_ids=[server.third_project, server.stranger_project]).data
    assert second[1].id == first.id
    newest_first = [each.id for each in permissions.list(early, limit=1)]
    assert newest_first == [second[0].id, first.id]
    assert [each.id for each in permissions.list(early, order="ascending")] == newest_first[::-1]
    assert [each.id for each in permissions.list(early, project_id=server.third_project)] == [second[0].id]
    with pytest.deprecated_call():
        page = permissions.retrieve(early)
    assert (page.first_id, page.last_id, page.has_more) == (second[0].id, first.id, False)


def test_what_cannot_be_shared_is_refused_in_words(server, client, early):
    permissions = client.fine_tuning.checkpoints.permissions
    for project_id in ("proj_nobody", server.project):
        with pytest.raises(BadRequestError) as caught:
            permissions.create(early, project_ids=[server.stranger_project, project_id])
        assert caught.value.param == "project_ids[1]"
    assert not permissions.list(early).data, "all or none"
    with pytest.raises(NotFoundError):
        permissions.create("ft:tiny:hone::nobody00", project_ids=[server.stranger_project])
    with pytest.raises(NotFoundError):
        permissions.delete("cp_nobody", fine_tuned_model_checkpoint=early)


def test_a_member_sees_with_whom_a_model_is_shared_but_cannot_change_it(server, client, early):
    made = client.fine_tuning.checkpoints.permissions.create(early, project_ids=[server.stranger_project]).data[0]
    of_member = server.client(server.member_key).fine_tuning.checkpoints.permissions
    assert [each.id for each in of_member.list(early)] == [made.id]
    for change in (
        lambda: of_member.create(early, project_ids=[server.third_project]),
        lambda: of_member.delete(made.id, fine_tuned_model_checkpoint=early),
    ):
        with pytest.raises(PermissionDeniedError):
            change()
