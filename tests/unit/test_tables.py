"""Tables as people have them: recognised by what is in them, read row by row, told of where they are broken."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from training.datasets import Report
from training.intake import csv_files, tables
from training.intake.errors import IntakeError

QUESTIONS = [["question", "answer"], ["What is 2 and 2?", "4"], ["A line\nand another", 'He said "yes", twice']]


def put(folder: Path, content: bytes | str, encoding: str = "utf-8") -> Path:
    path = folder / "content"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def as_csv(rows: list[list[str]], delimiter: str = ",") -> str:
    return "".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\r\n" for row in rows)


def rows_of(path: Path, filename: str) -> list[dict[str, Any]]:
    with tables.opened(path, filename) as table:
        return [row.cells for row in table.rows]


def parquet(path: Path, columns: dict[str, list[Any]], **options: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


EXPECTED = [dict(zip(QUESTIONS[0], row, strict=True)) for row in QUESTIONS[1:]]


# ---- CSV ----


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_delimiter_and_encoding_are_found_out_and_cells_keep_line_breaks_and_quotes(
    tmp_path: Path, delimiter: str, encoding: str
) -> None:
    rows = [*QUESTIONS, ["Größe für Zoë?", "Überall süß"]]
    path = put(tmp_path, as_csv(rows, delimiter), encoding)
    found = rows_of(path, "rows.csv")
    assert found == [*EXPECTED, {"question": "Größe für Zoë?", "answer": "Überall süß"}]


def test_a_file_of_one_column_is_not_torn_at_its_commas(tmp_path: Path) -> None:
    path = put(tmp_path, "story\nOnce, long ago, there was\nand then, at last\n")
    assert rows_of(path, "rows.csv") == [{"story": "Once, long ago, there was"}, {"story": "and then, at last"}]


def test_quotes_with_a_backslash_and_lines_of_an_old_mac_are_read(tmp_path: Path) -> None:
    path = put(tmp_path, 'question,answer\r"He said \\"yes\\", twice",4\r')
    assert rows_of(path, "rows.csv") == [{"question": 'He said "yes", twice', "answer": "4"}]


def test_a_file_without_names_gets_some(tmp_path: Path) -> None:
    path = put(tmp_path, "What is 2 and 2?,4\nWhat is 3 and 3?,6\n")
    assert rows_of(path, "rows.csv")[0] == {"column 1": "What is 2 and 2?", "column 2": "4"}


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("Question (de),,Answer\nWie geht es?,x,Gut\n", ["Question (de)", "column 2", "Answer"]),
        ("Question,Answer,Answer\nHow?,So,Thus\n", ["Question", "Answer", "Answer (2)"]),
        (",Frage,Antwort\n0,Wie?,So\n1,Wo?,Da\n2,Wann?,Nie\n", ["column 1", "Frage", "Antwort"]),
        ("Thema,,Text\n" + f"Wetter,,{'lang ' * 10}\n" * 3, ["Thema", "column 2", "Text"]),
    ],
)
def test_a_row_of_names_may_have_a_blank_or_a_repeated_one(tmp_path: Path, content: str, columns: list[str]) -> None:
    with tables.opened(put(tmp_path, content), "rows.csv") as table:
        assert (table.columns, table.header) == (columns, True)


@pytest.mark.parametrize(
    "content",
    [
        "Translate to German.,,Gut\nTranslate to French.,hello,Bon\n",
        "Hello,,Hi there\nGood evening,x,And to you\nThanks,,Not at all\n",
        "yes,yes\nno,yes\nyes,no\n",
        "answer,,Rain\nanswer,,Sun\n",
        "Rome,,1\nBonn,,2\nOslo,,3\n",
    ],
)
def test_a_first_row_of_data_with_a_blank_or_a_repeated_cell_is_data(tmp_path: Path, content: str) -> None:
    with tables.opened(put(tmp_path, content), "rows.csv") as table:
        assert (table.columns[0], len(list(table.rows))) == ("column 1", content.count("\n"))


def test_who_knows_better_says_whether_the_first_row_is_names(tmp_path: Path) -> None:
    path = put(tmp_path, "2 and 2?,4\n3 and 3?,6\n")
    with tables.opened(path, "rows.csv", header=True) as table:
        assert (table.columns, len(list(table.rows))) == (["2 and 2?", "4"], 1)
        assert "first row names the columns" in table.details


def test_missing_cells_are_empty_and_rows_with_too_many_are_told_of(tmp_path: Path) -> None:
    report = tables.check(put(tmp_path, "a,b,c\n1,2,3\n4,5\n6,7,8,9\n\n7,8,9\n1,2,3,4\n"), "rows.csv")
    assert (report.format, report.rows, report.problem_count) == ("table", 5, 0)
    [warning] = report.warnings
    assert (warning.message, warning.count, warning.lines) == (
        "The row has more cells than there are columns", 2, (4, 7),
    )  # fmt: skip


def test_a_quote_that_is_never_closed_is_named_with_its_line(tmp_path: Path) -> None:
    report = tables.check(put(tmp_path, 'a,b\n1,2\n3,"' + "and so on\n" * 1_200_000), "rows.csv")
    assert report.problem_count == 1 and not report.usable
    assert "never closed" in report.problems[0].message


def test_a_line_of_100_mb_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "content"
    with path.open("wb") as file:
        file.write(b"a,b\n")
        for _ in range(100):
            file.write(b"x" * (1 << 20))
    report = tables.check(path, "rows.csv")
    assert report.problems[0].kind == "line_too_long"


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    assert "no text" in tables.check(put(tmp_path, bytes(4000) + b"abc"), "rows.csv").problems[0].message


def test_what_is_broken_late_in_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    content = b"a,b\n" + b"1,2\n" * 100_000 + b"\xff\xfe,3\n"
    report = tables.check(put(tmp_path, content), "rows.csv")
    assert report.problems[0].kind == "not_utf8" and report.problems[0].line > 90_000


def test_the_dialect_is_told_in_words(tmp_path: Path) -> None:
    words = csv_files.recognise(put(tmp_path, as_csv(QUESTIONS, ";"))).words
    assert words == "UTF-8, separated by semicolon, first row names the columns"


# ---- JSON lists ----


def test_a_json_list_is_read_object_by_object(tmp_path: Path) -> None:
    rows = [{"question": f"{n} {{}}[],", "answer": [n, {"n": n}]} for n in range(4000)]
    path = put(tmp_path, "\ufeff \n" + json.dumps(rows, indent=1) + "\n")
    assert rows_of(path, "rows.json") == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[{"a": 1}, {"a": 2}', "ends in the middle"),
        ('[{"a": 1} {"a": 2}]', "comma is missing after value 1"),
        ('[{"a": 1}, {"a": NaN}]', "NaN is not a JSON value"),
        ('[{"a": 1}, {"a": "x}]', "Value 2 is not valid JSON"),
        ('[{"a": 1}] more', "follows the end"),
        ('[{"a": ' + "[" * 100_000, "nested too deeply"),
        ('[{"a": ' + "1" * 5000 + "}]", "Exceeds the limit"),
        ("[]", "no row in it"),
        ("[1,", "ends in the middle"),
    ],
)
def test_a_broken_json_list_says_what_and_where(tmp_path: Path, content: str, said: str) -> None:
    report = tables.check(put(tmp_path, content), "rows.json")
    assert report.problem_count == 1 and said in report.problems[0].message


def test_values_that_are_no_objects_are_told_of(tmp_path: Path) -> None:
    report = tables.check(put(tmp_path, '[{"a": 1}, 7, "x"]'), "rows.json")
    assert [each.message for each in report.warnings] == [
        "The row is a number, not an object",
        "The row is a text, not an object",
    ]


# ---- Parquet ----


def test_parquet_rows_keep_their_lists_and_objects(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "2 and 2?"}, {"from": "gpt", "value": "4"}]
    path = parquet(tmp_path / "content", {"conversations": [talk] * 200, "n": list(range(200))}, row_group_size=50)
    found = rows_of(path, "rows.parquet")
    assert found[7] == {"conversations": talk, "n": 7} and len(found) == 200


def test_parquet_with_a_column_of_texts_stays_raw_text(tmp_path: Path) -> None:
    assert tables.table_kind(parquet(tmp_path / "content", {"text": ["a"], "url": ["b"]}), "x.parquet") == ""
    assert tables.table_kind(parquet(tmp_path / "content", {"text": [1], "url": ["b"]}), "x.parquet") == "parquet"


def test_a_parquet_file_without_its_footer_says_so(tmp_path: Path) -> None:
    path = parquet(tmp_path / "content", {"a": ["b"]})
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(IntakeError, match="Parquet file cannot be read"), tables.opened(path, "x.parquet"):
        pass


# ---- what is a table at all ----


@pytest.mark.parametrize(
    ("content", "filename", "kind"),
    [
        ("a,b\n1,2\n", "rows.csv", "csv"),
        ("a\tb\n1\t2\n", "rows.TSV", "csv"),
        ("a,b\n1,2\n", "rows.jsonl", ""),
        ('{"messages": []}\n', "rows.csv", ""),
        ('[{"a": 1}]', "rows.jsonl", "json"),
        ("[1, 2]", "rows.jsonl", ""),
        ("[1, 2]", "rows.json", "json"),
        ("Once upon a time", "story.txt", ""),
    ],
)
def test_a_table_is_known_by_its_content_and_csv_by_its_name(
    tmp_path: Path, content: str, filename: str, kind: str
) -> None:
    assert tables.table_kind(put(tmp_path, content), filename) == kind


def test_jsonl_of_any_keys_can_be_read_as_a_table(tmp_path: Path) -> None:
    path = put(tmp_path, '{"q": "2 and 2?", "a": 4}\nbroken\n{"q": "3 and 3?", "b {x}": 6}\n')
    with tables.opened(path, "rows.jsonl") as table:
        assert table.columns == ["q", "a", "b (x)"]
        assert [row.line for row in table.rows] == [1, 3]


def test_a_table_with_too_many_columns_is_refused(tmp_path: Path) -> None:
    content = ",".join(f"c{n}" for n in range(600)) + "\n"
    report: Report = tables.check(put(tmp_path, content * 2), "rows.csv")
    assert "600 columns" in report.problems[0].message
