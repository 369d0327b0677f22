"""Files of raw text: what they are taken for, what is said of them, how they are split and counted."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from accounts.errors import ApiError
from accounts.models import Project
from tests.factories import tiny_model
from tests.jobs import make_base_model
from training import actions, files, jsonl, preparing, splits, texts, token_counts
from training.engine.spec import Recipe
from training.engine.text import count_text_tokens, documents, pieces
from training.models import DatasetFile

STORIES = [f"Story {n} begins here.\nIt ends here." for n in range(12)]
PLAIN = "\n<|endoftext|>\n".join(STORIES).encode()


def parquet(column: str = "text") -> bytes:
    import pyarrow
    import pyarrow.parquet

    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({column: STORIES}), written)
    return written.getvalue()


def upload(project: Project, name: str, content: bytes) -> DatasetFile:
    return files.create_file(project, None, name, "fine-tune", content)


@pytest.mark.parametrize(("name", "content"), [("tale.txt", PLAIN), ("tale.md", PLAIN), ("tale.parquet", parquet())])
def test_plain_text_and_parquet_are_documents(project: Project, name: str, content: bytes) -> None:
    file = upload(project, name, content)
    assert (file.status, file.format, file.rows) == ("processed", "text", 12), file.status_details
    assert file.statistics["characters"] == sum(len(story) for story in STORIES)
    assert texts.page(file.path, 3, 2) == [(3, {"text": STORIES[2]}), (4, {"text": STORIES[3]})]


def test_only_a_name_of_text_makes_broken_jsonl_text(project: Project) -> None:
    assert upload(project, "rows.jsonl", b"not json\n").status == "error"
    assert upload(project, "rows.txt", b"not json\n").format == "text"
    chat = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    assert upload(project, "rows.txt", chat).format == "chat"


def test_what_is_no_text_says_so_whatever_its_name(project: Project) -> None:
    for name, content, said in [
        ("a.txt", b"%PDF-1.7 and so on", "PDF document"),
        ("a.txt", "Grüße".encode("latin-1"), "not UTF-8"),
        ("a.txt", b" \n\n", "no text"),
        ("a.parquet", parquet("body"), "This is a table"),
        ("a.parquet", parquet()[:200], "cannot be read"),
    ]:
        file = upload(project, name, content)
        assert file.status == "error" and said in file.status_details, (name, file.status_details)


def test_a_split_keeps_documents_whole_and_the_same_seed_keeps_the_same_ones_aside(project: Project) -> None:
    file = upload(project, "tale.txt", PLAIN)
    train, valid = splits.split(file, count=3, seed=4)
    assert (train.format, train.rows, valid.rows) == ("text", 9, 3)
    kept = [document["text"] for part in (train, valid) for _, document in jsonl.iterate(part.path)]
    assert sorted(kept) == sorted(STORIES)
    assert splits.split(file, count=3, seed=4) == (train, valid)


def test_a_document_of_many_pieces_is_one_row_of_a_split(tmp_path: Path) -> None:
    path, parts = tmp_path / "book.txt", (tmp_path / "train.jsonl", tmp_path / "valid.jsonl")
    book, note = 'He said "no",\tand left.\n' * 120_000, "A note."
    path.write_text(f"{book}<|endoftext|>\n{note}\n")
    texts.split(path, *parts, rows=2, valid_rows=1, seed=4)
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert sorted(len(row["text"]) for row in rows) == sorted(len(each) for each in documents(path))
    assert {"text": book.strip()} in [{"text": row["text"].strip()} for row in rows]


def test_a_folder_of_shards_is_read_where_it_lies_and_outlives_its_dataset(
    project: Project, tmp_path: Path, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    folder = tmp_path / "texts" / "stories"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(PLAIN)
    (folder / "b.parquet").write_bytes(parquet())
    settings.HONE_TEXT_FOLDERS = [str(tmp_path / "texts")]
    file = files.add_folder(project, None, str(folder))
    assert (file.status, file.format, file.rows, file.statistics["shards"]) == ("processed", "text", 24, 2)
    assert file.sha256 and texts.page(file.path, 13, 1) == [(13, {"text": STORIES[0]})]
    assert sum(part.rows for part in splits.split(file, share=0.25)) == 24
    with django_capture_on_commit_callbacks(execute=True):
        files.delete(file)
    assert len(list(folder.iterdir())) == 2


def test_only_folders_that_the_server_names_can_be_read(project: Project, tmp_path: Path, settings: Any) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "out").symlink_to("/etc")
    settings.HONE_TEXT_FOLDERS = [str(tmp_path / "texts")]
    for named in ("/etc", str(tmp_path / "texts" / ".." / ".."), str(tmp_path / "texts" / "out"), "relative", ""):
        with pytest.raises(ApiError, match="no folder below"):
            files.add_folder(project, None, named)
    with pytest.raises(ApiError, match="holds no text"):
        files.add_folder(project, None, str(tmp_path / "texts"))
    assert not DatasetFile.objects.exists()


def test_one_document_is_not_torn_apart(project: Project) -> None:
    file = upload(project, "book.txt", b"Chapter 1\n\nIt rained.\n")
    with pytest.raises(ApiError, match=r"one document.*<\|endoftext\|>"):
        splits.split(file, share=0.2)


def test_a_job_on_raw_text_is_prepared_and_one_of_another_method_is_not(project: Project, tmp_path: Path) -> None:
    model = make_base_model("tiny", folder=tiny_model(tmp_path / "tiny", chat_template=False))
    file = upload(project, "tale.txt", PLAIN)
    found = {}
    for method in ("pretrain", "sft"):
        job = actions.create_job(
            project=project, user=None, base_model=model, training_file=file, recipe=Recipe(method=method)
        )
        preparing.prepare(job.pk)
        job.refresh_from_db()
        found[method] = job
    text, chat = found["pretrain"], found["sft"]
    assert (text.status, text.error_message) == ("queued", "")
    facts = count_text_tokens(file.path, token_counts.chat_format(model))
    assert text.estimate.tokens == facts.tokens * text.resolved.n_epochs
    assert actions.spec_for(text).method == "pretrain" and actions.spec_for(text).packing
    assert chat.status == "failed" and "in the text format" in chat.error_message


def test_a_large_group_of_parquet_rows_is_read_page_by_page(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path, rows = tmp_path / "content", 20_000
    table = pyarrow.table({"text": [f"{n} " + "word " * 400 for n in range(rows)]})
    pyarrow.parquet.write_table(table, path, row_group_size=rows, compression="none", use_dictionary=False)
    del table
    before, held = pyarrow.total_allocated_bytes(), 0
    for number, _ in enumerate(pieces(path)):
        held = max(held, pyarrow.total_allocated_bytes() - before) if number % 100 == 0 else held
    assert number + 1 == rows and path.stat().st_size > 38 << 20 and held < 16 << 20, held
