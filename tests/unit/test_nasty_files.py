"""Nasty files one by one, those that people and programs really send: words every time, in time, in little memory."""

import gzip
import io
import json
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet
import pytest

ROOT = Path(__file__).parents[2]
MB = 1 << 20
MOST_SECONDS = 10  # of processor time: a busy machine makes nothing else of it
MOST_MB = 500
ROW = b'{"messages": [{"role": "user", "content": "2 and 2?"}, {"role": "assistant", "content": "4"}]}\n'


def zeros(file: BinaryIO, packer: Any, megabytes: int) -> None:
    block = bytes(MB)
    for _ in range(megabytes):
        file.write(packer.compress(block))
    file.write(packer.flush())


def gzip_bomb(file: BinaryIO) -> None:
    zeros(file, zlib.compressobj(9, zlib.DEFLATED, 31), 600)


def zip_bomb(file: BinaryIO) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("rows.jsonl", "w") as inside:
        for _ in range(600):
            inside.write(bytes(MB))


def zstd_bomb(file: BinaryIO) -> None:
    file.write(pyarrow.compress(bytes(100 * MB), codec="zstd", asbytes=True))


def huge_zip_directory(file: BinaryIO) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("rows.jsonl", ROW)
    content = bytearray(out.getvalue())
    struct.pack_into("<L", content, content.rindex(b"PK\x05\x06") + 12, 0x7FFFFFFF)
    file.write(content)


def negative_place_zip(file: BinaryIO) -> None:
    """An archive whose one file would begin before the archive does."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("rows.jsonl", ROW)
    content = out.getvalue()
    file.write(content[:10] + content[30:])


def line_of_100_mb(file: BinaryIO) -> None:
    file.write(ROW * 12 + b'{"messages": [{"role": "user", "content": "')
    for _ in range(100):
        file.write(b"x" * MB)
    file.write(b'"}]}\n' + ROW)


def csv_line_of_100_mb(file: BinaryIO) -> None:
    file.write(b"question,answer\n")
    for _ in range(100):
        file.write(b"x" * MB)


def csv_of_one_endless_row(file: BinaryIO) -> None:
    """Every line ends inside quotes, so that the row never does."""
    file.write(b"question,answer\n")
    for _ in range(100):
        file.write(b'"\n",' * (MB // 4))


def json_list_without_end(file: BinaryIO) -> None:
    file.write(b'[{"a": "')
    for _ in range(60):
        file.write(b"x" * MB)


def parquet_without_footer(file: BinaryIO) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"question": ["a"] * 1000, "answer": ["b"] * 1000}), file)
    file.truncate(file.tell() - 20)


def parquet_bomb(file: BinaryIO) -> None:
    """600 MB of text in a few kilobytes: 300,000 rows of one long word, twice."""
    words = pyarrow.DictionaryArray.from_arrays(
        pyarrow.repeat(pyarrow.scalar(0, pyarrow.int8()), 150_000),
        pyarrow.array(["x" * 1000]),
    )
    table = pyarrow.table({"question": words, "answer": words})
    with pyarrow.parquet.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(2):
            writer.write_table(table, row_group_size=150_000)


def put(content: bytes) -> Callable[[BinaryIO], None]:
    return lambda file: file.write(content) and None


NASTY: dict[str, tuple[Callable[[BinaryIO], None], str]] = {
    "gzip-bomb.jsonl.gz": (gzip_bomb, "500 times its size"),
    "zip-bomb.zip": (zip_bomb, "500 times its size"),
    "zstd-bomb.jsonl.zst": (zstd_bomb, "500 times its size"),
    "huge-directory.zip": (huge_zip_directory, "holds too much"),
    "negative-place.zip": (negative_place_zip, "zip archive is damaged"),
    "surrogate-key.json": (put(b'[{"\\ud800question": "a", "answer": "b"}]'), "This is a table"),
    "gzip-in-gzip.gz": (put(gzip.compress(gzip.compress(ROW))), "inside this one"),
    "cut-off.jsonl.gz": (put(gzip.compress(ROW * 500 + random.Random(0).randbytes(9000))[:-900]), "cut off"),
    "long-line.jsonl": (line_of_100_mb, "longer than 10 MiB"),
    "long-line.csv": (csv_line_of_100_mb, "longer than 10 MiB"),
    "endless-row.csv": (csv_of_one_endless_row, "longer than 100,000 lines"),
    "endless.json": (json_list_without_end, "longer than 10 MiB"),
    "deep.jsonl": (put(ROW * 12 + b"[" * (9 * MB) + b"\n"), "nested too deeply"),
    "deep-object.jsonl": (put(ROW * 12 + b'{"a":' * (2 * MB) + b"\n"), "nested too deeply"),
    "deep.json": (put(b'[{"a":' + b"[" * (9 * MB)), "nested too deeply"),
    "lists.jsonl": (put(ROW * 12 + b'{"messages": [' + b"[]," * MB + b"[]]}\n"), "A message is a list"),
    "huge-int.jsonl": (put(ROW * 12 + b'{"weight": ' + b"9" * (9 * MB) + b"}\n"), "Exceeds the limit"),
    "nan.jsonl": (put(ROW * 12 + b'{"messages": NaN}\n'), "NaN is not a JSON value"),
    "nul.jsonl": (put(ROW * 12 + b"\0\0\0\0\n"), "not valid JSON"),
    "nul-text.jsonl": (put(ROW.replace(b"4", b"\\u0000") * 12), ""),
    "bom.jsonl": (put(b"\xef\xbb\xbf" + ROW * 12), ""),
    "bom-twice.jsonl": (put(b"\xef\xbb\xbf" + ROW * 6 + b"\xef\xbb\xbf" + ROW * 6), "not valid JSON"),
    "utf-16.jsonl": (put((ROW * 12).decode().encode("utf-16")), ""),
    "utf-16-cut-off.jsonl": (put((ROW * 12).decode().encode("utf-16")[:-1]), "begins as UTF-16 text does, but is none"),
    "crlf.jsonl": (put(ROW.replace(b"\n", b"\r\n") * 12), ""),
    "no-line-end.jsonl": (put((ROW * 12)[:-1]), ""),
    "blank.jsonl": (put(b"\n \r\n\t\n"), "only blank lines"),
    "empty.jsonl": (put(b""), "empty"),
    "empty.csv": (put(b""), "no row in it"),
    "surrogate.jsonl": (put(ROW.replace(b"4", b"\\ud800") * 12), "half of a surrogate pair"),
    "twice-a-key.jsonl": (put(b'{"messages": 1, "messages": []}\n'), '"messages" is empty'),
    "million-keys.jsonl": (
        put(ROW * 12 + b"{" + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}\n"), "Unexpected file format",
    ),
    "cell-of-1-mb.csv": (put(b'question,answer\n"' + b"a line of it\n" * 80_000 + b'",4\n'), "This is a table"),
    "utf-16.csv": (put("question,answer\n2 and 2?,4\n".encode("utf-16")), "This is a table"),
    "ragged.csv": (put(b"a,b\n1\n1,2,3\n" * 50), "This is a table"),
    "picture.csv": (put(b"\x89PNG\r\n\x1a\n" + bytes(5000)), "no text"),
    "broken-footer.parquet": (parquet_without_footer, "Parquet file cannot be read"),
    "no-parquet.parquet": (put(b"PAR1" + b"x" * 5000), "Parquet file cannot be read"),
    "only-magic.parquet": (put(b"PAR1"), "Parquet file cannot be read"),
    "parquet-bomb.parquet": (parquet_bomb, "This is a table"),
}  # fmt: skip


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All of them in one process of its own, whose memory is watched."""
    folder = tmp_path_factory.mktemp("nasty")
    for name, (write, _) in NASTY.items():
        with (folder / name).open("wb") as file:
            write(file)
    command = [sys.executable, "-m", "tests.examining", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {told["name"]: told for told in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_file_gets_words_in_time(examined: dict[str, dict[str, Any]], name: str) -> None:
    told, words = examined[name], NASTY[name][1]
    assert words in told["words"] and bool(told["words"]) is bool(words) is not told["usable"]
    assert told["seconds"] < MOST_SECONDS


def test_none_of_them_takes_much_memory(examined: dict[str, dict[str, Any]]) -> None:
    worst = max(examined.values(), key=lambda told: told["peak_mb"])
    assert worst["peak_mb"] < MOST_MB, worst
