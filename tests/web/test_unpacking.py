"""Packed datasets: uploaded like any other, unpacked by the worker, told of on their page."""

import gzip
import hashlib
import json
from unittest.mock import patch

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.models import Project
from tests.factories import chat_rows
from training import checks, files
from training.intake import arriving
from training.models import DatasetFile

ROWS = "".join(json.dumps(row) + "\n" for row in chat_rows(12)).encode()
PACKED = gzip.compress(ROWS)


def packed_file(project: Project, content: bytes = PACKED, name: str = "rows.jsonl.gz") -> DatasetFile:
    return files.create_file(project, None, name, "fine-tune", content)


def checked(file: DatasetFile) -> DatasetFile:
    checks.check(file.id)
    file.refresh_from_db()
    return file


def test_a_packed_upload_becomes_the_dataset_inside_and_remembers_what_came(
    owner_client: Client, project: Project
) -> None:
    owner_client.post("/datasets/upload", {"file": SimpleUploadedFile("rows.jsonl.gz", PACKED)})
    file = checked(project.files.get())
    assert (file.filename, file.status, file.rows, file.format) == ("rows.jsonl", "processed", 12, "chat")
    assert file.path.read_bytes() == ROWS
    assert (file.bytes, file.sha256) == (len(ROWS), hashlib.sha256(ROWS).hexdigest())
    assert file.origin["kind"] == "unpacked"
    assert file.origin["packed_sha256"] == hashlib.sha256(PACKED).hexdigest()
    assert file.origin["packed_name"] == "rows.jsonl.gz"
    for address in ("/datasets/", f"/datasets/{file.pk}/"):
        assert "from rows.jsonl.gz" in owner_client.get(address).text


def test_a_packed_upload_is_never_unpacked_while_its_sender_waits(project: Project) -> None:
    assert packed_file(project).status == "uploaded"


def test_a_damaged_packed_file_says_so_and_keeps_what_came(project: Project) -> None:
    file = checked(packed_file(project, PACKED[:-20]))
    assert (file.status, file.problem_count) == ("error", 1)
    assert "cut off" in file.problems[0]["message"]
    assert file.path.read_bytes() == PACKED[:-20]


def test_a_check_that_dies_before_the_content_is_replaced_ends_the_same_when_done_again(project: Project) -> None:
    file = packed_file(project)
    with patch("pathlib.Path.replace", side_effect=OSError(5, "Input/output error")), pytest.raises(OSError):
        checks.check(file.id)
    again = checked(DatasetFile.objects.get(pk=file.pk))
    assert (again.filename, again.status, again.origin["packed_name"]) == ("rows.jsonl", "processed", "rows.jsonl.gz")
    assert again.origin["packed_sha256"] == hashlib.sha256(PACKED).hexdigest()
    assert again.sha256 == hashlib.sha256(ROWS).hexdigest()


def test_a_disk_without_room_for_what_is_inside_says_so(project: Project) -> None:
    with patch("training.intake.arriving.free_bytes", return_value=arriving.SPARE_BYTES + 100):
        file = checked(packed_file(project))
    assert file.status == "error" and "no room on this server's disk" in file.status_details
    assert checked(file).status == "processed"


def test_the_api_takes_no_packed_file_and_keeps_none(client: Client, api_key: str, project: Project) -> None:
    sent = {"purpose": "fine-tune", "file": SimpleUploadedFile("rows.jsonl.gz", PACKED)}
    answer = client.post("/v1/files", sent, headers={"Authorization": f"Bearer {api_key}"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "file")
    assert error["message"].startswith("Expected file to have JSONL format, where every line is a JSON dictionary.")
    assert not project.files.exists()


WIDE = {"utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32": "UTF-32"}


@pytest.mark.parametrize("encoding", WIDE)
def test_jsonl_in_utf_16_becomes_the_same_rows_in_utf_8(owner_client: Client, project: Project, encoding: str) -> None:
    rows = ROWS.replace(b"done", "fertig, schöne Grüße 🙂".encode())
    file = files.create_file(project, None, "rows.jsonl", "fine-tune", rows.decode().encode(encoding))
    assert (file.status, file.rows, file.format) == ("processed", 12, "chat")
    assert file.path.read_bytes() == rows
    assert (file.bytes, file.sha256) == (len(rows), hashlib.sha256(rows).hexdigest())
    words = f"Rewritten from {WIDE[encoding]} as UTF-8."
    assert file.origin == {"kind": "rewritten", "words": words}
    assert words in owner_client.get(f"/datasets/{file.pk}/", {"tab": "versions"}).text
    assert checked(file).path.read_bytes() == rows


def test_utf_16_inside_a_packed_file_is_read_and_raw_text_too(project: Project) -> None:
    file = checked(packed_file(project, gzip.compress(ROWS.decode().encode("utf-16"))))
    assert (file.status, file.origin["packed_name"]) == ("processed", "rows.jsonl.gz")
    assert file.origin["words"] == "Unpacked from rows.jsonl.gz (gzip). Rewritten from UTF-16 as UTF-8."
    story = files.create_file(project, None, "story.txt", "fine-tune", "Es war einmal ein Schlößchen.".encode("utf-16"))
    assert (story.status, story.path.read_text()) == ("processed", "Es war einmal ein Schlößchen.")


def test_a_rewriting_that_dies_ends_the_same_when_done_again(project: Project) -> None:
    wide = ROWS.decode().encode("utf-16")
    with patch("training.checks.check"):
        file = files.create_file(project, None, "rows.jsonl", "fine-tune", wide)
    with patch("pathlib.Path.replace", side_effect=OSError(5, "Input/output error")), pytest.raises(OSError):
        checks.check(file.id)
    assert file.path.read_bytes() == wide
    file = checked(file)
    assert file.path.read_bytes() == ROWS and file.origin["words"].count("Rewritten") == 1


def test_utf_16_that_cannot_be_decoded_is_told_and_kept(project: Project) -> None:
    wide = ROWS.decode().encode("utf-16")[:-1]
    file = files.create_file(project, None, "rows.jsonl", "fine-tune", wide)
    assert (file.status, file.path.read_bytes()) == ("error", wide)
    assert "begins as UTF-16 text does" in file.problems[0]["message"]
    assert not file.part_path.exists()
