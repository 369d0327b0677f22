"""Raw text by document, at any place in it: pages, parts of a long document, words in all of them; flat in memory.

The check leaves two things beside the content: documents.json, a place to begin reading at for every few megabytes, and
documents.bin, the characters of each document. Without them everything works, read from the beginning.
"""

import json
import secrets
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from training.engine import text
from training.engine.text import START, Piece, Place, Reading
from training.row_search import Clock, Query, sieve

PART_CHARACTERS = 100_000  # a document is shown and searched in parts of so many
PLACE_EVERY_BYTES = 4 << 20
SIEVED_BYTES = 64 << 20  # at most, looked through by their bytes at once
LONGEST = (1 << 32) - 1


class Part(NamedTuple):
    """`after`: a little of what follows in the document, asked for to find what stands across the border."""

    document: int
    at: int  # characters of the document before it
    text: str
    after: str
    ends: bool  # the document ends with it

    @property
    def number(self) -> int:
        return self.at // PART_CHARACTERS + 1


# ---- what the check leaves ----


class Writer:
    """Told each piece as it is read. Written beside and moved into place when all is read."""

    def __init__(self, path: Path) -> None:
        self._path, self._stamp, self._places = path, _stamp(path), [START]
        self._since = self._length = 0
        self._lengths = array("I")
        self._part = _lengths_path(path).with_suffix(f".{secrets.token_hex(4)}.part")

    def __enter__(self) -> "Writer":
        self._file = self._part.open("wb")
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._lengths.tofile(self._file)
        self._file.close()
        if kind is not None:
            self._part.unlink(missing_ok=True)
            return
        self._part.replace(_lengths_path(self._path))
        part = self._part.with_suffix(".json")
        part.write_text(json.dumps({"of": self._stamp, "places": self._places}))
        part.replace(_places_path(self._path))

    def add(self, reading: Reading, piece: Piece) -> None:
        self._since += max(piece.size_bytes, len(piece.text))
        self._length += len(piece.text)
        if piece.ends:
            self._lengths.append(min(self._length, LONGEST))
            self._length = 0
            if len(self._lengths) == 1 << 16:
                self._lengths.tofile(self._file)
                self._lengths = array("I")
        if self._since >= PLACE_EVERY_BYTES and (place := reading.place):
            self._places.append(place)
            self._since = 0


def _lengths_path(path: Path) -> Path:
    return path.with_name("documents.bin")


def _places_path(path: Path) -> Path:
    return path.with_name("documents.json")


def _stamp(path: Path) -> list[Any]:
    """Differs where a file of the folder was changed since."""
    found = [(str(shard.relative_to(path)) if path.is_dir() else "", shard.stat()) for shard in text.shards(path)]
    latest = max(stat.st_mtime_ns for _, stat in found) if path.is_dir() else 0
    return [len(found), sum(stat.st_size for _, stat in found), latest]


@dataclass(frozen=True)
class Index:
    places: list[Place] = field(default_factory=lambda: [START])
    lengths: Any = None  # characters of each document; None where they were not counted

    def before(self, document: int, characters: int = 0) -> int:
        """The number of the last place that is not behind this character."""
        return bisect_right(self.places, (document, characters, 1 << 62)) - 1

    def length(self, document: int) -> int | None:
        known = self.lengths is not None and 0 < document <= len(self.lengths)
        return int(self.lengths[document - 1]) if known else None

    def longer(self, characters: int) -> Sequence[int]:
        """The documents that have more characters, in order."""
        return np.flatnonzero(self.lengths > min(characters, LONGEST)) + 1 if self.lengths is not None else []


def read_index(path: Path) -> Index:
    """As the check left it; an empty one where it left none, or where a folder has changed since."""
    try:
        found = json.loads(_places_path(path).read_text())
        if found["of"] != _stamp(path):
            return Index()
        empty = not _lengths_path(path).stat().st_size
        lengths = np.empty(0, "u4") if empty else np.memmap(_lengths_path(path), "u4", "r")
    except FileNotFoundError:
        return Index()
    return Index([Place(*each) for each in found["places"]], lengths)


# ---- reading ----


def parts(path: Path, start: Place = START, overlap: int = 0) -> Iterator[Part]:
    """All parts from a place on; the first is what is left of its part. Raises InvalidTrainingFile."""
    document, at, held = start.document, start.characters, ""
    for piece in Reading(path, start):
        held += piece.text
        done, beyond = 0, 0 if piece.ends else overlap
        while len(held) - done > (room := PART_CHARACTERS - at % PART_CHARACTERS) + beyond:
            end = done + room
            yield Part(document, at, held[done:end], held[end : end + overlap], False)
            done, at = end, at + room
        held = held[done:]
        if piece.ends:
            yield Part(document, at, held, "", True)
            document, at, held = document + 1, 0, ""


def beginnings(path: Path, index: Index, first: int) -> Iterator[Part]:
    """The first part of each document, from this document on; the rest of a long one is jumped over."""
    wanted, begin = first, index.before(first)
    while True:
        for part in parts(path, index.places[begin]):
            if part.document == wanted and not part.at:
                yield part
                wanted += 1
                continue
            nearer = index.before(wanted) if part.document < wanted else begin
            if nearer > begin and index.places[nearer] > (part.document, part.at + len(part.text)):
                begin = nearer
                break
        else:
            return


def part_of(path: Path, index: Index, document: int, number: int) -> Part | None:
    """One part of a document, both counted from 1."""
    wanted = (document, (number - 1) * PART_CHARACTERS)
    for part in parts(path, index.places[index.before(*wanted)]):
        if part[:2] == wanted:
            return part
        if part[:2] > wanted:
            return None
    return None


# ---- searching ----


@dataclass
class Found:
    hits: list[Part]
    last: int = 0  # document that was looked at
    next: tuple[int, int] | None = None  # document and part to go on with; None where nothing is left
    share: float = 1.0  # of the file that is looked at now


class Search:
    """Parts that hold all the words, of documents with more than `longer` characters; without words the first parts of
    these documents. Stretches between two places that cannot hold the words are passed over by their bytes."""

    def __init__(self, path: Path, index: Index, words: tuple[str, ...] = (), longer: int = 0) -> None:
        self._path, self._index = path, index
        self._words = tuple(word.casefold() for word in words)
        self._overlap = max((len(word) for word in self._words), default=1) - 1
        self._long = index.longer(longer) if longer else None
        self._sieve = sieve(Query(words=words))
        self._shards = text.shards(path)

    def look(
        self, document: int = 1, part: int = 1, *, most: int = 10, seconds: float = 1.0, clock: Clock = time.monotonic
    ) -> Found:
        """From a part on, until there are so many hits or the time is over."""
        end, found, start = clock() + seconds, Found([], document), (document, (part - 1) * PART_CHARACTERS)
        places, stretch = self._index.places, self._index.before(*start)
        while stretch < len(places):
            if places[stretch][:2] > start and clock() > end:
                found.next, found.share = _after(places[stretch]), stretch / len(places)
                break
            following = stretch + 1
            if self._wants(stretch) and self._may_hold(stretch):
                following = self._following(stretch)
                way = iter(parts(self._path, places[stretch], self._overlap))
                first = next((part for part in way if part[:2] >= start), None)  # the way there is not its time
                end = max(end, clock() + seconds) if stretch == self._index.before(*start) else end
                rest = chain([first] if first else [], way)
                here = self._read(rest, following, found, lambda end=end: len(found.hits) >= most or clock() > end)
                if here is not None:
                    found.next, found.share = (here.document, here.number), self._share(here)
                    break
            document, characters = self._begin(following)
            found.last = max(found.last, min(document - (not characters), self._count(found.last)))
            stretch = following
        return found

    def _count(self, least: int) -> int:
        return len(self._index.lengths) if self._index.lengths is not None else least

    def _following(self, stretch: int) -> int:
        """Where to look next after reading from here: in Parquet each new beginning costs the way through its group of
        rows, and nothing of it can be passed over, so it is read to the end at once."""
        shard = self._index.places[stretch].shard
        following = stretch + 1
        if text.kind_of_shard(self._path, self._shards[shard]) == "parquet":
            while following < len(self._index.places) and self._index.places[following].shard == shard:
                following += 1
        return following

    def _read(
        self, found_parts: Iterator[Part], following: int, found: Found, enough: Callable[[], bool]
    ) -> Part | None:
        """Looks at the parts that begin before this stretch. Returns the first that was not looked at any more."""
        until, any_looked = self._begin(following), False
        for part in found_parts:
            if part[:2] >= until:
                break
            if part.at % PART_CHARACTERS:
                continue
            if any_looked and enough():
                return part
            any_looked, found.last = True, part.document
            if self._matches(part):
                found.hits.append(part)
        return None

    def _begin(self, stretch: int) -> tuple[int, int]:
        """Parts that begin from here on belong to this stretch."""
        places = self._index.places
        return places[stretch][:2] if stretch < len(places) else (1 << 62, 0)

    def _matches(self, part: Part) -> bool:
        if self._long is not None and not _holds(self._long, part.document, part.document + 1):
            return False
        if not self._words:
            return not part.at
        said = part.text.casefold()
        both = said + part.after.casefold() if part.after else said
        return all(0 <= both.find(word) < len(said) for word in self._words)

    def _wants(self, stretch: int) -> bool:
        if self._long is None:
            return True
        (first, before), (last, upto) = self._begin(stretch), self._begin(stretch + 1)
        if not self._words:  # the document must begin here
            return _holds(self._long, first + (before > 0), last + (upto > 0))
        return _holds(self._long, first, last + 1)

    def _may_hold(self, stretch: int) -> bool:
        """By the bytes of the stretch and of what a part that begins in it may take of the next one."""
        begin, rest = self._index.places[stretch], self._index.places[stretch + 1 : stretch + 2]
        shard = self._shards[begin.shard]
        end = rest[0].position if rest else shard.stat().st_size
        if not self._words or text.kind_of_shard(self._path, shard) == "parquet":
            return True
        if (rest[0].shard if rest else len(self._shards) - 1) != begin.shard:  # several small files
            return True
        size = end - begin.position + 4 * (PART_CHARACTERS + self._overlap)
        if (
            max(begin.position, size) > 1 << 60 or size > SIEVED_BYTES
        ):  # no plain place in the file, or too much at once
            return True
        with shard.open("rb") as file:
            file.seek(begin.position)
            return self._sieve(file.read(size))

    def _share(self, here: Part) -> float:
        stretch = self._index.before(here.document, here.at)
        begin, until = self._index.places[stretch], self._begin(stretch + 1)
        if until[0] > 1 << 60:
            until = (len(self._index.lengths) + 1 if self._index.lengths is not None else here.document + 1, 0)
        if until[0] > begin.document:
            within = (here.document - begin.document) / (until[0] - begin.document)
        else:
            within = (here.at - begin.characters) / max(1, until[1] - begin.characters)
        return (stretch + within) / len(self._index.places)


def _holds(numbers: Sequence[int], first: int, before: int) -> bool:
    """Whether one of these ordered numbers lies in the range."""
    return bisect_left(numbers, first) < bisect_left(numbers, before)


def _after(place: Place) -> tuple[int, int]:
    """Document and number of the first part that does not begin before a place."""
    return place.document, -(-place.characters // PART_CHARACTERS) + 1
