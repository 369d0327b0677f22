"""Files and uploads."""

import hashlib
import tempfile
from pathlib import Path

from openai import BadRequestError, NotFoundError

from proofs.clients.rows.stage import Stage, chat_rows, jsonl, refused, row


@row("file upload", light=True)
def upload(stage: Stage) -> None:
    content = jsonl(chat_rows(12))
    file = stage.client.files.create(file=("t.jsonl", content), purpose="fine-tune")
    assert file.id.startswith("file-") and file.object == "file"
    assert (file.bytes, file.filename, file.purpose) == (len(content), "t.jsonl", "fine-tune")
    assert file.status in ("uploaded", "processed")
    assert file.expires_at is None
    refused(
        lambda: stage.client.files.create(file=("t.jsonl", b"not JSON"), purpose="fine-tune"), BadRequestError, "file"
    )


@row("wait for processing", light=True)
def wait(stage: Stage) -> None:
    file = stage.client.files.wait_for_processing(stage.upload(chat_rows(12)).id, poll_interval=0.1)
    assert (file.status, file.status_details) == ("processed", None)


@row("expiry", light=True)
def expiry(stage: Stage) -> None:
    content = jsonl(chat_rows(12))

    def create(seconds: int):
        return stage.client.files.create(
            file=("t.jsonl", content),
            purpose="fine-tune",
            expires_after={"anchor": "created_at", "seconds": seconds},
        )

    file = create(3600)
    assert file.expires_at == file.created_at + 3600
    for wrong in (3599, 2_592_001):
        refused(lambda seconds=wrong: create(seconds), BadRequestError, "expires_after[seconds]")


@row("file list", light=True)
def listing(stage: Stage) -> None:
    """Pages in all four words of order; the SDK asks for the next ones by itself."""
    made = [stage.upload(chat_rows(10)).id for _ in range(5)]
    files = stage.client.files
    for order in ("asc", "desc"):
        ids = [file.id for file in files.list(purpose="fine-tune", limit=2, order=order)]
        assert len(ids) == len(set(ids)), "a file came twice"
        mine = [each for each in ids if each in made]
        assert mine == (made if order == "asc" else made[::-1]), f"{order}: {mine}"
    for word, same in (("ascending", "asc"), ("descending", "desc")):
        page = files.list(limit=3, extra_query={"order": word})
        assert [file.id for file in page.data] == [file.id for file in files.list(limit=3, order=same).data]
        assert page.has_more is True
    page = files.list(limit=2, order="desc")
    assert (page.first_id, page.last_id) == (page.data[0].id, page.data[-1].id)
    assert list(files.list(purpose="batch")) == []
    refused(lambda: files.list(limit=0).data, BadRequestError, "limit")
    refused(lambda: files.list(after="file-none").data, BadRequestError, "after")


@row("content, delete", light=True)
def content_and_delete(stage: Stage) -> None:
    files, sent = stage.client.files, jsonl(chat_rows(12))
    file = files.create(file=("t.jsonl", sent), purpose="fine-tune")
    assert files.content(file.id).read() == sent and files.content(file.id).text == sent.decode()
    with files.with_streaming_response.content(file.id) as answer:
        assert b"".join(answer.iter_bytes()) == sent
    gone = files.delete(file.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "file", True)
    for call in (files.retrieve, files.content, files.delete):
        error = refused(lambda call=call: call(file.id), NotFoundError, "id")
        assert error.message.endswith(f"No such File object: {file.id}") or "No such File object" in error.message


@row("big upload", light=True)
def big_upload(stage: Stage) -> None:
    content = jsonl(chat_rows(40_000))  # 2.7 MB: three parts
    uploads = stage.client.uploads
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.jsonl"
        path.write_bytes(content)
        done = uploads.upload_file_chunked(
            file=path,
            mime_type="text/jsonl",
            purpose="fine-tune",
            part_size=1 << 20,
            md5=hashlib.md5(content).hexdigest(),
        )
    assert done.status == "completed" and done.file is not None and done.file.bytes == len(content)
    assert stage.client.files.content(done.file.id).read() == content
    short = uploads.create(filename="t.jsonl", purpose="fine-tune", bytes=len(content) + 1, mime_type="text/jsonl")
    part = uploads.parts.create(short.id, data=content[:1000])
    refused(lambda: uploads.complete(short.id, part_ids=[part.id]), BadRequestError)
    assert uploads.cancel(short.id).status == "cancelled"
