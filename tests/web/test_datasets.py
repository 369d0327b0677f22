"""Dataset screens: upload, list, detail, split, rename, delete; who may see what."""

import html
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from dashboard.views import dataset_page
from training import checks, files, uploads
from training.models import BaseModel, DatasetFile, TrainingJob


def chat(question: str, answer: str, **more: Any) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages, **more})


def chat_file(rows: int = 12) -> bytes:
    return "".join(chat(f"What is {n} and {n}?", f"It is {2 * n}.") + "\n" for n in range(rows)).encode()


@pytest.fixture
def dataset(project: Project) -> DatasetFile:
    return files.create_file(project, None, "sums.jsonl", "fine-tune", chat_file())


@pytest.fixture
def starter(db: None) -> BaseModel:
    folder = Path(__file__).resolve().parents[2] / "var/models/SmolLM2-135M-Instruct"
    if not folder.exists():
        pytest.skip("the starter model is not on disk")
    return BaseModel.objects.create(name="SmolLM2-135M-Instruct", folder=str(folder), status="ready", source="package")


def job_on(file: DatasetFile, **more: Any) -> TrainingJob:
    base, _ = BaseModel.objects.get_or_create(name="tiny", defaults={"source": "folder"})
    return TrainingJob.objects.create(
        project=file.project, base_model=base, training_file=file, label="First try", **more
    )


# ---- the list ----


def test_an_empty_list_teaches_and_offers_the_samples(owner_client: Client) -> None:
    page = owner_client.get("/datasets/").content.decode()
    assert "Drop a JSONL file anywhere" in page
    assert "Load the sample datasets" in page


def test_the_samples_come_in_one_press_and_once_only(owner_client: Client, project: Project) -> None:
    owner_client.post("/datasets/samples")
    owner_client.post("/datasets/samples")
    names = sorted(project.files.values_list("filename", flat=True))
    assert names == sorted(f"{task}-{part}.jsonl" for task in files.SAMPLE_TASKS for part in ("train", "valid"))
    assert set(project.files.values_list("status", flat=True)) == {"processed"}


def test_the_list_shows_state_size_and_use(owner_client: Client, dataset: DatasetFile) -> None:
    job_on(dataset)
    page = owner_client.get("/datasets/").content.decode()
    assert "sums.jsonl" in page and "Ready" in page and "1 job" in page


def test_htmx_gets_the_table_alone(owner_client: Client, dataset: DatasetFile) -> None:
    part = owner_client.get("/datasets/", headers={"HX-Request": "true"}).content.decode()
    assert "sums.jsonl" in part and "<html" not in part


def test_a_list_with_an_unfinished_upload_asks_again_and_says_how_to_go_on(
    owner_client: Client, project: Project
) -> None:
    file = uploads.begin_upload(project, None, "big.jsonl", 1000)
    uploads.append_chunk(file, 0, b"x" * 250)
    page = owner_client.get("/datasets/").content.decode()
    assert "every 2s" in page and "25.0 % arrived" in page and "choose the same file again" in page.lower()


def test_nobody_sees_the_datasets_of_another_project(stranger_client: Client, dataset: DatasetFile) -> None:
    assert "sums.jsonl" not in stranger_client.get("/datasets/").content.decode()


@pytest.mark.parametrize("name", ["dataset", "dataset-rows", "dataset-tokens", "dataset-content"])
def test_a_stranger_gets_404_for_every_page_of_a_dataset(
    stranger_client: Client, dataset: DatasetFile, name: str
) -> None:
    assert stranger_client.get(reverse(name, args=[dataset.id])).status_code == 404


@pytest.mark.parametrize(
    "name", ["upload-chunk", "finish-upload", "split-dataset", "rename-dataset", "delete-dataset", "check-dataset"]
)
def test_a_stranger_gets_404_for_every_action_on_a_dataset(
    stranger_client: Client, dataset: DatasetFile, name: str
) -> None:
    assert stranger_client.post(reverse(name, args=[dataset.id])).status_code == 404
    dataset.refresh_from_db()
    assert dataset.path.exists()


def test_signed_out_people_are_sent_to_sign_in(client: Client, db: None) -> None:
    assert client.get("/datasets/").status_code == 302


# ---- uploading ----


def begin(client: Client, content: bytes, name: str = "rows.jsonl", modified: int = 7) -> dict[str, Any]:
    return client.post("/datasets/uploads", {"filename": name, "bytes": len(content), "modified": modified}).json()


def send(client: Client, url: str, offset: int, piece: bytes) -> Any:
    return client.post(f"{url}chunks?offset={offset}", piece, content_type="application/octet-stream")


def test_an_upload_in_pieces_arrives_whole_and_is_checked_at_once(owner_client: Client, project: Project) -> None:
    content = chat_file()
    begun = begin(owner_client, content)
    for at in range(0, len(content), 300):
        assert send(owner_client, begun["url"], at, content[at : at + 300]).status_code == 200
    finished = owner_client.post(begun["url"] + "finish").json()
    file = project.files.get()
    assert finished == {"id": file.id, "status": "processed", "url": f"/datasets/{file.id}/"}
    assert file.path.read_bytes() == content
    assert not file.part_path.exists()
    assert (file.rows, file.format, file.bytes) == (12, "chat", len(content))
    assert len(file.sha256) == 64


def test_an_upload_says_that_it_stands_still_only_when_it_does(owner_client: Client, project: Project) -> None:
    content = chat_file()
    begun = begin(owner_client, content)
    send(owner_client, begun["url"], 0, content[:300])
    moving = owner_client.get("/datasets/").content.decode()
    assert "% arrived" in moving and "It stands still" not in moving and "closed or loaded anew" in moving
    part = project.files.get().part_path
    os.utime(part, (part.stat().st_mtime - 60,) * 2)
    assert "It stands still" in owner_client.get("/datasets/").content.decode()
    send(owner_client, begun["url"], 300, content[300:])
    os.utime(part, (part.stat().st_mtime - 60,) * 2)
    whole = owner_client.get("/datasets/").content.decode()
    assert "It stands still" not in whole and "Checking" in whole, "everything is here: it is being finished"


def test_a_wrong_offset_is_answered_with_the_servers_size(owner_client: Client) -> None:
    content = chat_file()
    begun = begin(owner_client, content)
    send(owner_client, begun["url"], 0, content[:100])
    answer = send(owner_client, begun["url"], 50, content[50:])
    assert answer.status_code == 409 and answer.json()["received"] == 100


def test_after_a_reload_the_same_file_goes_on_where_it_was(owner_client: Client) -> None:
    content = chat_file()
    begun = begin(owner_client, content)
    send(owner_client, begun["url"], 0, content[:100])
    again = begin(owner_client, content)
    assert (again["id"], again["received"]) == (begun["id"], 100)


def test_a_file_that_was_edited_since_starts_anew(owner_client: Client) -> None:
    content = chat_file()
    begun = begin(owner_client, content)
    send(owner_client, begun["url"], 0, content[:100])
    again = begin(owner_client, content, modified=8)
    assert again["id"] != begun["id"] and again["received"] == 0


def test_more_bytes_than_announced_are_refused(owner_client: Client) -> None:
    begun = begin(owner_client, b"x" * 10)
    answer = send(owner_client, begun["url"], 0, b"x" * 11)
    assert answer.status_code == 400 and "announced" in answer.json()["error"]


def test_an_upload_cannot_be_finished_early(owner_client: Client) -> None:
    begun = begin(owner_client, b"x" * 10)
    send(owner_client, begun["url"], 0, b"x" * 4)
    answer = owner_client.post(begun["url"] + "finish")
    assert answer.status_code == 409 and answer.json()["received"] == 4


def test_an_empty_file_is_refused_before_it_is_sent(owner_client: Client, project: Project) -> None:
    answer = owner_client.post("/datasets/uploads", {"filename": "a.jsonl", "bytes": 0})
    assert answer.status_code == 400 and "empty" in answer.json()["error"]
    assert not project.files.exists()


@pytest.mark.parametrize("offset", ["", "-1", "many", "1.5"])
def test_an_offset_that_is_no_number_is_refused(owner_client: Client, offset: str) -> None:
    begun = begin(owner_client, b"x" * 10)
    answer = owner_client.post(f"{begun['url']}chunks?offset={offset}", b"x", content_type="application/octet-stream")
    assert answer.status_code == 400


def test_cancelling_removes_what_has_arrived(
    owner_client: Client, project: Project, django_capture_on_commit_callbacks: Any
) -> None:
    begun = begin(owner_client, b"x" * 10)
    send(owner_client, begun["url"], 0, b"x" * 4)
    folder = project.files.get().part_path.parent
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(begun["url"] + "delete", headers={"Accept": "application/json"})
    assert not project.files.exists() and not folder.exists()


def test_a_full_disk_is_said_clearly_and_leaves_nothing_behind(
    owner_client: Client, project: Project, django_capture_on_commit_callbacks: Any
) -> None:
    begun = begin(owner_client, b"x" * 10)
    file = project.files.get()
    file.part_path.unlink()
    file.part_path.symlink_to("/dev/full")  # a device that answers every write with "no space left"
    with django_capture_on_commit_callbacks(execute=True):
        answer = send(owner_client, begun["url"], 0, b"x" * 10)
    assert answer.status_code == 507
    assert "disk of this server is full" in answer.json()["error"]
    assert not project.files.exists() and not file.part_path.parent.exists()
    assert owner_client.get("/datasets/").status_code == 200


def test_a_file_larger_than_the_free_disk_is_refused_before_it_is_sent(
    owner_client: Client, project: Project, settings: Any
) -> None:
    settings.HONE_MAX_FILE_GB = 10**9
    answer = owner_client.post("/datasets/uploads", {"filename": "a.jsonl", "bytes": 10**17})
    assert answer.status_code == 507 and "free" in answer.json()["error"]
    assert not project.files.exists()


def test_a_file_above_the_servers_limit_is_refused(owner_client: Client, settings: Any) -> None:
    settings.HONE_MAX_FILE_GB = 0.001
    answer = owner_client.post("/datasets/uploads", {"filename": "a.jsonl", "bytes": 2_000_000})
    assert answer.status_code == 413 and "HONE_MAX_FILE_GB" in answer.json()["error"]


def test_the_plain_form_works_without_javascript(owner_client: Client, project: Project) -> None:
    sent = SimpleUploadedFile("plain.jsonl", chat_file())
    answer = owner_client.post("/datasets/upload", {"file": sent})
    assert answer.headers["Location"] == f"/datasets/{project.files.get().id}/"


def test_the_plain_form_without_a_file_says_so(owner_client: Client) -> None:
    page = owner_client.post("/datasets/upload", follow=True).content.decode()
    assert "Choose a file first." in page


def test_a_path_in_a_name_is_cut_off(owner_client: Client, project: Project) -> None:
    begin(owner_client, b"x", name="../../etc\\passwd\n.jsonl")
    assert project.files.get().filename == "passwd.jsonl"


# ---- one dataset ----


def test_the_detail_page_gives_the_verdict_and_the_rows(owner_client: Client, dataset: DatasetFile) -> None:
    page = owner_client.get(f"/datasets/{dataset.id}/").content.decode()
    assert "12 rows, ready" in page
    assert "What is 3 and 3?" in page and "It is 6." in page


@pytest.mark.parametrize("tab", [tab for tab in dataset_page.TABS if tab != "table"])
def test_each_tab_stands_under_the_same_head(owner_client: Client, dataset: DatasetFile, tab: str) -> None:
    page = owner_client.get(f"/datasets/{dataset.id}/?tab={tab}").content.decode()
    assert "12 rows" in page and "chat format" in page and f'href="?tab={tab}#tabs" aria-current="page"' in page


def test_a_page_that_waits_for_the_check_is_told_to_reload_when_it_is_done(
    owner_client: Client, dataset: DatasetFile
) -> None:
    answer = owner_client.get(f"/datasets/{dataset.id}/", headers={"HX-Request": "true"})
    assert answer.headers["HX-Refresh"] == "true"


def test_a_page_shows_how_far_the_check_has_come(owner_client: Client, dataset: DatasetFile) -> None:
    DatasetFile.objects.update(status="uploaded", check_share=0.25)
    page = owner_client.get(f"/datasets/{dataset.id}/").content.decode()
    assert "Checking: 25 % read" in page and "every 1s" in page


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not json\n", "not valid JSON"),
        (b'{"messages": [{"role": "user", "content": "caf\xe9"}]}\n', "is not UTF-8"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}\n', "is not known"),
        (b"PK\x03\x04" + b"\0" * 60, "zip archive"),
        (b"\n\n", "only blank lines"),
        (b'{"messages": [{"role": "user", "content": "' + b"x" * (11 << 20) + b'"}]}\n', "longer than 10 MiB"),
    ],
    ids=["not json", "not utf-8", "wrong role", "zip", "blank", "11 MB line"],
)
def test_a_bad_file_has_a_page_that_says_what_is_wrong(
    owner_client: Client, project: Project, content: bytes, said: str
) -> None:
    file = files.create_file(project, None, "bad.jsonl", "fine-tune", content)
    checks.ensure_checked(file)
    page = owner_client.get(f"/datasets/{file.id}/").content.decode()
    assert said in page and "Train with this" not in page
    assert "problem" in owner_client.get("/datasets/").content.decode()


def test_one_row_is_kept_for_validation_and_says_that_training_needs_ten(
    owner_client: Client, project: Project
) -> None:
    file = files.create_file(project, None, "one.jsonl", "fine-tune", chat_file(1))
    page = owner_client.get(f"/datasets/{file.id}/").content.decode()
    assert "1 row: too few to train on" in page and "at least 10" in page


def test_a_file_gone_from_the_disk_leaves_its_page_alive(owner_client: Client, dataset: DatasetFile) -> None:
    dataset.path.unlink()
    assert "gone from the disk" in owner_client.get(f"/datasets/{dataset.id}/").content.decode()
    assert "File is gone" in owner_client.get("/datasets/").content.decode()
    assert owner_client.get(f"/datasets/{dataset.id}/content").status_code == 302
    assert owner_client.get(f"/datasets/{dataset.id}/rows").status_code == 200


def test_what_a_row_says_is_escaped(owner_client: Client, project: Project) -> None:
    content = (chat("<script>alert(1)</script>", "no") + "\n").encode() * 10
    file = files.create_file(project, None, "<b>.jsonl", "fine-tune", content)
    page = owner_client.get(f"/datasets/{file.id}/").content.decode()
    assert "<script>alert" not in page and "&lt;script&gt;" in page and "<b>.jsonl" not in page


def test_rows_are_paged_and_a_line_can_be_jumped_to(owner_client: Client, project: Project) -> None:
    file = files.create_file(project, None, "many.jsonl", "fine-tune", chat_file(2500))
    part = owner_client.get(f"/datasets/{file.id}/rows?line=2345").content.decode()
    assert "What is 2344 and 2344?" in part and "What is 2353 and" in part and "What is 2354 and" not in part
    assert "line=2335" in part and "line=2355" in part


@pytest.mark.parametrize("line", ["-5", "abc", "99999999999", "0", ""])
def test_a_line_that_is_not_there_shows_some_rows_all_the_same(
    owner_client: Client, dataset: DatasetFile, line: str
) -> None:
    assert "What is" in owner_client.get(f"/datasets/{dataset.id}/rows?line={line}").content.decode()


def test_a_masked_answer_is_marked(owner_client: Client, project: Project) -> None:
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c", "name": "Ada"},
        {"role": "assistant", "content": "d", "weight": 1},
    ]
    file = files.create_file(project, None, "w.jsonl", "fine-tune", json.dumps({"messages": messages}).encode())
    page = owner_client.get(f"/datasets/{file.id}/").content.decode()
    assert page.count("not trained on") == 1 and "Ada" in page


def test_tokens_are_counted_by_the_chosen_models_own_tokenizer(
    owner_client: Client, dataset: DatasetFile, starter: BaseModel
) -> None:
    part = owner_client.get(f"/datasets/{dataset.id}/tokens?model={starter.name}").content.decode()
    dataset.refresh_from_db()
    facts = dataset.facts_for(starter)
    assert facts and facts.rows == 12 and 0 < facts.trained_tokens < facts.tokens
    assert "<rect" in part and "Trained on" in part


def test_without_a_model_on_disk_the_token_card_says_where_to_get_one(
    owner_client: Client, dataset: DatasetFile
) -> None:
    assert "none is on disk yet" in owner_client.get(f"/datasets/{dataset.id}/tokens").content.decode()


def test_download_gives_the_bytes_as_they_came(owner_client: Client, dataset: DatasetFile) -> None:
    answer = owner_client.get(f"/datasets/{dataset.id}/content")
    assert b"".join(answer.streaming_content) == chat_file()
    assert "sums.jsonl" in answer.headers["Content-Disposition"]


# ---- what can be done with it ----


def test_a_split_makes_two_files_and_keeps_the_first(owner_client: Client, dataset: DatasetFile) -> None:
    owner_client.post(f"/datasets/{dataset.id}/split", {"percent": "25", "seed": "3"})
    train, valid = (DatasetFile.objects.get(filename=f"sums-{part}.jsonl") for part in ("train", "valid"))
    assert (train.rows, valid.rows, train.parent, valid.status) == (9, 3, dataset, "processed")
    assert sorted(train.path.read_bytes().splitlines() + valid.path.read_bytes().splitlines()) == sorted(
        dataset.path.read_bytes().splitlines()
    )


@pytest.mark.parametrize(
    "form", [{"count": "12"}, {"count": "0"}, {"percent": "0.1"}, {"percent": "x"}, {"percent": "100"}]
)
def test_a_split_that_leaves_a_part_empty_is_refused(
    owner_client: Client, dataset: DatasetFile, form: dict[str, str]
) -> None:
    owner_client.post(f"/datasets/{dataset.id}/split", form)
    assert DatasetFile.objects.count() == 1


def test_rename_changes_the_name_and_refuses_none(owner_client: Client, dataset: DatasetFile) -> None:
    owner_client.post(f"/datasets/{dataset.id}/rename", {"filename": "adding.jsonl"})
    owner_client.post(f"/datasets/{dataset.id}/rename", {"filename": "  "})
    dataset.refresh_from_db()
    assert dataset.filename == "adding.jsonl"


def test_delete_frees_the_disk(
    owner_client: Client, dataset: DatasetFile, django_capture_on_commit_callbacks: Any
) -> None:
    folder = dataset.path.parent
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(f"/datasets/{dataset.id}/delete")
    assert not folder.exists() and not DatasetFile.objects.exists()


def test_delete_is_refused_while_a_job_needs_the_file(owner_client: Client, dataset: DatasetFile) -> None:
    job_on(dataset, status="queued")
    page = owner_client.post(f"/datasets/{dataset.id}/delete", follow=True).content.decode()
    assert "needed by a job that has not ended (First try)" in page
    assert dataset.path.exists()


def test_the_delete_question_names_what_depends_on_the_file(owner_client: Client, dataset: DatasetFile) -> None:
    job_on(dataset)
    page = owner_client.get(f"/datasets/{dataset.id}/").content.decode()
    assert "It is behind 1 job (First try). What they made stays, but a rerun will need another file." in page


def test_a_row_with_tools_names_them_and_shows_calls_as_they_are_meant(owner_client: Client, project: Project) -> None:
    arguments = json.dumps({"city": "Köln"})
    call = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    messages = [{"role": "user", "content": "Rain?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": name}} for name in ("weather", "clock")]
    line = json.dumps({"messages": messages, "tools": tools}) + "\n"
    file = files.create_file(project, None, "calls.jsonl", "fine-tune", (line * 12).encode())
    page = html.unescape(owner_client.get(f"/datasets/{file.id}/").content.decode())
    rows = page[page.index('id="rows"') :]
    assert "weather, clock" in rows and '"city": "Köln"' in rows
    assert "null" not in rows and chr(92) not in rows, "nothing is escaped"


def test_nobody_says_raw_text(owner_client: Client, project: Project) -> None:
    line = json.dumps({"text": "Once upon a time."}) + "\n"
    file = files.create_file(project, None, "tales.jsonl", "fine-tune", (line * 12).encode())
    page = owner_client.get(f"/datasets/{file.id}/").content.decode()
    assert "Once upon a time." in page and "assistant · text" not in page and "unknown role" not in page


def test_a_second_upload_of_the_same_content_says_so(owner_client: Client, project: Project) -> None:
    content = chat_file(12)
    first, second = (files.create_file(project, None, name, "fine-tune", content) for name in ("a.jsonl", "b.jsonl"))
    page = owner_client.get(f"/datasets/{second.pk}/").content.decode()
    assert "byte for byte" in page and f'href="/datasets/{first.pk}/"' in page
    other = files.create_file(project, None, "c.jsonl", "fine-tune", chat_file(13))
    assert "byte for byte" not in owner_client.get(f"/datasets/{other.pk}/").content.decode()


def test_a_job_that_a_bad_file_fails_says_how_many_more_problems_there_are(project: Project) -> None:
    bad = b'{"messages": [{"role": "human", "content": "x"}]}\n'
    file = files.create_file(project, None, "bad.jsonl", "fine-tune", chat_file(12) + bad * 3)
    refused = checks.refusal(file)
    assert refused and refused.message.endswith(f"({file.problem_count - 1} more problems in bad.jsonl)")


def test_a_check_that_failed_can_be_begun_again_where_it_is_told(owner_client: Client, dataset: DatasetFile) -> None:
    details = "The check itself failed; the reason stands in the worker's log. Press Check again."
    DatasetFile.objects.update(status="error", status_details=details, rows=0, problems=[], problem_count=0)
    page = owner_client.get(f"/datasets/{dataset.pk}/").text
    assert 'class="verdict__again"' in page and details.split(";")[0] in page
    assert "Check failed" in owner_client.get("/datasets/").text
    DatasetFile.objects.update(status="uploaded", check_share=0.0)
    assert "Waiting to be checked" in owner_client.get(f"/datasets/{dataset.pk}/").text
    assert "Waits for its check" in owner_client.get("/datasets/").text
