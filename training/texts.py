"""Raw text to learn from, other than JSONL: plain files, Parquet, folders of shards. Checked, paged and split by
document. What a document is: training/engine/text.py; how pages and searches find their place: documents.py.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePath

from accounts.errors import ApiError
from training import documents
from training.datasets import Progress, Report
from training.documents import PART_CHARACTERS
from training.engine import text
from training.engine.errors import InvalidTrainingFile
from training.engine.text import Reading
from training.problem_groups import Group
from training.rules import HEAD_BYTES, Problem, recognise

PLAIN_SUFFIXES = (".txt", ".md")
SHOWN_DOCUMENTS = 1000  # without an index, where each page reads the file from its beginning
SHOWN_CHARACTERS = PART_CHARACTERS
ONE_DOCUMENT = (
    "{name} is one document, and a document is not torn apart. Put a line with only <|endoftext|> between two "
    "documents, or name a validation file of its own."
)


def is_raw_text(path: Path, filename: str) -> bool:
    """Whether it is read as documents; everything else is JSONL, line by line. A Parquet file is known by its first
    bytes, plain text by its name, since any broken JSONL is plain text too."""
    kind = text.text_kind(path)
    return kind in ("folder", "parquet") or (kind == "plain" and PurePath(filename).suffix.lower() in PLAIN_SUFFIXES)


def check(path: Path, progress: Progress | None = None) -> Report:
    """Reads everything once, and leaves an index beside it; the first thing that cannot be read ends it."""
    report = Report(format="text")
    kind = text.text_kind(path)
    characters = longest = 0
    try:
        _refuse_foreign(path, kind)
        for length in _document_lengths(path, progress):
            report.rows += 1
            characters, longest = characters + length, max(longest, length)
        if not report.rows:
            _fail(report, "There is no text in it", "Upload a file that holds text.", "empty")
    except InvalidTrainingFile as error:
        _fail(report, error.message, "For chat or prompt/completion rows, upload JSONL.", "unreadable")
    shards = len(text.shards(path)) if kind == "folder" and path.exists() else 0
    report.statistics = {
        "kind": kind, "shards": shards, "characters": characters, "longest_characters": longest,
    }  # fmt: skip
    return report


def _fail(report: Report, message: str, fix: str, kind: str) -> None:
    report.problem_count += 1
    report.problems.append(Problem(0, message.removesuffix("."), fix, kind=kind))
    report.groups.append({**Group(report.problems[-1]).as_row(), "count": 1})


def _refuse_foreign(path: Path, kind: str) -> None:
    """A .txt that is a zip or a PDF has other first bytes than text."""
    if kind != "plain":
        return
    with path.open("rb") as file:
        foreign = recognise(file.read(HEAD_BYTES))
    if foreign:
        raise InvalidTrainingFile(f"{foreign.message.replace('a JSONL file', 'text')}. Save the text itself as UTF-8.")


def _document_lengths(path: Path, progress: Progress | None) -> Iterator[int]:
    """Characters of each document."""
    total, done, length, reading = max(1, text.size_bytes(path)), 0, 0, Reading(path)
    with documents.Writer(path) as index:
        for piece in reading:
            index.add(reading, piece)
            done += piece.size_bytes
            length += len(piece.text)
            if progress:
                progress(min(1.0, done / total))
            if piece.ends:
                yield length
                length = 0


def page(path: Path, first: int, count: int) -> list[tuple[int, dict[str, str]]]:
    """Up to `count` documents from the `first` on (counted from 1), as rows; of a long one its first part."""
    found = islice(documents.beginnings(path, documents.read_index(path), first), count)
    return [(part.document, {"text": part.text}) for part in found]


def split(path: Path, train: Path, valid: Path, *, rows: int, valid_rows: int, seed: int) -> None:
    """Writes every document to one of two JSONL files; which ones go to `valid` depends on the seed alone. Piece by
    piece: a document may be longer than the memory is large."""
    chosen = set(random.Random(seed).sample(range(rows), valid_rows))
    number, begins = 0, True
    with train.open("w", encoding="utf-8") as train_file, valid.open("w", encoding="utf-8") as valid_file:
        for piece in text.pieces(path):
            out = valid_file if number in chosen else train_file
            out.write('{"text": "' if begins else "")
            out.write(json.dumps(piece.text, ensure_ascii=False)[1:-1])
            out.write('"}\n' if piece.ends else "")
            number, begins = number + piece.ends, piece.ends


def folder_sha256(path: Path) -> str:
    stats = [(str(shard.relative_to(path)), shard.stat()) for shard in text.shards(path)]
    told = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def refuse_to_tear(rows: int, name: str) -> None:
    """Raises ApiError for a text that has no border to split it at."""
    if rows < 2:
        raise ApiError(ONE_DOCUMENT.format(name=name), param="share")
