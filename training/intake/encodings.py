"""Text in UTF-16 or UTF-32, as spreadsheets and Windows programs write it: known by its first bytes, and written anew
as UTF-8 piece by piece, whatever its size.
"""

import codecs
import hashlib
from collections.abc import Callable
from pathlib import Path

from training.disk import write_all
from training.intake.errors import IntakeError

BLOCK_BYTES = 1 << 20
SIGNS = (  # the longer first: UTF-32 begins as UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"{\0", "utf-16-le"),  # JSONL without a mark of its order
    (b"\0{", "utf-16-be"),
)
NAMES = {"utf-32": "UTF-32", "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}

Progress = Callable[[float], None]


def wide_encoding(path: Path) -> str:
    """Python's name of it; empty for UTF-8 and for what is no text."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        head = file.read(4)
    return next((encoding for sign, encoding in SIGNS if head.startswith(sign)), "")


def write_as_utf8(
    path: Path, out: Path, encoding: str, *, room_bytes: int, progress: Progress = lambda share: None
) -> tuple[int, str]:
    """Bytes and SHA-256 of what was written. Raises IntakeError where it cannot be decoded or has no room; then nothing
    is left behind."""
    decoder = codecs.getincrementaldecoder(encoding)()
    digest, size, done, total = hashlib.sha256(), 0, 0, max(1, path.stat().st_size)
    try:
        with path.open("rb") as source, out.open("wb", buffering=0) as part:
            while True:
                block = source.read(BLOCK_BYTES)
                text = decoder.decode(block, final=not block).encode()
                digest.update(text)
                size += len(text)
                if size > room_bytes:
                    raise _no_room(room_bytes)
                write_all(part, text)
                if not block:
                    return size, digest.hexdigest()
                done += len(block)
                progress(done / total)
    except UnicodeError as error:
        out.unlink(missing_ok=True)
        reason = getattr(error, "reason", str(error))
        text = f"It begins as {NAMES[encoding]} text does, but is none: {reason} after about byte {done:,}"
        raise IntakeError(text, "Save it as UTF-8 where it was made.", kind="not_utf8") from error
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _no_room(room_bytes: int) -> IntakeError:
    text = f"Written as UTF-8 it has no room on this server's disk ({room_bytes / 1e6:,.0f} MB are free for it)"
    return IntakeError(text, "Delete files or jobs, then press Check again.", kind="disk_full")
