"""`hone upload FILE`: a dataset to the server; a large one in parts, with progress."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, BinaryIO

import openai
from openai.types import FileObject

from terminal.client import REFUSED, own

IN_PARTS_BYTES = 32 << 20  # from here on
PART_BYTES = 16 << 20


def add_to(commands: Any) -> None:
    parser = commands.add_parser("upload", help="upload a dataset", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", action="store_true", help="print the file object as JSON")
    parser.set_defaults(run=run)


def run(client: openai.OpenAI, asked: Namespace) -> int:
    file = upload(client, asked.file, quiet=asked.json)
    if asked.json:
        print(file.to_json(indent=None))
        return 0 if file.status != "error" else REFUSED
    rows = own(file, "rows")
    print(f"{file.id}  {file.filename}  {file.bytes:,} bytes{f'  {rows:,} rows' if rows else ''}  {file.status}")
    if file.status == "error":
        print(f"hone: {file.status_details or 'The file has problems; its page tells them.'}", file=sys.stderr)
    return 0 if file.status != "error" else REFUSED


def upload(client: openai.OpenAI, path: Path, *, quiet: bool = False) -> FileObject:
    """Stored and checked. Raises OSError where there is no such file."""
    size = path.stat().st_size
    with path.open("rb") as source:
        if size < IN_PARTS_BYTES:
            made = client.files.create(file=(path.name, source), purpose="fine-tune")
        else:
            done = client.uploads.upload_file_chunked(
                file=Shown(source, size, quiet=quiet),
                filename=path.name,
                bytes=size,
                mime_type="text/jsonl",
                purpose="fine-tune",
                part_size=PART_BYTES,
            )
            assert done.file
            made = done.file
    return client.files.wait_for_processing(made.id, poll_interval=0.5)


class Shown:
    """A file that tells how much of it has been read: what the SDK reads it sends."""

    def __init__(self, source: BinaryIO, size: int, *, quiet: bool) -> None:
        self.source, self.size = source, size
        self.quiet = quiet or not sys.stderr.isatty()

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        if not self.quiet:
            sent = self.source.tell()
            end = "\n" if not data else "\r"
            print(
                f"  {sent / self.size:4.0%}  {sent / 1e6:,.0f} of {self.size / 1e6:,.0f} MB", end=end, file=sys.stderr
            )
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)
