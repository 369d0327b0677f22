"""Raw text as documents, tokens and blocks."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.factories import tiny_model, write_jsonl
from training.engine import text, tokens
from training.engine.chat import ChatFormat
from training.engine.errors import InvalidTrainingFile
from training.engine.text import count_text_tokens, documents, pieces, text_kind, tokenised
from training.engine.tokens import Blocks, TokenFile, token_key, write_tokens

STORIES = [
    "The fox jumps.\nThe dog sleeps.",
    "One two three four five six.",
    "A short one.",
    "Order 12345 is done " * 9,
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("text") / "plain", chat_template=False)


@pytest.fixture(scope="module")
def chat(base: Path) -> ChatFormat:
    return ChatFormat.load(base)


def as_jsonl(folder: Path, stories: list[str] = STORIES) -> Path:
    return write_jsonl(folder / "stories.jsonl", [{"text": story} for story in stories])


def as_parquet(folder: Path, stories: list[str] = STORIES, column: str = "text") -> Path:
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    table = pyarrow.table({"id": list(range(len(stories))), column: stories})
    pyarrow.parquet.write_table(table, folder / "stories.parquet", row_group_size=2)
    return folder / "stories.parquet"


def token_file(folder: Path, path: Path, chat: ChatFormat) -> TokenFile:
    write_tokens(folder, path, chat, 640, lambda done, total: None)
    return TokenFile.open(folder)


# ---- documents ----


def test_jsonl_parquet_and_plain_text_hold_the_same_documents(tmp_path: Path) -> None:
    plain = tmp_path / "stories.txt"
    plain.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8-sig")
    for path, kind in [(as_jsonl(tmp_path), "jsonl"), (as_parquet(tmp_path), "parquet"), (plain, "plain")]:
        nameless = path.rename(tmp_path / f"content-{kind}")
        assert text_kind(nameless) == kind
        assert list(documents(nameless)) == STORIES
        assert sum(piece.size_bytes for piece in pieces(nameless)) == pytest.approx(nameless.stat().st_size, abs=9)


def test_a_plain_file_is_one_document_until_a_line_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text("Chapter 1\n\nIt rained.\r\nStill.\n")
    assert list(documents(path)) == ["Chapter 1\n\nIt rained.\nStill.\n"]
    path.write_text("\n\n<|endoftext|>\none\n<|endoftext|>\n\n<|endoftext|>\n")
    assert list(documents(path)) == ["one"]


def test_a_folder_of_shards_is_read_in_order_of_name(tmp_path: Path) -> None:
    as_jsonl(tmp_path / "b", STORIES[1:2])
    as_parquet(tmp_path / "c", STORIES[2:])
    (tmp_path / "a.txt").write_text(STORIES[0])
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "README.rst").write_text("no")
    assert text_kind(tmp_path) == "folder"
    assert list(documents(tmp_path)) == STORIES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"text": "good"}\n{"text": 5}\n', 'Line 2 has no "text"'),
        (b'{"text": "good"}\n{"text": \n', "Line 2 is not a usable row"),
        (b"caf\xe9", "not UTF-8"),
        (b"PAR1 and no more", "Parquet file cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "content"
    path.write_bytes(content)
    with pytest.raises(InvalidTrainingFile, match=said):
        list(pieces(path))
    shard = tmp_path / "shards" / ("bad.jsonl" if content.startswith(b"{") else "bad.txt")
    shard.parent.mkdir()
    shard.write_bytes(content)
    if not content.startswith(b"PAR1"):
        with pytest.raises(InvalidTrainingFile, match=r"bad\.(txt|jsonl), "):
            list(pieces(shard.parent))


def test_a_parquet_file_without_a_text_column_names_its_columns(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrainingFile, match="Its columns: id, body"):
        list(pieces(as_parquet(tmp_path, column="body")))


def test_an_empty_folder_and_a_missing_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidTrainingFile, match="holds no text"):
        list(pieces(tmp_path))
    with pytest.raises(InvalidTrainingFile, match="is gone"):
        list(pieces(tmp_path / "away"))


# ---- tokens ----


def test_each_document_ends_with_the_end_of_text(chat: ChatFormat, tmp_path: Path) -> None:
    end = chat.eos_ids[0]
    found = list(tokenised(chat, pieces(as_jsonl(tmp_path))))
    assert [part.ids for part in found] == [[*chat.encode_text(story), end] for story in STORIES]


def test_what_the_tokenizer_writes_before_a_text_begins_each_document(base: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, processors

    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    for file in base.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert ChatFormat.load(tmp_path).document_edges() == ([1], [0])


@pytest.mark.parametrize("kind", ["plain", "jsonl"])
def test_a_long_document_gives_the_same_tokens_in_pieces(
    chat: ChatFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    story = "".join(f"Order {n} is done.\n{'' if n % 3 else chr(10)}Thank you, fox {n}!\n" for n in range(300))
    path = tmp_path / "long.txt"
    path.write_text(story)
    path = path if kind == "plain" else as_jsonl(tmp_path, [story])
    whole = [part.ids for part in tokenised(chat, pieces(path))]
    assert len(whole) == 1
    monkeypatch.setattr(text, "PIECE_CHARACTERS", 200)
    monkeypatch.setattr(text, "TOKENISED_AT_ONCE", 500)
    parts = list(tokenised(chat, pieces(path)))
    assert len(parts) > 10 and [part.ends for part in parts] == [False] * (len(parts) - 1) + [True]
    assert [token for part in parts for token in part.ids] == whole[0]


def test_a_text_without_a_single_line_break_is_cut_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "PIECE_CHARACTERS", 100)
    path = tmp_path / "one-line.txt"
    path.write_text("word " * 500)
    found = list(pieces(path))
    assert len(found) > 5 and max(len(piece.text) for piece in found) <= 300
    assert "".join(piece.text for piece in found) == "word " * 500


def test_totals_are_exact(chat: ChatFormat, tmp_path: Path) -> None:
    path = as_jsonl(tmp_path)
    facts = count_text_tokens(path, chat)
    file = token_file(tmp_path / "tokens", path, chat)
    assert (facts.rows, facts.tokens) == (4, len(file.ids)) == (file.documents, file.ends[-1])
    assert facts.trained_tokens == facts.tokens - 4 == int(Blocks(file, 16, packed=True).trained.sum())
    assert facts.longest_tokens == max(facts.lengths) and sum(facts.lengths) == facts.tokens


def test_the_key_changes_with_the_data_and_with_the_tokenizer(base: Path, tmp_path: Path) -> None:
    path = as_jsonl(tmp_path)
    key = token_key(path, base)
    assert token_key(path, base) == key
    assert token_key(as_jsonl(tmp_path, STORIES[:3]), base) != key
    assert token_key(path, tiny_model(tmp_path / "other", chat_template=True)) != key


def test_half_a_token_folder_never_has_its_final_name(chat: ChatFormat, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "bad.jsonl", [{"text": "good"}, {"body": "bad"}])
    with pytest.raises(InvalidTrainingFile):
        token_file(tmp_path / "tokens", path, chat)
    assert [found.name for found in tmp_path.iterdir()] == ["bad.jsonl"]


def test_a_large_vocabulary_takes_four_bytes(chat: ChatFormat, tmp_path: Path) -> None:
    path = as_jsonl(tmp_path)
    write_tokens(tmp_path / "wide", path, chat, 128_000, lambda done, total: None)
    write_tokens(tmp_path / "narrow", path, chat, 640, lambda done, total: None)
    wide, narrow = TokenFile.open(tmp_path / "wide"), TokenFile.open(tmp_path / "narrow")
    assert (wide.ids.dtype, narrow.ids.dtype) == (np.uint32, np.uint16)
    assert np.array_equal(wide.ids, narrow.ids)
    assert json.loads((tmp_path / "wide" / "about.json").read_text())["documents"] == 4


# ---- blocks ----


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("length", [2, 5, 16, 4096])
def test_every_token_but_a_documents_first_is_trained_exactly_once(
    chat: ChatFormat, tmp_path: Path, length: int, packed: bool
) -> None:
    file = token_file(tmp_path / "tokens", as_jsonl(tmp_path), chat)
    blocks = Blocks(file, length, packed)
    times = np.zeros(len(file.ids), int)
    for row in range(len(blocks)):
        ids, weights = blocks.ids(row), blocks.weights(row)
        assert len(ids) == len(weights) == blocks.lengths[row] <= length
        start = blocks._starts[row]
        assert np.array_equal(ids, file.ids[start : start + len(ids)])
        times[start + 1 : start + len(ids)] += weights[1:].astype(int)
        assert int(weights[1:].sum()) == blocks.trained[row]
        assert packed or not len(blocks.cuts(row))
    firsts = [0, *file.ends[:-1]]
    assert times[firsts].tolist() == [0] * 4
    assert set(np.delete(times, firsts).tolist()) == {1}


def test_a_documents_first_token_stands_at_a_cut(chat: ChatFormat, tmp_path: Path) -> None:
    file = token_file(tmp_path / "tokens", as_jsonl(tmp_path), chat)
    blocks = tokens.Blocks(file, len(file.ids), packed=True)
    assert len(blocks) == 1
    assert blocks.cuts(0).tolist() == file.ends[:-1].tolist()
    assert all(file.ids[cut - 1] == chat.eos_ids[0] for cut in blocks.cuts(0))
