"""Packed files: what is inside comes out byte for byte, and nothing broken, locked or overgrown gets through."""

import bz2
import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

import pyarrow
import pytest

from training.intake import packed
from training.intake.errors import IntakeError
from training.intake.packed import Unpacked, unpack

ROWS = b'{"prompt": "What is 2 and 2?", "completion": "It is 4."}\n' * 3000


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def put(folder: Path, content: bytes) -> Path:
    path = folder / "content"
    path.write_bytes(content)
    return path


def out_of(
    folder: Path, content: bytes, most_bytes: int = 1 << 30, room_bytes: int = 1 << 30
) -> tuple[Unpacked, bytes]:
    path = put(folder, content)
    found = unpack(path, folder / "out", most_bytes=most_bytes, room_bytes=room_bytes)
    return found, (folder / "out").read_bytes()


def refusal(folder: Path, content: bytes, **bounds: int) -> str:
    with pytest.raises(IntakeError) as caught:
        out_of(folder, content, **bounds)
    assert not (folder / "out").exists()
    assert caught.value.fix
    return caught.value.message


@pytest.mark.parametrize("pack", [gzip.compress, zstd, lambda content: zipped({"folder/rows.jsonl": content})])
def test_what_is_inside_comes_out_byte_for_byte(tmp_path: Path, pack) -> None:
    found, content = out_of(tmp_path, pack(ROWS))
    assert content == ROWS
    assert (found.bytes, len(found.sha256)) == (len(ROWS), 64)


def test_several_gzip_members_in_a_row_are_one_file(tmp_path: Path) -> None:
    assert out_of(tmp_path, gzip.compress(ROWS) + gzip.compress(b"more\n"))[1] == ROWS + b"more\n"


@pytest.mark.parametrize("pack", [gzip.compress, zstd, lambda content: zipped({"rows.jsonl": content})])
def test_a_packed_file_that_is_cut_off_is_said_to_be_so(tmp_path: Path, pack) -> None:
    content = pack(ROWS + bytes(range(256)) * 40)
    said = refusal(tmp_path, content[: len(content) // 2])
    assert "cut off" in said or "damaged" in said


def test_a_gzip_file_with_a_changed_byte_is_said_to_be_damaged(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(ROWS))
    content[-6] ^= 0xFF  # of the checksum
    assert "damaged" in refusal(tmp_path, bytes(content))


def test_progress_never_falls_and_ends_at_the_whole(tmp_path: Path) -> None:
    shares: list[float] = []
    path = put(tmp_path, gzip.compress(ROWS * 20))
    unpack(path, tmp_path / "out", most_bytes=1 << 30, room_bytes=1 << 30, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0


# ---- bounds ----


def bomb(megabytes: int) -> bytes:
    """Of zeros, packed to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


def test_a_bomb_is_stopped_by_its_ratio(tmp_path: Path) -> None:
    assert "500 times its size" in refusal(tmp_path, bomb(80))


def test_what_is_larger_than_the_server_takes_is_stopped_on_the_way(tmp_path: Path) -> None:
    said = refusal(tmp_path, gzip.compress(ROWS * 20), most_bytes=1_000_000)
    assert "larger than this server takes (0.001 GB)" in said


def test_what_has_no_room_on_the_disk_is_stopped_on_the_way(tmp_path: Path) -> None:
    assert "no room on this server's disk" in refusal(tmp_path, gzip.compress(ROWS * 20), room_bytes=1_000_000)


def test_a_packed_file_in_a_packed_file_is_refused(tmp_path: Path) -> None:
    assert "inside this one" in refusal(tmp_path, gzip.compress(gzip.compress(ROWS)))


def test_an_empty_gzip_file_is_refused(tmp_path: Path) -> None:
    assert "nothing inside" in refusal(tmp_path, gzip.compress(b""))


# ---- zip archives ----


def test_a_zip_with_two_files_names_them(tmp_path: Path) -> None:
    assert "2 files: a.jsonl, b.jsonl" in refusal(tmp_path, zipped({"a.jsonl": ROWS, "b.jsonl": ROWS}))


def test_what_a_mac_puts_beside_the_file_does_not_count(tmp_path: Path) -> None:
    content = zipped({"rows.jsonl": ROWS, "__MACOSX/._rows.jsonl": b"x", ".DS_Store": b"x", "empty/": b""})
    assert out_of(tmp_path, content)[0].member == "rows.jsonl"


def test_an_excel_sheet_is_named_for_what_it_is(tmp_path: Path) -> None:
    assert "Excel" in refusal(tmp_path, zipped({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}))


def test_a_locked_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"rows.jsonl": ROWS}))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the list of files
    assert "password" in refusal(tmp_path, bytes(content))


def test_a_zip_whose_list_of_files_is_said_to_be_huge_is_refused_unread(tmp_path: Path) -> None:
    content = bytearray(zipped({"rows.jsonl": ROWS}))
    struct.pack_into("<L", content, content.rindex(b"PK\x05\x06") + 12, 1 << 30)
    assert "holds too much" in refusal(tmp_path, bytes(content))


# ---- names ----


@pytest.mark.parametrize(
    ("filename", "member", "inside"),
    [
        ("rows.jsonl.gz", "", "rows.jsonl"),
        ("rows.JSONL.GZ", "", "rows.JSONL"),
        ("rows.jsonl", "", "rows.jsonl"),
        ("archive.zip", "../../etc/rows.csv", "rows.csv"),
        ("archive.zip", "a\\b\\rows.csv", "rows.csv"),
    ],
)
def test_the_name_is_that_of_what_is_inside(filename: str, member: str, inside: str) -> None:
    assert packed.name_inside(filename, Unpacked("zip" if member else "gzip", 1, "", member)) == inside


def test_other_packings_and_plain_files_are_none_of_ours(tmp_path: Path) -> None:
    assert packed.packed_kind(put(tmp_path, bz2.compress(ROWS))) == ""
    assert packed.packed_kind(put(tmp_path, ROWS)) == ""
    assert packed.packed_kind(tmp_path) == ""
