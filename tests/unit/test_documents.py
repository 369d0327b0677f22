"""Raw text by document: any page, any part, and words in all of it, without reading from the beginning."""

import io
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from training import documents, texts
from training.documents import PART_CHARACTERS, Index, Search, part_of, parts, read_index
from training.engine.text import Reading

WORDS = ["aal", "bär", "Crew", "dünn", "eule"]
END = "\n<|endoftext|>\n"


def stories(count: int, seed: int = 0, most: int = 60) -> list[str]:
    chance = random.Random(seed)
    lengths = [chance.randint(1, most) for _ in range(count)]
    return [f"Story {at}. " + "\n".join(" ".join(chance.choices(WORDS, k=9)) for _ in range(n))
            for at, n in enumerate(lengths)]  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Places and parts near each other, so that small files have many."""
    monkeypatch.setattr(documents, "PLACE_EVERY_BYTES", 3000)
    monkeypatch.setattr(documents, "PART_CHARACTERS", 1000)
    monkeypatch.setattr("training.engine.text.PIECE_CHARACTERS", 1500)


def plain(path: Path, found: list[str], newline: str = "\n") -> Path:
    path.write_bytes(END.join(found).replace("\n", newline).encode())
    return path


def parquet(path: Path, found: list[str]) -> Path:
    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": found}), written, row_group_size=70)
    path.write_bytes(written.getvalue())
    return path


def folder(path: Path, found: list[str]) -> Path:
    path.mkdir()
    third = len(found) // 3
    plain(path / "a.txt", found[:third])
    parquet(path / "b.parquet", found[third : 2 * third])
    plain(path / "c.txt", found[2 * third :])
    return path


@pytest.fixture(params=["plain", "crlf", "parquet", "folder"])
def content(request: Any, tmp_path: Path) -> tuple[Path, list[str]]:
    found, where = stories(300), tmp_path / "content"
    if request.param == "crlf":
        plain(where, found, "\r\n")
    else:
        {"plain": plain, "parquet": parquet, "folder": folder}[request.param](where, found)
    report = texts.check(where)
    assert report.rows == 300, report.problems
    return where, found


def wholly(path: Path, words: tuple[str, ...] = (), longer: int = 0, **options: Any) -> list[tuple[int, int]]:
    """(document, part) of all hits, look by look."""
    search, at, seen, shares = Search(path, read_index(path), words, longer), (1, 1), [], []
    while at:
        found = search.look(*at, **options)
        seen += [(hit.document, hit.number) for hit in found.hits]
        shares.append(found.share)
        assert found.next is None or found.next > at
        at = found.next
    assert shares == sorted(shares) and shares[-1] == 1 and all(0 <= share <= 1 for share in shares)
    return seen


def expected(found: list[str], words: tuple[str, ...], longer: int = 0) -> list[tuple[int, int]]:
    """By the plainest way: a word belongs to the part that it begins in."""
    hits = []
    for number, story in enumerate(found, start=1):
        folded = story.casefold()
        for at in range(0, len(story), 1000):
            if len(story) > longer and (at == 0 if not words else all(
                0 <= folded.find(word.casefold(), at) < at + 1000 for word in words
            )):  # fmt: skip
                hits.append((number, at // 1000 + 1))
    return hits


@pytest.mark.parametrize("first", [1, 2, 149, 299, 300, 301])
def test_a_page_begins_at_any_document(content: tuple[Path, list[str]], first: int) -> None:
    path, found = content
    shown = texts.page(path, first, 3)
    assert shown == [(n + 1, {"text": found[n][:1000]}) for n in range(first - 1, min(first + 2, 300))]


def test_every_place_of_the_index_is_one_to_begin_at(content: tuple[Path, list[str]]) -> None:
    path, found = content
    index = read_index(path)
    assert len(index.places) > 20 and [index.length(n + 1) for n in range(300)] == [len(story) for story in found]
    for place in index.places:
        if place.document > len(found):  # the end of the file is a place, too
            continue
        part = next(iter(parts(path, place)))
        story = found[place.document - 1]
        assert (part.document, part.at) == (place.document, place.characters)
        assert story[part.at :].startswith(part.text)


@pytest.mark.parametrize(
    ("words", "longer"),
    [((), 2000), (("story 17",), 0), (("BÄR",), 0), (("bär", "eule"), 3000), (("aal aal aal aal",), 0), (("no",), 0),
     (("e\nd",), 0), ((), 10**12)],
)  # fmt: skip
def test_a_search_finds_every_part_once_wherever_its_looks_end(
    content: tuple[Path, list[str]], words: tuple[str, ...], longer: int
) -> None:
    path, found = content
    assert wholly(path, words, longer) == expected(found, words, longer)
    ticks = iter(range(10**9))
    assert wholly(path, words, longer, seconds=5, clock=lambda: next(ticks)) == expected(found, words, longer)


def test_words_that_are_nowhere_are_passed_over_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plain(tmp_path / "content", stories(300))
    texts.check(path)
    read: list[Any] = []
    monkeypatch.setattr(documents, "Reading", lambda *asked: read.append(asked) or Reading(*asked))
    assert wholly(path, ("nowhere",)) == [] and read == []
    assert len(wholly(path, ("story 250.",))) == 1 and len(read) <= 2


def test_parts_of_a_document_that_is_one_long_line_are_found_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_text("x" * 4997 + "needle" + "y" * 3997 + END + "short")
    texts.check(path)
    index = read_index(path)
    assert wholly(path, ("needle",)) == [(1, 5)], "it begins in part 5 and goes on in part 6"
    assert [part_of(path, index, 1, n) is not None for n in (1, 9, 10)] == [True, True, False]
    part = part_of(path, index, 1, 6)
    assert part and part.text.startswith("dley")
    assert texts.page(path, 2, 5) == [(2, {"text": "short"})]


def test_without_an_index_everything_is_read_from_the_beginning(content: tuple[Path, list[str]]) -> None:
    path, found = content
    (path.parent / "documents.json").unlink()
    assert read_index(path) == Index()
    assert texts.page(path, 250, 1) == [(250, {"text": found[249][:1000]})]
    assert wholly(path, ("story 17",)) == expected(found, ("story 17",))


def test_an_index_of_a_folder_that_changed_since_is_not_believed(tmp_path: Path) -> None:
    path = folder(tmp_path / "content", stories(30))
    texts.check(path)
    assert read_index(path).lengths is not None
    plain(path / "a.txt", stories(9, seed=1))
    assert read_index(path) == Index()


def test_a_huge_document_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = tmp_path / "content"
    line = "All work and no play makes Jack a dull boy. " * 20 + "\n"
    path.write_text(line * 40_000 + "the needle\n" + END + "The second.")
    texts.check(path)
    tracemalloc.start()
    assert [len(row["text"]) for _, row in texts.page(path, 1, 10)] == [PART_CHARACTERS, 11]
    (hit,) = Search(path, read_index(path), ("needle",)).look(seconds=60).hits
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (hit.document, hit.number) == (1, 353) and peak < 40 << 20, peak
