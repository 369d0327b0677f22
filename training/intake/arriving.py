"""A packed file gives way to what is in it, and text in UTF-16 to the same in UTF-8, before anybody reads its rows."""

from collections.abc import Callable
from pathlib import PurePath

from django.conf import settings

from training import home
from training.disk import disk_errors, free_bytes, sha256_of
from training.files import clean_name
from training.intake.encodings import NAMES, wide_encoding, write_as_utf8
from training.intake.packed import name_inside, packed_kind, unpack
from training.intake.tables import CSV_SUFFIXES
from training.locks import only_one
from training.models import DatasetFile

SPARE_BYTES = 64 << 20  # left free on the disk for everything else


def unpack_content(file: DatasetFile, progress: Callable[[float], None]) -> bool:
    """Where the content is packed: puts what is inside in its place. False: another process is at it just now.

    The row is written before the content is replaced. Whoever dies between the two leaves a packed content, which the
    next check unpacks again, to the same row. Raises IntakeError; the packed content stays then.
    """
    if not packed_kind(file.path):
        return True
    folder = home.file_folder(file.id)
    with only_one(folder / "unpacking.lock") as is_mine:
        if not is_mine:
            return False
        if packed_kind(file.path):
            _replace(file, progress)
    return True


def _replace(file: DatasetFile, progress: Callable[[float], None]) -> None:
    packed_bytes = file.path.stat().st_size
    with disk_errors(file.filename):
        found = unpack(
            file.path,
            file.part_path,
            most_bytes=int(settings.HONE_MAX_FILE_GB * 1e9),
            room_bytes=free_bytes() - SPARE_BYTES,
            progress=progress,
        )
    if file.origin.get("kind") != "unpacked":
        file.origin = {
            "kind": "unpacked",
            "words": f"Unpacked from {file.filename} ({found.kind}).",
            "packing": found.kind,
            "packed_name": file.filename,
            "packed_bytes": packed_bytes,
            "packed_sha256": sha256_of(file.path),
        }
        file.filename = clean_name(name_inside(file.filename, found))
    file.bytes, file.sha256 = found.bytes, found.sha256
    file.save(update_fields=["origin", "filename", "bytes", "sha256"])
    file.part_path.replace(file.path)


def rewrite_as_utf8(file: DatasetFile, progress: Callable[[float], None]) -> bool:
    """Where the content is UTF-16 or UTF-32, which JSONL and raw text are not read in: puts the same in UTF-8 in its
    place. A CSV stays, since it is read in any of them. Returns and raises as `unpack_content` does, and may be broken
    off like it."""
    if PurePath(file.filename).suffix.lower() in CSV_SUFFIXES or not wide_encoding(file.path):
        return True
    with only_one(home.file_folder(file.id) / "unpacking.lock") as is_mine:
        if not is_mine:
            return False
        if encoding := wide_encoding(file.path):
            _rewrite(file, encoding, progress)
    return True


def _rewrite(file: DatasetFile, encoding: str, progress: Callable[[float], None]) -> None:
    with disk_errors(file.filename):
        room = free_bytes() - SPARE_BYTES
        size, sha256 = write_as_utf8(file.path, file.part_path, encoding, room_bytes=room, progress=progress)
    words = f"Rewritten from {NAMES[encoding]} as UTF-8."
    before = file.origin.get("words", "")
    if words not in before:
        file.origin = {"kind": "rewritten", **file.origin, "words": f"{before} {words}".strip()}
    file.bytes, file.sha256 = size, sha256
    file.save(update_fields=["origin", "bytes", "sha256"])
    file.part_path.replace(file.path)
