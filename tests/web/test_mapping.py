"""A table becomes a dataset: its page says what is missing, the mapping page shows the rows, one press makes them."""

import html
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from accounts.models import Project
from training import checks, files
from training.intake import making
from training.intake.models import Making
from training.models import DatasetFile

ALPACA = "instruction,input,output\n" + "".join(f"Add the numbers.,{n} and {n},It is {2 * n}.\n" for n in range(12))


def added(project: Project, content: str | bytes, name: str) -> DatasetFile:
    return files.create_file(
        project, None, name, "fine-tune", content if isinstance(content, bytes) else content.encode()
    )


@pytest.fixture
def table(project: Project) -> DatasetFile:
    return added(project, ALPACA, "sums.csv")


def page(client: Client, address: str, **values: str) -> str:
    answer = client.get(address, values)
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


def test_a_table_says_that_it_needs_a_mapping_and_no_job_can_use_it(
    owner_client: Client, project: Project, table: DatasetFile
) -> None:
    assert (table.status, table.format, table.rows, table.problem_count) == ("error", "table", 12, 0)
    assert "Needs a mapping" in page(owner_client, "/datasets/")
    versions = page(owner_client, reverse("dataset", args=[table.id]), tab="versions")
    assert "Needs a mapping" in versions and "0 problems" not in versions
    assert f'{reverse("map-columns", args=[table.id])}">Map its columns' in page(owner_client, "/")
    shown = page(owner_client, reverse("dataset", args=[table.id]))
    assert "12 rows in 3 columns: needs a mapping" in shown
    assert reverse("map-columns", args=[table.id]) in shown
    assert "Add the numbers." in shown and "UTF-8, separated by comma" in shown
    assert not DatasetFile.objects.of(project).usable().exists()
    assert "This is a table" in checks.refusal(table).message


def test_the_page_guesses_and_shows_the_first_rows_as_conversations(owner_client: Client, table: DatasetFile) -> None:
    shown = page(owner_client, reverse("map-columns", args=[table.id]))
    assert "{instruction}\n\n{input}" in shown and "5 of 5 sound" in shown
    assert "Add the numbers.\n\n3 and 3" in shown and "It is 6." in shown and "It is 10." not in shown


def test_the_preview_follows_the_form_and_says_what_the_check_would(owner_client: Client, table: DatasetFile) -> None:
    address = reverse("map-preview", args=[table.id])
    shown = page(owner_client, address, target="completion", prompt="Q: {input}", completion="{output}")
    assert "Q: 3 and 3" in shown and "<html" not in shown
    assert 'no column "nowhere"' in page(owner_client, address, target="chat", user="{nowhere}", assistant="{output}")
    open_brace = page(owner_client, address, target="chat", user="Add {input", assistant="{output}")
    assert 'A "{" in "user" stands alone' in open_brace and "written twice: {{" in open_brace
    empty = page(owner_client, address, target="completion", prompt="{input}", completion="{{")
    assert "5 of 5 sound" in empty
    assert "Nothing is chosen for the messages" in page(owner_client, address, target="chat", user="{input}")


def test_a_long_first_value_is_seen_to_be_cut(owner_client: Client, project: Project) -> None:
    file = added(project, f"question,answer\n{'why ' * 200},4\n", "sums.csv")
    assert "why …</td>" in page(owner_client, reverse("map-columns", args=[file.id]))
    assert "why …</div>" in page(owner_client, reverse("dataset", args=[file.id]))


def test_a_row_whose_answer_is_empty_has_the_warning_that_the_dataset_will_have(
    owner_client: Client, project: Project
) -> None:
    file = added(project, "question,answer\n2 and 2?,4\n3 and 3?,\n4 and 4?,  \n", "sums.csv")
    shown = page(owner_client, reverse("map-columns", args=[file.id]))
    assert "3 of 3 sound" in shown and "2 with a warning" in shown and ">problem</span>" not in shown
    assert shown.count('chip--warn">warning</span> An assistant message is empty') == 2
    assert "The model learns to say nothing here" in shown


def test_a_csv_with_line_breaks_in_its_cells_is_counted_by_lines_and_a_list_by_rows(
    owner_client: Client, project: Project
) -> None:
    file = added(project, 'question,answer\n"2 and\n2?",4\n3 and 3?,6\n', "sums.csv")
    assert 'class="num">Line</th>' in page(owner_client, reverse("dataset", args=[file.id]))
    assert 'title="Line 4 of the table"' in page(owner_client, reverse("map-columns", args=[file.id]))
    file = added(project, '[{"question": "2 and 2?", "answer": "4"}]', "sums.json")
    assert 'class="num">Row</th>' in page(owner_client, reverse("dataset", args=[file.id]))


def test_another_format_keeps_what_was_guessed(owner_client: Client, table: DatasetFile) -> None:
    shown = page(owner_client, reverse("map-columns", args=[table.id]), target="preference")
    assert "{instruction}\n\n{input}</textarea>" in shown and "{output}</textarea>" in shown
    assert 'Nothing is chosen for "rejected"' in shown


def test_one_press_makes_the_next_version_and_the_table_stays(
    owner_client: Client, project: Project, table: DatasetFile
) -> None:
    parts = {"target": "chat", "user": "{instruction}\n\n{input}", "assistant": "{output}", "name": "sums.jsonl"}
    answer = owner_client.post(reverse("map-columns", args=[table.id]), parts)
    made = project.files.exclude(pk=table.pk).get()
    assert answer.url == reverse("dataset", args=[made.id])
    assert (made.filename, made.status, made.format, made.rows) == ("sums.jsonl", "processed", "chat", 12)
    assert (made.family, made.version, made.parent) == (table.family, 2, table)
    assert made.origin["kind"] == "mapped" and made.origin["parts"]["assistant"] == "{output}"
    rows = [json.loads(line) for line in made.path.read_text().splitlines()]
    assert rows[3]["messages"] == [
        {"role": "user", "content": "Add the numbers.\n\n3 and 3"},
        {"role": "assistant", "content": "It is 6."},
    ]
    assert table.path.read_text() == ALPACA
    assert Making.objects.get().status == "done"


def test_rows_that_give_nothing_are_left_out_and_told_of(owner_client: Client, project: Project) -> None:
    content = ALPACA + ",,\none,two,three,four\n"
    table = added(project, content.replace(",,\n", '"","  ",""\n'), "sums.csv")
    parts = {"target": "chat", "user": "{instruction} {input}", "assistant": "{output}", "name": "sums.jsonl"}
    owner_client.post(reverse("map-columns", args=[table.id]), parts)
    made = project.files.exclude(pk=table.pk).get()
    assert made.rows == 12
    assert made.origin["left_out"] == {
        "The row holds nothing to learn": 1, "The row has more cells than there are columns": 1,
    }  # fmt: skip
    assert made.origin["left_out_lines"] == [14, 15] and "2 rows left out" in made.origin["words"]


def test_a_mapping_from_which_no_row_comes_is_refused_in_words(
    owner_client: Client, project: Project, table: DatasetFile
) -> None:
    answer = owner_client.post(
        reverse("map-columns", args=[table.id]), {"target": "chat", "messages": "{input}", "name": "x.jsonl"}
    )
    assert answer.status_code == 200 and "Not one row comes out" in html.unescape(answer.content.decode())
    assert project.files.count() == 1 and not Making.objects.exists()


def test_whether_the_first_row_names_the_columns_can_be_switched_and_is_kept(
    owner_client: Client, project: Project
) -> None:
    table = added(project, "Question (de),,Answer\nWie viel ist 2 und 2?,x,4\n" + "Und 3 und 3?,,6\n" * 11, "sums.csv")
    address = reverse("map-columns", args=[table.id])
    shown = page(owner_client, address)
    assert "The first row holds the names of the columns" in shown and 'value="1" checked' in shown
    assert "{column 2}" in shown and "{Question (de)}" in shown
    switched = page(owner_client, address, target="chat", header="0")
    assert 'value="1" checked' not in switched and "Question (de)" in switched and "{column 3}" in switched
    old = {"target": "chat", "user": "{Question (de)}", "assistant": "{Answer}", "name": "sums.jsonl"}
    parts = old | {"user": "{column 1}", "assistant": "{column 3}"}
    both = {"drawn_header": "0", "header": "0"}
    assert "Question (de)" in page(owner_client, reverse("map-preview", args=[table.id]), **parts, **both)
    without_script = page(owner_client, address, **old, drawn_header="1", header="0")
    assert "There is no column" not in without_script and "{column 1}</textarea>" in without_script
    owner_client.post(address, parts | both)
    made = project.files.exclude(pk=table.pk).get()
    assert (made.rows, made.origin["header"]) == (13, False)
    assert "Its first row is data; its columns have no names." in made.origin["words"]


def test_jsonl_of_unknown_keys_gets_the_same_offer(owner_client: Client, project: Project) -> None:
    rows = [{"question": f"{n} and {n}?", "answer": str(2 * n)} for n in range(12)]
    file = added(project, "".join(json.dumps(row) + "\n" for row in rows), "sums.jsonl")
    assert file.status == "error"
    address = reverse("map-columns", args=[file.id])
    assert address in page(owner_client, reverse("dataset", args=[file.id]))
    assert "{question}" in page(owner_client, address)
    owner_client.post(address, {"target": "chat", "user": "{question}", "assistant": "{answer}", "name": "sums.jsonl"})
    assert project.files.usable().get().rows == 12


def test_a_sound_dataset_is_offered_no_mapping(owner_client: Client, project: Project) -> None:
    row = {"messages": [{"role": "user", "content": "2 and 2?"}, {"role": "assistant", "content": "4"}]}
    file = added(project, (json.dumps(row) + "\n") * 12, "sums.jsonl")
    assert reverse("map-columns", args=[file.id]) not in page(owner_client, reverse("dataset", args=[file.id]))


@pytest.mark.servers
def test_a_large_table_is_mapped_by_the_worker(owner_client: Client, project: Project, tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "word " * 40}, {"from": "gpt", "value": "answer " * 40}]
    path = tmp_path / "talks.parquet"
    columns = {"conversations": [[{**each, "value": f"{n} {each['value']}"} for each in talk] for n in range(11_000)]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="none", use_dictionary=False)
    table = added(project, path.read_bytes(), "talks.parquet")
    checks.check(table.id)
    table.refresh_from_db()
    assert table.rows == 11_000 and table.bytes > 4 << 20
    owner_client.post(
        reverse("map-columns", args=[table.id]),
        {"target": "chat", "messages": "{conversations}", "name": "talks.jsonl"},
    )
    row = Making.objects.get()
    assert row.status == "waiting" and "talks.jsonl" in page(owner_client, "/datasets/")
    making.make(row.pk)
    making.make(row.pk)  # the message came twice
    row.refresh_from_db()
    checks.check(row.made_id)
    row.made.refresh_from_db()
    assert (row.status, row.made.rows, row.made.format, row.made.version) == ("done", 11_000, "chat", 2)


def test_what_a_worker_left_half_done_is_found_and_not_made_twice(project: Project, table: DatasetFile) -> None:
    asked = {"target": "chat", "parts": {"user": "{input}", "assistant": "{output}"}}
    row = making.ask(project, None, "mapped", name="sums.jsonl", asked=asked, source=table, read_bytes=1)
    made = row.made_id
    Making.objects.filter(pk=row.pk).update(status="working", made=None)  # it died before it could say so
    making.make(row.pk)
    row.refresh_from_db()
    assert (row.status, row.made_id, project.files.count()) == ("done", made, 2)


@pytest.mark.parametrize("name", ["map-columns", "map-preview"])
def test_a_stranger_gets_404(stranger_client: Client, table: DatasetFile, name: str) -> None:
    assert stranger_client.get(reverse(name, args=[table.id])).status_code == 404


def test_the_api_takes_no_table_and_keeps_none(client: Client, api_key: str, project: Project) -> None:
    for name, content in (("t.csv", ALPACA), ("t.jsonl", '[{"question": "x", "answer": "y"}]')):
        sent = {"purpose": "fine-tune", "file": SimpleUploadedFile(name, content.encode())}
        answer = client.post("/v1/files", sent, headers={"Authorization": f"Bearer {api_key}"})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("Expected file to have JSONL format")
    assert not project.files.exists()
