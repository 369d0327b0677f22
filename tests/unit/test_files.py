"""Files of a project: taken in whole or not at all, checked, counted, refused with OpenAI's words."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.errors import ApiError
from accounts.models import Project
from tests.factories import preference_rows, tiny_model
from training import checks, file_tasks, files, token_counts, uploads
from training.engine.chat import ChatFormat
from training.engine.pairs import encode_pair
from training.models import BaseModel, DatasetFile, TrainingJob
from training.tasks import check_file, do_file_task


def rows(count: int = 12, text: str = "") -> bytes:
    lines = []
    for number in range(count):
        question = {"role": "user", "content": f"{number} and {number}? {text}"}
        lines.append(json.dumps({"messages": [question, {"role": "assistant", "content": str(2 * number)}]}))
    return ("\n".join(lines) + "\n").encode()


def make(project: Project, content: bytes, name: str = "rows.jsonl", purpose: str = "fine-tune") -> DatasetFile:
    return files.create_file(project, None, name, purpose, content)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What would be sent to the worker; the queue itself has tests of its own."""
    sent: list[tuple] = []
    for actor in (check_file, do_file_task):
        monkeypatch.setattr(actor, "send", lambda *values: sent.append(values))
    return sent


class OneTokenACharacter:
    """Stands for a chat format: every row has as many tokens as its question has characters."""

    def encode_row(self, row: dict[str, Any]) -> Any:
        from training.engine.chat import Encoded

        length = len(row["messages"][0]["content"])
        return Encoded(token_ids=[0] * length, weights=[0.0] * (length - 2) + [1.0, 1.0])

    def encode_texts(self, texts: list[str]) -> list[list[int]]:
        return [[0] * len(text) for text in texts]


def test_a_small_file_is_checked_before_create_returns(project: Project) -> None:
    file = make(project, rows())
    assert (file.status, file.rows, file.format, file.check_share) == ("processed", 12, "chat", 1.0)


def test_a_large_file_waits_for_the_worker(
    project: Project, queue: list[tuple], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        file = make(project, rows(2000, "x" * 2100))
    assert file.status == "uploaded" and queue == [(file.id,)]
    checks.check(file.id)
    file.refresh_from_db()
    assert (file.status, file.rows) == ("processed", 2000)


def test_a_large_file_is_checked_here_and_now_when_a_job_needs_it(project: Project, queue: list[tuple]) -> None:
    file = make(project, rows(2000, "x" * 2100))
    assert checks.ensure_checked(file).status == "processed"


def test_a_file_of_another_purpose_is_not_checked(project: Project) -> None:
    assert make(project, b"step,loss\n", "metrics.csv", "fine-tune-results").status == "processed"


def test_checking_a_file_that_was_deleted_meanwhile_is_quiet(project: Project) -> None:
    file = make(project, rows())
    DatasetFile.objects.all().delete()
    checks.check(file.id)
    assert not DatasetFile.objects.exists()


def test_a_file_gone_from_the_disk_is_an_error_with_advice(project: Project) -> None:
    file = make(project, rows())
    file.path.unlink()
    checks.check(file.id)
    file.refresh_from_db()
    assert file.status == "error" and "Upload it again" in file.status_details
    refusal = checks.refusal(file)
    assert refusal and refusal.code == "invalid_training_file" and "gone from the disk" in refusal.message


def test_a_full_disk_leaves_neither_row_nor_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = files.home.home() / "files"
    before = set(folders.glob("*"))
    monkeypatch.setattr(DatasetFile, "part_path", property(lambda self: Path("/dev/full")))
    with pytest.raises(ApiError, match="disk of this server is full") as caught:
        make(project, rows())
    assert caught.value.status == 507 and caught.value.code == "disk_full"
    assert not DatasetFile.objects.exists()
    assert set(folders.glob("*")) == before


def test_a_disk_that_fills_up_during_an_upload_leaves_nothing_of_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = uploads.begin_upload(project, None, "big.jsonl", 3_000_000)
    folder = files.home.file_folder(file.id)
    uploads.append_chunk(file, 0, b"x" * 1_000_000)
    monkeypatch.setattr(DatasetFile, "part_path", property(lambda self: Path("/dev/full")))
    with pytest.raises(ApiError, match="nothing of it was kept"):
        uploads.append_chunk(file, 0, b"x" * 1_000_000)
    assert not DatasetFile.objects.exists()
    assert not folder.exists()


def test_expiry_is_counted_from_now(project: Project) -> None:
    file = files.create_file(
        project, None, "a.jsonl", "fine-tune", rows(), expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at and 3590 < (file.expires_at - timezone.now()).total_seconds() <= 3600


def test_expired_files_and_forgotten_uploads_are_removed(
    project: Project, django_capture_on_commit_callbacks: Any
) -> None:
    kept = make(project, rows())
    expired = make(project, rows())
    DatasetFile.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    forgotten = uploads.begin_upload(project, None, "big.jsonl", 100)
    DatasetFile.objects.filter(pk=forgotten.pk).update(created_at=timezone.now() - 2 * files.STALE_UPLOAD)
    with django_capture_on_commit_callbacks(execute=True):
        assert files.remove_stale() == 2
    assert list(DatasetFile.objects.all()) == [kept]
    assert not expired.path.exists() and kept.path.exists()


# ---- what a job says ----


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (rows(7), "invalid_n_examples", "Training file has 7 example(s), but must have at least 10 examples"),
        (b"x\n" * 10, "invalid_training_file", "Invalid file format. Example 1 This line is not valid JSON"),
        (b'{"text": "x"}\n' * 10, "invalid_training_file", "in the text format"),
        (
            b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 10,
            "invalid_training_file",
            "is in the fine-tune-preference format, but the specified fine-tuning job is not using 'dpo' as the "
            "training method (provided method=supervised)",
        ),
        (b"", "invalid_training_file", "The file is empty"),
    ],
)
def test_a_file_that_cannot_be_trained_on_is_refused_in_openais_words(
    project: Project, content: bytes, code: str, said: str
) -> None:
    refusal = checks.refusal(make(project, content))
    assert refusal and (refusal.code, refusal.param) == (code, "training_file") and said in refusal.message


def test_preference_rows_are_for_dpo_and_chat_rows_are_not(project: Project) -> None:
    pairs = make(project, "".join(json.dumps(row) + "\n" for row in preference_rows(12)).encode())
    assert checks.refusal(pairs, method="dpo") is None and checks.method_for(pairs) == "dpo"
    refusal = checks.refusal(make(project, rows(12)), method="dpo")
    assert refusal and refusal.message.endswith(
        "is in the fine-tune-chat format, but the specified fine-tuning job is not using 'supervised' as the training "
        "method (provided method=dpo)."
    )


def test_both_answers_of_a_preference_row_are_counted_with_the_input_before_each(
    project: Project, tmp_path: Path
) -> None:
    chat = ChatFormat.load(tiny_model(tmp_path / "tiny"))
    pairs = make(project, "".join(json.dumps(row) + "\n" for row in preference_rows(12)).encode())
    facts = token_counts.count_tokens(pairs.path, chat)
    sides = [chat.encode_row(side) for row in preference_rows(12) for side in both(row)]
    assert facts.rows == 12 and facts.lengths == [len(side.token_ids) for side in sides]
    assert (facts.tokens, facts.longest_tokens) == (sum(facts.lengths), max(facts.lengths))
    assert facts.trained_tokens == sum(side.trained_tokens for side in sides)
    for cut, left in ((facts.least_length, True), (facts.least_length - 1, False)):
        assert any(encode_pair(chat, row, cut).trained_tokens for row in preference_rows(12)) is left


def both(row: dict) -> list[dict]:
    return [
        {"messages": [*row["input"]["messages"], *row[key]]} for key in ("preferred_output", "non_preferred_output")
    ]


def test_a_validation_file_may_be_short(project: Project) -> None:
    assert checks.refusal(make(project, rows(3)), rows_needed=1, name="validation") is None


# ---- tokens ----


def test_token_totals_are_exact_and_lengths_an_even_sample(project: Project) -> None:
    file = make(project, rows(5000))
    facts = token_counts.count_tokens(file.path, OneTokenACharacter())
    lengths = [len(f"{n} and {n}? ") for n in range(5000)]
    assert (facts.rows, facts.tokens, facts.trained_tokens) == (5000, sum(lengths), 10_000)
    assert facts.longest_tokens == max(lengths)
    assert 1000 <= len(facts.lengths) <= 2000
    assert facts.lengths == lengths[:: 5000 // len(facts.lengths)][: len(facts.lengths)]


def test_token_counts_are_kept_and_not_counted_twice(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr(token_counts, "chat_format", lambda model: asked.append(model) or OneTokenACharacter())
    model = BaseModel.objects.create(name="tiny", source="folder")
    file = make(project, rows())
    first = token_counts.token_facts(file, model)
    assert token_counts.token_facts(DatasetFile.objects.get(pk=file.pk), model) == first
    assert len(asked) == 1


def test_tokens_of_a_large_file_are_counted_by_the_worker_and_asked_for_once(
    project: Project, queue: list[tuple], django_capture_on_commit_callbacks: Any
) -> None:
    model = BaseModel.objects.create(name="tiny", source="folder")
    file = make(project, rows(600, "x" * 2100))
    with django_capture_on_commit_callbacks(execute=True):
        assert token_counts.facts_or_start(file, model) is None
        assert token_counts.facts_or_start(file, model) is None
    assert queue == [(token_counts.task_of(file, model).pk,)]


def test_a_count_tells_how_far_it_is(project: Project) -> None:
    file, said = make(project, rows(1000)), []
    token_counts.count_tokens(file.path, OneTokenACharacter(), lines=1000, progress=said.append)
    assert said == sorted(said) and len(said) > 10 and 0 < said[0] < 0.1 and 0.9 < said[-1] <= 1


def test_tokens_are_counted_unasked_once_there_is_a_base_model(project: Project, tmp_path: Path) -> None:
    file = make(project, rows())
    assert list(token_counts.uncounted()) == [], "no base model is on disk"
    folder = tiny_model(tmp_path / "tiny")
    model = BaseModel.objects.create(name="tiny", source="folder", folder=str(folder), status="ready")
    assert list(token_counts.uncounted()) == [(file, model)]
    assert list(token_counts.uncounted()) == [], "a worker is told once"
    file_tasks.run(token_counts.ask_worker(file, model).pk)
    file.refresh_from_db()
    assert file.token_facts["tiny"]["rows"] == 12


def test_a_new_check_forgets_the_token_counts(project: Project) -> None:
    file = make(project, rows())
    DatasetFile.objects.filter(pk=file.pk).update(token_facts={"tiny": {}})
    checks.check_again(DatasetFile.objects.get(pk=file.pk))
    assert DatasetFile.objects.get(pk=file.pk).token_facts == {}


# ---- deleting ----


@pytest.mark.parametrize("role", ["training_file", "validation_file"])
@pytest.mark.parametrize("status", ["validating_files", "queued", "running", "paused"])
def test_a_file_is_kept_while_an_unfinished_job_needs_it(project: Project, role: str, status: str) -> None:
    file = make(project, rows())
    base = BaseModel.objects.create(name="tiny", source="folder")
    TrainingJob.objects.create(project=project, base_model=base, status=status, **{role: file})
    with pytest.raises(ApiError) as caught:
        files.delete(file)
    assert caught.value.status == 409 and file.path.exists()


def test_a_file_of_a_finished_job_can_go_and_the_job_stays(project: Project) -> None:
    file = make(project, rows())
    base = BaseModel.objects.create(name="tiny", source="folder")
    job = TrainingJob.objects.create(
        project=project, base_model=base, status="succeeded", finished_at=timezone.now(), training_file=file
    )
    files.delete(file)
    job.refresh_from_db()
    assert job.training_file is None


def test_a_picture_and_other_binary_data_are_called_that(tmp_path: Path) -> None:
    for content, words in (
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "a picture (PNG)"),
        (random.Random(0).randbytes(3000), "binary data"),
        ("é ü\t\n".encode() * 200, ""),
    ):
        (tmp_path / "a.jsonl").write_bytes(content)
        (problem, *_) = checks.datasets.check(tmp_path / "a.jsonl").problems
        assert (words in problem.message and problem.kind == "not_jsonl") if words else problem.kind == "not_json"
