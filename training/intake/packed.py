"""Packed files: gzip, zstd, and a zip with one file in it. Unpacked piece by piece, within bounds that no packed file
can talk its way out of.
"""

import errno
import gzip
import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from training.disk import write_all
from training.intake.errors import IntakeError

SIGNATURES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}
SUFFIXES = {"gzip": (".gz", ".gzip"), "zstd": (".zst", ".zstd"), "zip": (".zip",)}
BLOCK_BYTES = 1 << 20
MOST_TIMES = 500  # its own size: what unpacks to more is no dataset, once it is large at all
LARGE_BYTES = 64 << 20
MOST_DIRECTORY_BYTES = 1 << 20  # of a zip's list of files, which is read as a whole

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Unpacked:
    kind: str
    bytes: int
    sha256: str
    member: str  # the file's name inside a zip; empty otherwise


def packed_kind(path: Path) -> str:
    """gzip, zstd or zip by its first bytes, whatever its name says; empty when it is none of them."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return kind_of(file.read(4))


def kind_of(head: bytes) -> str:
    return next((kind for signature, kind in SIGNATURES.items() if head.startswith(signature)), "")


def name_inside(filename: str, unpacked: Unpacked) -> str:
    """`rows.jsonl` for `rows.jsonl.gz`; a zip says itself what its file is called."""
    if unpacked.member:
        return PurePath(unpacked.member.replace("\\", "/")).name
    path = PurePath(filename)
    return path.stem if path.suffix.lower() in SUFFIXES[unpacked.kind] else filename


def unpack(
    path: Path, out: Path, *, most_bytes: int, room_bytes: int, progress: Progress = lambda share: None
) -> Unpacked:
    """Writes what is in it to `out`. Raises IntakeError for anything that is broken, too large or none of ours; then
    nothing is left behind."""
    kind = packed_kind(path)
    try:
        with _opened(path, kind) as (stream, member, share), out.open("wb", buffering=0) as part:
            size, sha256 = _copy(stream, part, path.stat().st_size, most_bytes, room_bytes, lambda: progress(share()))
    except IntakeError:
        out.unlink(missing_ok=True)
        raise
    except BaseException as error:
        out.unlink(missing_ok=True)
        if _is_about_content(error):
            raise _broken(kind, error) from error
        raise
    return Unpacked(kind, size, sha256, member)


def _copy(
    stream: Any, part: Any, packed_bytes: int, most_bytes: int, room_bytes: int, tell: Callable[[], None]
) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while block := stream.read(BLOCK_BYTES):
        if not size and kind_of(block[:4]):
            fix = "Unpack it once and upload what is inside."
            raise IntakeError("Another packed file is inside this one", fix, kind="packed")
        size += len(block)
        if size > LARGE_BYTES and size > MOST_TIMES * packed_bytes:
            text = f"It unpacks to more than {MOST_TIMES} times its size, as no real dataset does"
            raise IntakeError(text, "Unpack it yourself and upload what is inside.", kind="packed")
        if size > most_bytes:
            text = f"What is inside is larger than this server takes ({most_bytes / 1e9:g} GB)"
            raise IntakeError(text, "Split it, or raise HONE_MAX_FILE_GB.", kind="packed")
        if size > room_bytes:
            text = f"What is inside has no room on this server's disk ({room_bytes / 1e6:,.0f} MB are free for it)"
            raise IntakeError(text, "Delete files or jobs, then press Check again.", kind="packed")
        digest.update(block)
        write_all(part, block)
        tell()
    if not size:
        raise IntakeError("There is nothing inside this packed file", "Pack the file again.", kind="packed")
    return size, digest.hexdigest()


Opened = tuple[Any, str, Callable[[], float]]  # stream, member, share that is read


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[Opened]:
    with path.open("rb") as raw:
        if kind == "zip":
            with _zip(raw) as opened:
                yield opened
            return
        total = max(1, path.stat().st_size)
        stream: Any = gzip.GzipFile(fileobj=raw) if kind == "gzip" else _zstd(raw)
        with stream:
            yield stream, "", lambda: min(1.0, raw.tell() / total)


def _zstd(raw: BinaryIO) -> Any:
    """pyarrow is here anyway, for Parquet; it takes at most 128 MiB for a window."""
    import pyarrow

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")


@contextmanager
def _zip(raw: BinaryIO) -> Iterator[Opened]:
    _refuse_large_directory(raw)
    with zipfile.ZipFile(raw) as archive:
        member = _only_member(archive)
        with archive.open(member) as stream:
            total = max(1, member.file_size)
            yield stream, member.filename, lambda: min(1.0, stream.tell() / total)


def _refuse_large_directory(raw: BinaryIO) -> None:
    """zipfile reads the list of files as a whole, as long as the archive says that it is."""
    size = raw.seek(0, 2)
    raw.seek(max(0, size - (1 << 16) - 64))
    tail = raw.read()
    at = tail.rfind(b"PK\x05\x06")
    length = struct.unpack_from("<L", tail, at + 12)[0] if 0 <= at <= len(tail) - 22 else 0
    if length > MOST_DIRECTORY_BYTES or b"PK\x06\x07" in tail[max(0, at - 20) : max(0, at)]:
        raise IntakeError("This zip archive holds too much", "Pack the one file alone, or use gzip.", kind="packed")
    raw.seek(0)


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    names = set(archive.namelist())
    if "[Content_Types].xml" in names:
        raise IntakeError("This is an Office file, such as an Excel sheet", "Save it as CSV.", kind="packed")
    found = [
        each
        for each in archive.infolist()
        if not each.is_dir() and not each.filename.startswith("__MACOSX/") and not _name(each).startswith(".")
    ]
    if len(found) != 1:
        what = f"{len(found)} files: {', '.join(_name(each)[:60] for each in found[:4])}" if found else "no file"
        fix = "Upload each file for itself; a zip with one file in it is unpacked here."
        raise IntakeError(f"This zip archive holds {what}", fix, kind="packed")
    if found[0].flag_bits & 1:
        raise IntakeError("This zip archive is locked by a password", "Pack it without one.", kind="packed")
    return found[0]


def _name(member: zipfile.ZipInfo) -> str:
    return PurePath(member.filename).name


def _is_about_content(error: BaseException) -> bool:
    """gzip and pyarrow say by an OSError without a number that the content is broken; a disk's has one. EINVAL comes
    of a place before the file's beginning, which a zip archive names."""
    if isinstance(error, OSError):
        return error.errno in (None, errno.EINVAL)
    return isinstance(
        error,
        EOFError | zlib.error | zipfile.BadZipFile | NotImplementedError | RuntimeError | ValueError | struct.error,
    )


def _broken(kind: str, error: BaseException) -> IntakeError:
    said = str(error).splitlines()[0].rstrip(".")[:200] if str(error) else type(error).__name__
    what = "zip archive" if kind == "zip" else f"{kind} file"
    if isinstance(error, EOFError) or "truncated" in said.lower():
        text = f"This {what} is cut off: its end is missing"
    else:
        text = f"This {what} is damaged ({said})"
    return IntakeError(text, "Pack it again, or upload it again if it broke on the way.", kind="packed")
