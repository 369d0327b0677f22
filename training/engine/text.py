"""Raw text: what a document is, and its tokens, flat in memory however large the data is. No torch, no numpy.

A document is
    one row of a JSONL file      {"text": "..."}
    one row of a Parquet file    its column `text`
    one plain text file; a line that holds only <|endoftext|> ends a document there too
A folder holds shards: every .txt, .md, .jsonl and .parquet file below it, in order of name.

Each document gets the tokens that the model's own tokenizer puts before a text (such as <s>), then its text, then the
end-of-text token. The first token of a document has nothing before it and is not trained; every other one is.
"""

import codecs
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import IO, Literal, NamedTuple

from training.engine.chat import ChatFormat
from training.engine.errors import InvalidTrainingFile
from training.engine.spec import DataFacts

Kind = Literal["folder", "parquet", "jsonl", "plain"]
Progress = Callable[[int, int], None]

DOCUMENT_END = "<|endoftext|>"
SHARD_SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")
PIECE_CHARACTERS = 1 << 20  # of one document that are tokenised at once
TOKENISED_AT_ONCE = 1 << 21  # characters
KEPT_LENGTHS = 2000
PARQUET_BUFFER_BYTES = 1 << 20
# Between two lines that both hold something: tokenizers that split text before they merge bytes never join them.
SAFE_CUT = re.compile(r"(?<=\S\n)(?=\S)")


class Piece(NamedTuple):
    """A document, or a part of a long one."""

    text: str
    ends: bool  # the document ends with it
    size_bytes: int  # of the file that were read for it


# ---- reading ----


def text_kind(path: Path) -> Kind:
    """By what is in it, whatever its name: an uploaded file has none."""
    if path.is_dir():
        return "folder"
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            return "parquet"
        file.seek(0)
        while line := file.readline(1 << 16):
            if content := line.removeprefix(codecs.BOM_UTF8).strip():
                return "jsonl" if _is_json_object(content, whole=line.endswith(b"\n")) else "plain"
    return "plain"


def _is_json_object(line: bytes, *, whole: bool) -> bool:
    if not line.startswith(b"{"):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return not whole and line[1:].lstrip().startswith(b'"')


def _shard_kind(path: Path) -> Kind:
    """A folder's files say by their names what they are."""
    return {".jsonl": "jsonl", ".parquet": "parquet"}.get(path.suffix.lower(), "plain")  # type: ignore[return-value]


def kind_of_shard(path: Path, shard: Path) -> Kind:
    """`path` is the shard itself, or the folder it lies in."""
    return _shard_kind(shard) if path.is_dir() else text_kind(shard)


def shards(path: Path) -> list[Path]:
    """The files of a folder; of a file, itself. Raises InvalidTrainingFile where there is nothing to read."""
    if not path.exists():
        raise InvalidTrainingFile(f"{path} is gone. Upload the file again, or put the folder back in its place.")
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in SHARD_SUFFIXES and file.is_file() and not file.name.startswith(".")
    ]
    if not found:
        raise InvalidTrainingFile(f"{path} holds no text: no {', '.join(SHARD_SUFFIXES)} file is in it.")
    return found


def size_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in shards(path))


class Place(NamedTuple):
    """Where reading may begin: so many characters of this document stand before it."""

    document: int = 1
    characters: int = 0
    shard: int = 0  # of the folder, counted from 0
    position: int = 0  # as the shard's reader takes it: of a file of text where to seek, of Parquet a row


START = Place()


class Reading:
    """The pieces of a path, all or from a place on; between two pieces it says where it stands, if that is a place."""

    def __init__(self, path: Path, start: Place = START) -> None:
        self._path, self._start = path, start
        self._document, self._characters, self._shard = start.document, start.characters, start.shard
        self.tell: Callable[[], int] = lambda: 0  # set by the reader of a shard
        self.ahead: int | None = 0  # characters of the document between the last piece and `tell`; None: not known

    def __iter__(self) -> Iterator[Piece]:
        """Raises InvalidTrainingFile with file and place."""
        for number, shard in enumerate(shards(self._path)[self._start.shard :], start=self._start.shard):
            self._shard = number
            for piece in self._pieces(shard, self._start if number == self._start.shard else START):
                self._document += piece.ends
                self._characters = 0 if piece.ends else self._characters + len(piece.text)
                yield piece

    def _pieces(self, shard: Path, start: Place) -> Iterator[Piece]:
        name, kind = shard.name if self._path.is_dir() else "", kind_of_shard(self._path, shard)
        if kind == "plain":
            return _plain(shard, name, self, start)
        return (_parquet if kind == "parquet" else _jsonl)(shard, name, self, start.position)

    @property
    def place(self) -> Place | None:
        if not self._characters:
            return Place(self._document, 0, self._shard, self.tell())
        if self.ahead is None:
            return None
        return Place(self._document, self._characters + self.ahead, self._shard, self.tell())


def pieces(path: Path) -> Iterator[Piece]:
    """All documents in order; those without a word are left out. Raises InvalidTrainingFile with file and place."""
    return iter(Reading(path))


def documents(path: Path) -> Iterator[str]:
    """Whole documents, for people and for splitting."""
    parts: list[str] = []
    for piece in pieces(path):
        parts.append(piece.text)
        if piece.ends:
            yield "".join(parts)
            parts = []


def _place(name: str, what: str) -> str:
    return f"{name}, {what[0].lower()}{what[1:]}" if name else what


def _jsonl(path: Path, name: str, reading: Reading, position: int) -> Iterator[Piece]:
    with path.open("rb") as file:
        file.seek(position)
        reading.tell, reading.ahead = file.tell, None
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = _place(name, f"Line {number}")
            try:
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except ValueError as error:
                raise InvalidTrainingFile(f"{where} is not a usable row: {error}") from error
            text = row.get("text") if isinstance(row, dict) else None
            if not isinstance(text, str):
                raise InvalidTrainingFile(f'{where} has no "text". A row of raw text is {{"text": "..."}}.')
            yield from document_pieces(text, len(line))


def _parquet(path: Path, name: str, reading: Reading, position: int) -> Iterator[Piece]:
    """Row by row; a few hundred are read at a time, of the column `text` alone."""
    table = open_parquet(path)
    rows, size = max(1, table.metadata.num_rows), path.stat().st_size
    done = position
    reading.tell, reading.ahead = lambda: done, None
    for text in _texts(table, position):
        done += 1
        yield from document_pieces(text or "", size * done // rows - size * (done - 1) // rows)


def _texts(table, first: int = 0) -> Iterator[str | None]:  # type: ignore[no-untyped-def]
    """Of the column `text`, from a row on. Raises InvalidTrainingFile where a page of it is damaged."""
    import pyarrow

    groups = [table.metadata.row_group(at).num_rows for at in range(table.num_row_groups)]
    begins = [0, *accumulate(groups)]
    group = bisect_right(begins, first) - 1
    read = begins[group]
    try:
        for batch in table.iter_batches(256, list(range(group, len(groups))), columns=["text"]):
            yield from batch.column(0)[max(0, first - read) :].to_pylist()
            read += len(batch)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        said = str(error).splitlines()[0].rstrip(".")[:200]
        raise InvalidTrainingFile(f"This Parquet file is damaged after row {read} ({said}). Write it again.") from error


def open_parquet(path: Path):  # type: ignore[no-untyped-def]  # pyarrow has no types
    """Raises InvalidTrainingFile when it cannot be read or has no column of texts. pyarrow is loaded here first."""
    import pyarrow
    import pyarrow.parquet

    try:
        # page by page: mapped, or buffered beforehand, a group of rows stands in memory whole
        table = pyarrow.parquet.ParquetFile(path, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InvalidTrainingFile(f"This Parquet file cannot be read: {error}. Write it again.") from error
    schema = table.schema_arrow
    kind = schema.field("text").type if "text" in schema.names else None
    if kind is None or not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
        columns = ", ".join(schema.names[:20]) or "none"
        raise InvalidTrainingFile(
            f"This Parquet file has no column `text` that holds texts. Its columns: {columns}. Rename the one to learn."
        )
    return table


def document_pieces(text: str, size: int) -> Iterator[Piece]:
    """One document; a long one in parts. Nothing of one without a word."""
    if not text.strip():
        return
    parts = list(_cut(text))
    for index, part in enumerate(parts):
        yield Piece(part, index == len(parts) - 1, size if index == 0 else 0)


def _cut(text: str) -> Iterator[str]:
    """Parts of a long document, cut between two lines where there are any."""
    start = 0
    while len(text) - start > 2 * PIECE_CHARACTERS:
        found = SAFE_CUT.search(text, start + PIECE_CHARACTERS, start + 2 * PIECE_CHARACTERS)
        end = found.start() if found else start + PIECE_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]


def _plain(path: Path, name: str, reading: Reading, start: Place) -> Iterator[Piece]:
    """Plain text without ever holding more than a few pieces of it."""
    with path.open(encoding="utf-8-sig") as file:
        file.seek(start.position)
        reading.tell = file.tell
        try:
            yield from _plain_documents(file, reading, begun=start.characters > 0)
        except UnicodeDecodeError as error:
            where = _place(name, "This file")
            raise InvalidTrainingFile(
                f"{where} is not UTF-8 text ({error.reason}). Save it as UTF-8, for example: "
                "iconv -f WINDOWS-1252 -t UTF-8 old.txt > new.txt"
            ) from error


def _plain_documents(file: IO[str], reading: Reading, begun: bool) -> Iterator[Piece]:
    """`begun`: a part of the first document is out already."""
    held: list[str] = []
    characters = 0
    while line := file.readline(PIECE_CHARACTERS):
        if line.strip() == DOCUMENT_END:
            yield from _end_of_plain("".join(held).removesuffix("\n"), begun, len(line))
            held, characters, begun = [], 0, False
            continue
        if characters >= PIECE_CHARACTERS and (_joins_safely(held[-1], line) or characters >= 2 * PIECE_CHARACTERS):
            text = "".join(held)
            reading.ahead = len(line) if line.endswith("\n") else None
            yield Piece(text, False, len(text.encode()))
            held, characters, begun = [], 0, True
        held.append(line)
        characters += len(line)
    yield from _end_of_plain("".join(held), begun, 0)


def _joins_safely(before: str, after: str) -> bool:
    return SAFE_CUT.search(before[-2:] + after[:1]) is not None


def _end_of_plain(text: str, begun: bool, more_bytes: int) -> Iterator[Piece]:
    if begun or text.strip():
        yield Piece(text, True, len(text.encode()) + more_bytes)


# ---- tokens ----


class Tokens(NamedTuple):
    """Of one piece, with the tokens at the document's edges."""

    ids: list[int]
    ends: bool
    size_bytes: int


def tokenised(chat: ChatFormat, found: Iterable[Piece]) -> Iterator[Tokens]:
    """The pieces' tokens, in order."""
    before, after = chat.document_edges()
    is_first = True
    for batch in _batches(found):
        for piece, ids in zip(batch, chat.encode_texts([piece.text for piece in batch]), strict=True):
            whole = [*before, *ids] if is_first else ids
            yield Tokens([*whole, *after] if piece.ends else whole, piece.ends, piece.size_bytes)
            is_first = piece.ends


def _batches(found: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    characters = 0
    for piece in found:
        batch.append(piece)
        characters += len(piece.text)
        if characters >= TOKENISED_AT_ONCE or len(batch) >= 4096:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def count_text_tokens(path: Path, chat: ChatFormat, progress: Progress | None = None) -> DataFacts:
    """Exact totals over documents; `lengths` are those of evenly spaced documents once there are more than 2,000.
    `progress` is told bytes, done and in all."""
    documents_ = tokens = longest = length = done = 0
    total = size_bytes(path)
    lengths: list[int] = []
    every = 1
    for part in tokenised(chat, pieces(path)):
        length += len(part.ids)
        done += part.size_bytes
        if progress:
            progress(done, total)
        if not part.ends:
            continue
        if documents_ % every == 0:
            lengths.append(length)
            if len(lengths) > KEPT_LENGTHS:
                lengths, every = lengths[::2], every * 2
        documents_, tokens, longest, length = documents_ + 1, tokens + length, max(longest, length), 0
    return DataFacts(
        rows=documents_, tokens=tokens, trained_tokens=tokens - documents_, longest_tokens=longest, lengths=lengths
    )
