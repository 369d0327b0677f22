"""A folder's files as one tar, made while it is read: no second copy on the disk, and any part of it can be asked for.

The same files give the same bytes each time, so a download that broke off goes on where it stopped.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

BLOCK = tarfile.BLOCKSIZE
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """A file in the tar: its bytes, or where they lie."""

    name: str
    content: bytes | Path

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


class Parcel:
    """`folder` is the one folder that the tar unpacks into; `made_at`: unix seconds, of every file in it."""

    def __init__(self, folder: str, pieces: list[Piece], made_at: int) -> None:
        self.folder = folder
        self._segments: list[bytes | tuple[Path, int]] = []
        for piece in pieces:
            header = tarfile.TarInfo(f"{folder}/{piece.name}")
            header.size, header.mtime = piece.size, made_at
            whole = piece.content if isinstance(piece.content, bytes) else (piece.content, header.size)
            self._segments += [header.tobuf(tarfile.GNU_FORMAT), whole, bytes(-header.size % BLOCK)]
        self._segments.append(bytes(2 * BLOCK))

    @cached_property
    def _ends(self) -> list[int]:
        """Where each segment ends, from the beginning of the tar."""
        return list(accumulate(len(part) if isinstance(part, bytes) else part[1] for part in self._segments))

    @property
    def size(self) -> int:
        return self._ends[-1]

    @cached_property
    def etag(self) -> str:
        """Changes with any name, size, time of a file or text in it."""
        digest = hashlib.sha256()
        for part in self._segments:
            digest.update(part if isinstance(part, bytes) else str(part[0].stat().st_mtime_ns).encode())
        return f'"{digest.hexdigest()[:32]}"'

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to before `stop`."""
        stop = self.size if stop is None else stop
        begin = 0
        for part, end in zip(self._segments, self._ends, strict=True):
            if begin < stop and end > start:
                yield from _slice(part, max(0, start - begin), min(end, stop) - begin)
            begin = end


def _slice(part: bytes | tuple[Path, int], start: int, stop: int) -> Iterator[bytes]:
    if isinstance(part, bytes):
        yield part[start:stop]
        return
    with part[0].open("rb") as source:
        source.seek(start)
        left = stop - start
        while left and (chunk := source.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
        if left:
            raise OSError(f"{part[0]} became shorter while it was read")
