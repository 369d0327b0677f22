"""Downloads that can go on where they broke off: HTTP Range for one range, with If-Range (RFC 9110, section 14)."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator

from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from training.parcels import Parcel

PIECE_BYTES = 1 << 20
ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def answer(request: HttpRequest, parcel: Parcel) -> HttpResponseBase:
    """The parcel or the part of it that was asked for: 200, 206 or 416."""
    headers = {
        "Content-Type": "application/x-tar",
        "Content-Disposition": f'attachment; filename="{parcel.folder}.tar"',
        "Accept-Ranges": "bytes",
        "ETag": parcel.etag,
    }
    try:
        asked = _asked(request, parcel)
    except ValueError:
        return HttpResponse(status=416, headers=headers | {"Content-Range": f"bytes */{parcel.size}"})
    start, stop = asked or (0, parcel.size)
    headers["Content-Length"] = str(stop - start)
    if asked:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{parcel.size}"
    status = 206 if asked else 200
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers)
    return StreamingHttpResponse(_in_threads(parcel.read(start, stop)), status=status, headers=headers)


def _asked(request: HttpRequest, parcel: Parcel) -> tuple[int, int] | None:
    """First byte and the one after the last; None: all of it. Raises ValueError when there is no such part."""
    found = ONE_RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    if not found or request.headers.get("If-Range", parcel.etag) != parcel.etag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, parcel.size - int(last)), parcel.size
    else:
        start, stop = int(first), min(parcel.size, int(last) + 1 if last else parcel.size)
    if start >= stop:
        raise ValueError(f"{start}-{stop}")
    return start, stop


class FileInPieces(FileResponse):
    """A file of any size: under ASGI Django reads what a plain FileResponse holds into memory as a whole."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await asyncio.to_thread(self.file_to_stream.read, PIECE_BYTES):
            yield piece


async def _in_threads(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Under ASGI a plain iterator would be read into memory as a whole."""
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk
