"""/v1/uploads with the official SDK: a file in parts."""

import hashlib
import io

import pytest
from openai import APIStatusError, BadRequestError, NotFoundError

from tests.api.conftest import jsonl
from tests.factories import chat_rows

CONTENT = jsonl(chat_rows(40))
CUT = len(CONTENT) // 3


def begun(client, size: int = len(CONTENT), **options):
    return client.uploads.create(
        filename="big.jsonl", purpose="fine-tune", bytes=size, mime_type="text/jsonl", **options
    )


def part(client, upload, data: bytes):
    return client.uploads.parts.create(upload.id, data=("upload", data)).id


@pytest.mark.servers
def test_the_sdk_sends_a_file_in_chunks_and_gets_a_checked_file_of_the_same_bytes(client):
    done = client.uploads.upload_file_chunked(
        file=CONTENT,
        filename="big.jsonl",
        bytes=len(CONTENT),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=1000,
        md5=hashlib.md5(CONTENT).hexdigest(),
    )
    assert (done.object, done.status, done.bytes, done.file.object) == ("upload", "completed", len(CONTENT), "file")
    assert client.files.wait_for_processing(done.file.id, poll_interval=0.1).status == "processed"
    assert client.files.content(done.file.id).read() == CONTENT


def test_parts_that_came_out_of_order_and_twice_are_put_into_the_order_that_is_named(client):
    upload = begun(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert (upload.status, upload.file, upload.expires_at - upload.created_at) == ("pending", None, 3600)
    last, _again, first = (
        part(client, upload, CONTENT[CUT:]),
        part(client, upload, CONTENT[CUT:]),
        part(client, upload, CONTENT[:CUT]),
    )
    done = client.uploads.complete(upload.id, part_ids=[first, last])
    assert client.files.content(done.file.id).read() == CONTENT
    assert done.file.expires_at == done.file.created_at + 3600
    assert client.uploads.complete(upload.id, part_ids=[first, last]).file.id == done.file.id  # a retry of the SDK
    with pytest.raises(BadRequestError) as late:
        part(client, upload, b"more")
    assert late.value.code == "upload_completed"


def test_a_wrong_size_order_or_checksum_is_refused_and_can_be_mended(client):
    upload = begun(client)
    first, last = part(client, upload, CONTENT[:CUT]), part(client, upload, CONTENT[CUT:])
    for ids, md5, param in (
        ([first], None, "part_ids"),
        ([first, first], None, "part_ids[1]"),
        ([first, "part_none"], None, "part_ids[1]"),
        ([last, first], hashlib.md5(CONTENT).hexdigest(), "md5"),
    ):
        with pytest.raises(BadRequestError) as caught:
            client.uploads.complete(upload.id, part_ids=ids, **({"md5": md5} if md5 else {}))
        assert caught.value.param == param
    assert client.uploads.complete(upload.id, part_ids=[first, last]).status == "completed"


def test_a_cancelled_upload_takes_no_part_and_gives_no_file(client):
    upload = begun(client)
    first = part(client, upload, CONTENT)
    assert client.uploads.cancel(upload.id).status == "cancelled"
    assert client.uploads.cancel(upload.id).status == "cancelled"
    for refused in (lambda: part(client, upload, b"x"), lambda: client.uploads.complete(upload.id, part_ids=[first])):
        with pytest.raises(BadRequestError) as caught:
            refused()
        assert caught.value.code == "upload_cancelled"


def test_what_could_never_be_stored_or_used_is_refused_when_it_is_announced(client):
    for size, status in ((10**15, 413), (0, 400)):
        with pytest.raises(APIStatusError) as caught:
            begun(client, size)
        assert caught.value.status_code == status
    with pytest.raises(BadRequestError) as purpose:
        client.uploads.create(filename="a.jsonl", purpose="batch", bytes=5, mime_type="text/jsonl")
    assert purpose.value.param == "purpose"


def test_another_projects_upload_is_not_there(server, client):
    upload = begun(client)
    stranger = server.client(server.stranger_key)
    for call in (
        lambda: stranger.uploads.parts.create(upload.id, data=io.BytesIO(b"x")),
        lambda: stranger.uploads.complete(upload.id, part_ids=["part_x"]),
        lambda: stranger.uploads.cancel(upload.id),
    ):
        with pytest.raises(NotFoundError):
            call()
