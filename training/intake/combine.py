"""Several datasets become one, or one gives a sample: lines are taken over byte for byte, in their order or shuffled,
and the same seed always takes the same ones.
"""

import random
import shutil
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO

from accounts.errors import ApiError
from accounts.models import Project, User
from training import home, jsonl, texts
from training.disk import disk_errors, free_bytes, no_room, refuse_too_large, sha256_of
from training.files import arrived, clean_name
from training.intake import making
from training.intake.making import Progress
from training.intake.models import Making
from training.models import DatasetFile
from training.quotas import limits
from training.rules import FORMAT_NAMES

MOST_SOURCES = 50
TOLD_ROWS = 2000
Status = DatasetFile.Status


@dataclass(frozen=True)
class Source:
    """`take`: so many of its rows, None for all."""

    file: DatasetFile
    take: int | None = None

    @property
    def rows(self) -> int:
        return self.file.rows if self.take is None else self.take


def ask(
    project: Project, user: User | None, sources: list[Source], *, shuffle: bool, seed: int, name: str = ""
) -> Making:
    """Raises ApiError where they do not go together."""
    refuse(sources)
    asked = {
        "sources": [{"id": each.file.pk, "take": each.take} for each in sources],
        "shuffle": shuffle,
        "seed": seed,
    }
    size = sum(each.file.bytes for each in sources)
    name = name.strip() or default_name(sources)
    return making.ask(
        project, user, Making.Kind.COMBINED, name=name, asked=asked, source=sources[0].file, read_bytes=size
    )


def default_name(sources: list[Source]) -> str:
    stems = [PurePath(each.file.filename).stem for each in sources]
    if len(sources) == 1:
        return f"{stems[0]}-sample-{sources[0].rows}.jsonl"
    return clean_name(f"{'-and-'.join(stems[:3])}{'-and-more' if len(stems) > 3 else ''}.jsonl")


def refuse(sources: list[Source]) -> None:
    if not sources:
        raise ApiError("Choose at least one dataset.", param="file")
    if len(sources) > MOST_SOURCES:
        raise ApiError(f"At most {MOST_SOURCES} datasets become one at a time.", param="file")
    for each in sources:
        name = each.file.filename
        if each.file.status != Status.PROCESSED:
            raise ApiError(f"{name} has problems or is not checked yet; correct it first.", param="file")
        if not each.file.path.exists():
            raise ApiError(f"{name} is gone from the disk. Upload it again.", param="file")
        if texts.is_raw_text(each.file.path, name):
            raise ApiError(f"{name} is raw text that is no JSONL; only JSONL files can be combined.", param="file")
        if each.take is not None and not 1 <= each.take <= each.file.rows:
            raise ApiError(f"{each.take:,} rows cannot be taken from {name}: it has {each.file.rows:,}.", param="take")
    formats = {each.file.format: each.file.filename for each in sources}
    if len(formats) > 1:
        said = "; ".join(f"{name} is {FORMAT_NAMES[kind]}" for kind, name in formats.items())
        raise ApiError(f"Datasets of different formats cannot become one: {said}.", param="file")
    if len(sources) == 1 and sources[0].take is None:
        raise ApiError("Say how many rows to take, or choose a second dataset.", param="take")


# ---- the worker's part ----


def make(row: Making, progress: Progress) -> DatasetFile:
    """`asked`: {"sources": [{"id", "take"}], "shuffle", "seed"}. A file of a family of its own."""
    found = {file.pk: file for file in DatasetFile.objects.of(row.project).filter(pk__in=_ids(row.asked))}
    if missing := [pk for pk in _ids(row.asked) if pk not in found]:
        raise ApiError(f"{', '.join(missing)}: deleted meanwhile.", param="file")
    sources = [Source(found[each["id"]], each["take"]) for each in row.asked["sources"]]
    refuse(sources)
    size = sum(each.file.bytes for each in sources)
    refuse_too_large(size, row.name)
    limits.refuse_bytes(row.project, size, f"{row.name} was not made")
    if free_bytes() < size:
        raise no_room(row.name, size)
    file = DatasetFile(
        project=row.project, created_by=row.created_by, filename=row.name, parent=sources[0].file,
        status=Status.UPLOADING, origin=_origin(row, sources),
    )  # fmt: skip
    try:
        with disk_errors(file.filename):
            home.file_folder(file.id).mkdir(parents=True, exist_ok=True)
            with file.part_path.open("wb") as out:
                _write(sources, row.asked, out, progress)
            file.bytes, file.sha256 = file.part_path.stat().st_size, sha256_of(file.part_path)
    except BaseException:
        shutil.rmtree(home.file_folder(file.id), ignore_errors=True)
        raise
    return arrived(file)


def _ids(asked: dict[str, Any]) -> list[str]:
    return [each["id"] for each in asked["sources"]]


def _origin(row: Making, sources: list[Source]) -> dict[str, Any]:
    seed, shuffle = row.asked["seed"], row.asked["shuffle"]
    named = [
        f"{'all' if each.take is None else 'a sample of'} {each.rows:,} rows of {each.file.filename}"
        for each in sources
    ]
    sampled = any(each.take is not None for each in sources)
    words = f"Made of {', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0].capitalize()
    words += f", {'shuffled' if shuffle else 'one after another' if len(named) > 1 else 'in their order'}"
    return {
        "kind": "merged" if len(sources) > 1 else "sampled",
        "words": f"{words}, seed {seed}." if sampled or shuffle else f"{words}.",
        "sources": [
            {"id": each.file.pk, "name": each.file.filename, "sha256": each.file.sha256, "rows": each.rows}
            for each in sources
        ],
        "seed": seed,
        "shuffled": shuffle,
        "making": row.pk,
    }


def _write(sources: list[Source], asked: dict[str, Any], out: BinaryIO, progress: Progress) -> None:
    total = max(1, sum(each.rows for each in sources))
    chosen = _shuffled(sources, asked["seed"]) if asked["shuffle"] else _in_order(sources, asked["seed"])
    for number, line in enumerate(chosen):
        out.write(line)
        if not number % TOLD_ROWS:
            progress(number / total)


def _in_order(sources: list[Source], seed: int) -> Iterator[bytes]:
    for at, source in enumerate(sources):
        with source.file.path.open("rb") as file:
            for place, line in _taken(file, source, seed, at):
                yield _clean(line, first=place == 0)


def _shuffled(sources: list[Source], seed: int) -> Iterator[bytes]:
    """Only the places of the lines are held: 8 bytes a row."""
    places, which = array("Q"), array("B")
    with ExitStack() as stack:
        files = [stack.enter_context(source.file.path.open("rb")) for source in sources]
        for at, source in enumerate(sources):
            for place, _ in _taken(files[at], source, seed, at):
                places.append(place)
                which.append(at)
        order = array("Q", range(len(places)))
        random.Random(f"{seed} order").shuffle(order)
        for index in order:
            file = files[which[index]]
            file.seek(places[index])
            yield _clean(file.readline(), first=places[index] == 0)


def _taken(file: BinaryIO, source: Source, seed: int, at: int) -> Iterator[tuple[int, bytes]]:
    """(place in bytes, line) of the rows that are taken: each as likely as any other, exactly so many, in one pass."""
    chance = random.Random(f"{seed} {at} {source.file.pk}")
    left, wanted, place = source.file.rows, source.rows, 0
    for _, line in jsonl.lines(file):
        if line is None:  # too long for a row; a checked file has none
            place = file.tell()
            continue
        if line.strip():
            if wanted and chance.random() * left < wanted:
                wanted -= 1
                yield place, line
            left -= 1
        place += len(line)


def _clean(line: bytes, first: bool) -> bytes:
    return (line.removeprefix(b"\xef\xbb\xbf") if first else line).rstrip(b"\r\n") + b"\n"
