"""A Parquet file of raw text whose footer is whole and whose pages are not: the check says so, and how far it came."""

from pathlib import Path

import pyarrow
import pyarrow.parquet

from training import texts


def test_a_damaged_page_of_texts_is_told_of_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "content"
    table = pyarrow.table({"text": [f"Story {number}, told at length." for number in range(2000)]})
    pyarrow.parquet.write_table(table, path, compression="none", use_dictionary=False, row_group_size=500)
    content = bytearray(path.read_bytes())
    middle = content.index(b"Story 1600,")
    content[middle - 3000 : middle] = b"\xff" * 3000
    path.write_bytes(content)
    report = texts.check(path)
    assert not report.usable and "damaged after row" in report.problems[0].message
