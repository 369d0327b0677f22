"""/v1/files with the official SDK."""

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.api.conftest import Server, jsonl
from tests.factories import chat_rows


def upload(client: OpenAI, rows: int = 10, **options):
    return client.files.create(file=("t.jsonl", jsonl(chat_rows(rows))), purpose="fine-tune", **options)


@pytest.mark.servers
def test_an_uploaded_file_is_stored_byte_for_byte_and_checked(client):
    content = jsonl(chat_rows(10))
    file = client.files.create(file=("t.jsonl", content), purpose="fine-tune")
    assert file.id.startswith("file-")
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "t.jsonl", "fine-tune")
    assert file.status in ("uploaded", "processed")
    assert client.files.wait_for_processing(file.id, poll_interval=0.1).status == "processed"
    assert client.files.content(file.id).read() == content
    assert (file.rows, file.format, file.problem_count) == (10, "chat", 0)


def test_a_file_without_one_readable_line_is_refused_and_not_kept(client):
    before = len(client.files.list().data)
    with pytest.raises(BadRequestError) as caught:
        client.files.create(file=("t.jsonl", b"PK\x03\x04 not text \xff\xfe"), purpose="fine-tune")
    assert caught.value.param == "file"
    assert caught.value.body["message"].startswith("Expected file to have JSONL format")
    assert len(client.files.list().data) == before


def test_a_file_with_some_wrong_lines_is_stored_with_status_error_and_the_reason(client):
    content = jsonl(chat_rows(10)) + b'{"messages": [{"role": "nobody", "content": "?"}]}\n'
    file = client.files.create(file=("t.jsonl", content), purpose="fine-tune")
    checked = client.files.wait_for_processing(file.id, poll_interval=0.1)
    assert checked.status == "error"
    assert "11" in checked.status_details


def test_a_file_expires_when_the_caller_says_so(client):
    file = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    for seconds in (3599, 2_592_001):
        with pytest.raises(BadRequestError) as caught:
            upload(client, expires_after={"anchor": "created_at", "seconds": seconds})
        assert caught.value.param == "expires_after[seconds]"


def test_pages_of_the_list_give_every_file_once_in_either_order(server):
    client = server.client(server.stranger_key)
    ids = [upload(client).id for _ in range(5)]
    assert [file.id for file in client.files.list(purpose="fine-tune", limit=2, order="asc")] == ids
    assert [file.id for file in client.files.list(limit=2)] == ids[::-1]
    first = client.files.list(limit=2)
    assert first.has_more and (first.first_id, first.last_id) == (ids[4], ids[3])
    last = client.files.list(limit=2, after=ids[1])
    assert not last.has_more and [file.id for file in last.data] == [ids[0]]
    assert client.files.list(purpose="batch").data == []


@pytest.mark.parametrize(
    ("query", "param"), [({"limit": 0}, "limit"), ({"limit": 10_001}, "limit"), ({"after": "file-x"}, "after")]
)
def test_a_wrong_list_parameter_is_named(client, query, param):
    with pytest.raises(BadRequestError) as caught:
        client.files.list(**query)
    assert caught.value.param == param


def test_a_deleted_file_is_gone(client):
    file = upload(client)
    deleted = client.files.delete(file.id)
    assert deleted.deleted and deleted.id == file.id
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(NotFoundError) as caught:
            call(file.id)
        assert caught.value.param == "id"
        assert caught.value.body["message"] == f"No such File object: {file.id}"


def test_a_purpose_that_hone_does_not_serve_is_refused(client):
    for purpose in ("batch", "nonsense"):
        with pytest.raises(BadRequestError) as caught:
            client.files.create(file=("t.jsonl", b"{}\n"), purpose=purpose)
        assert caught.value.param == "purpose"


def test_a_form_without_its_parts_is_refused(client):
    with pytest.raises(BadRequestError) as caught:
        client.post("/files", body={"purpose": "fine-tune"}, cast_to=object)
    assert caught.value.code


def test_a_stranger_sees_no_file(server: Server, training_file: str):
    stranger = server.client(server.stranger_key)
    assert training_file not in [file.id for file in stranger.files.list()]
    for call in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
        with pytest.raises(NotFoundError):
            call(training_file)
