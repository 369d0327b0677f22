"""The rows of a dataset on the screen: as text and as tokens, searched and filtered, all in the address."""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from accounts.models import Project
from tests.factories import CHATML_TEMPLATE, chat_row, preference_rows, tiny_model
from tests.makers import make_base_model
from training import files
from training.models import BaseModel, DatasetFile
from training.row_search import system_key

OTHER_TEMPLATE = CHATML_TEMPLATE.replace("<|im_start|>", "## ")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("readers")
    return {"chatml": tiny_model(root / "chatml"), "other": tiny_model(root / "other", OTHER_TEMPLATE)}


@pytest.fixture
def models(db: None, folders: dict[str, Path]) -> list[BaseModel]:
    return [make_base_model(name, str(folder)) for name, folder in folders.items()]


def rows(count: int = 30) -> list[dict[str, Any]]:
    """Every seventh row speaks of a refund, every tenth has a system prompt; row 12 masks an answer."""
    found = [
        chat_row(f"Order {n}?", "It is done." if n % 7 else "Your refund comes.", None if n % 10 else "Be brief.")
        for n in range(count)
    ]
    found[12:13] = [{
        "messages": [
            {"role": "user", "content": "One?"}, {"role": "assistant", "content": "Wrong.", "weight": 0},
            {"role": "user", "content": "Again?"}, {"role": "assistant", "content": "One."},
        ]
    }] if count > 12 else []  # fmt: skip
    return found


def make(project: Project, content: list[dict[str, Any]], name: str = "rows.jsonl") -> DatasetFile:
    lines = "".join(json.dumps(row) + "\n" for row in content)
    return files.create_file(project, None, name, "fine-tune", lines.encode())


@pytest.fixture
def file(project: Project) -> DatasetFile:
    return make(project, rows())


def page(client: Client, file: DatasetFile, query: str = "") -> str:
    answer = client.get(f"/datasets/{file.id}/?tab=rows&{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def lines_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'id="line-(\d+)"', text)]


def seen(text: str) -> str:
    """The text without tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", text))


# ---- searching ----


@pytest.mark.servers
def test_words_find_rows_and_are_marked(owner_client: Client, file: DatasetFile) -> None:
    text = page(owner_client, file, "q=REFUND")
    assert lines_in(text) == [1, 8, 15, 22, 29]
    assert text.count("<mark>refund</mark>") == 5
    assert "5 hits in lines 1 to 30" in seen(text) and "the end of the file" in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("weight=0", [13]),
        ("turns=2-", [13]),
        ("role=system", [1, 11, 21]),
        ("q=brief&role=system", [1, 11, 21]),
        (f"system={system_key('Be brief.')}", [1, 11, 21]),
        ("begins=" + quote("Your "), [1, 8, 15, 22, 29]),
        ("ends=One.", [13]),
        ("q=refund&system=none", [8, 15, 22, 29]),
        ("longer=30&q=refund", [1]),
        ("problem=unheard_of", []),
    ],
)
def test_filters_stand_in_the_address_and_are_said_with_a_way_back(
    owner_client: Client, file: DatasetFile, query: str, expected: list[int]
) -> None:
    text = page(owner_client, file, query)
    assert lines_in(text) == expected
    assert text.count("Remove the filter") == query.count("=")


def test_a_search_goes_on_from_where_it_ended(owner_client: Client, project: Project) -> None:
    file = make(project, rows(2400))
    text, found = page(owner_client, file, "q=refund"), []
    while True:
        found += lines_in(text)
        more = re.search(r'href="([^"]+)" rel="next"', text)
        if not more:
            break
        text = page(owner_client, file, html.unescape(more[1]).lstrip("?").split("#")[0])
    assert found == [n + 1 for n in range(2400) if n % 7 == 0 and n != 12]


@pytest.mark.parametrize("byte", ["5", "999999999", "x", "-1"])
def test_a_byte_that_no_line_begins_at_is_not_believed(owner_client: Client, file: DatasetFile, byte: str) -> None:
    assert lines_in(page(owner_client, file, f"q=refund&line=9&byte={byte}")) == [15, 22, 29]


def test_a_filter_that_makes_no_sense_is_told_and_asks_nothing(owner_client: Client, file: DatasetFile) -> None:
    text = page(owner_client, file, "turns=many&longer=x&tools=all")
    assert "give 2, 3-5 or 3-" in text and "no number of characters" in text and "not among the choices" in text
    assert len(lines_in(text)) == 10


def test_what_is_searched_for_is_escaped(owner_client: Client, file: DatasetFile) -> None:
    text = page(owner_client, file, "q=" + quote("<script>alert(1)</script>"))
    assert "<script>alert" not in text and "No row" in text


@pytest.mark.servers
def test_rows_with_a_problem_are_found(owner_client: Client, project: Project) -> None:
    file = make(project, [*rows(12), {"messages": []}, chat_row("again", "so \n")])
    assert lines_in(page(owner_client, file, "problem=messages")) == [13]
    assert lines_in(page(owner_client, file, "problem=trailing_space")) == [14]


# ---- tokens ----


def test_tokens_show_the_template_and_what_is_trained_on(
    owner_client: Client, file: DatasetFile, models: list[BaseModel]
) -> None:
    text = page(owner_client, file, "view=tokens&model=chatml")
    assert '<span class="tok tok--special"' in text and "id 2, weight 1, trained on, special token" in text
    trained = re.findall(r'<mark class="tok-run tok-run--trained">(.*?)</mark>', text, re.DOTALL)
    assert seen(trained[1]).replace("·", " ") == "Your refund comes.<|im_end|>"
    assert "Every row has something to train on, and none is cut." in text
    figures = re.findall(r"(\d+) trained of (\d+) tokens read · (\d+) only read", " ".join(seen(text).split()))
    assert len(figures) == 10 and all(int(learnt) + int(rest) == int(read) for learnt, read, rest in figures)


def test_another_base_model_reads_the_same_row_otherwise(
    owner_client: Client, file: DatasetFile, models: list[BaseModel]
) -> None:
    texts = [page(owner_client, file, f"view=tokens&model={model.name}") for model in models]
    assert "##" not in seen(texts[0]) and "##" in seen(texts[1])


def test_max_length_in_the_address_moves_the_cut_and_rows_say_what_it_takes(
    owner_client: Client, project: Project, models: list[BaseModel]
) -> None:
    file = make(project, [*rows(12), chat_row("a long question " * 30, "Yes.")])
    text = page(owner_client, file, "view=tokens&model=chatml&max_length=64&line=11")
    assert '<span class="tok-cut" role="note">' in text and "left out: every answer is cut away" in text
    assert "1 row cut at 64" in seen(text) and "1 of them with every answer cut away" in seen(text)
    for show in ("cut", "lost"):
        assert lines_in(page(owner_client, file, f"view=tokens&model=chatml&max_length=64&show={show}")) == [13]
    assert lines_in(page(owner_client, file, "model=chatml&tokens=64")) == [13]


def test_on_auto_the_cut_stands_where_a_job_on_auto_would_cut(
    owner_client: Client, file: DatasetFile, models: list[BaseModel]
) -> None:
    text = page(owner_client, file, "view=tokens&model=chatml")
    assert 'placeholder="64"' in text and "nothing is cut" in text and "as a job on auto would" in text


def test_both_answers_of_a_preference_row_are_shown(
    owner_client: Client, project: Project, models: list[BaseModel]
) -> None:
    file = make(project, preference_rows(10))
    text = page(owner_client, file, "view=tokens&model=chatml")
    assert text.count("Preferred answer <") == text.count("Other answer <") == 10


def test_without_a_model_on_disk_tokens_say_where_to_get_one(owner_client: Client, file: DatasetFile) -> None:
    text = page(owner_client, file, "view=tokens")
    assert "none is on disk yet" in text and "/models/" in text


def test_a_template_that_refuses_a_row_says_so_in_the_row(
    owner_client: Client, project: Project, tmp_path: Path
) -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML_TEMPLATE
    make_base_model("strict", str(tiny_model(tmp_path / "strict", strict)))
    text = page(owner_client, make(project, rows()), "view=tokens&model=strict")
    assert text.count("cannot be encoded") == 1 and "no system" in text


# ---- one row ----


def test_a_row_has_a_page_of_its_own_with_tokens_text_and_json(
    owner_client: Client, file: DatasetFile, models: list[BaseModel]
) -> None:
    answer = owner_client.get(f"/datasets/{file.id}/rows/13?model=chatml&max_length=20")
    text = answer.content.decode()
    assert 'title="weight 0">not trained on' in text and "&quot;weight&quot;: 0" in text and "tok-cut" in text
    assert f"/datasets/{file.id}/rows/12?" in text and f"/datasets/{file.id}/rows/14?" in text


def test_a_long_row_shows_its_tokens_part_by_part(
    owner_client: Client, project: Project, models: list[BaseModel]
) -> None:
    file = make(project, [*rows(12), chat_row("word " * 6000, "Yes.")])
    text = owner_client.get(f"/datasets/{file.id}/rows/13?model=chatml").content.decode()
    more = re.search(r'href="([^"]+)">Show what follows', text)
    assert more and "Tokens 1 to 4,000 of" in text
    assert "Tokens 4,001 to" in owner_client.get(html.unescape(more[1])).content.decode()


def test_a_very_long_row_is_not_encoded_in_a_list_and_says_where_its_tokens_are(
    owner_client: Client, project: Project, models: list[BaseModel]
) -> None:
    turns = [{"role": role, "content": "word " * 200} for _ in range(50) for role in ("user", "assistant")]
    file = make(project, [*rows(12), {"messages": turns}])
    text = page(owner_client, file, "view=tokens&model=chatml&line=12")
    assert "This row is long: 100,000 characters. Open it alone" in text and "Open line 13" in text
    assert "This row is long" not in owner_client.get(f"/datasets/{file.id}/rows/13?model=chatml").content.decode()


@pytest.mark.parametrize("line", [0, 31, 10**9])
def test_a_row_that_is_not_there_is_not_found(owner_client: Client, file: DatasetFile, line: int) -> None:
    assert owner_client.get(f"/datasets/{file.id}/rows/{line}").status_code == 404


def test_strangers_see_no_row(stranger_client: Client, file: DatasetFile) -> None:
    assert stranger_client.get(f"/datasets/{file.id}/rows/1").status_code == 404


def test_documents_of_raw_text_are_shown_as_tokens_too(
    owner_client: Client, project: Project, models: list[BaseModel]
) -> None:
    content = b"The fox jumps.\n<|endoftext|>\nThe dog sleeps.\n"
    file = files.create_file(project, None, "stories.txt", "fine-tune", content)
    text = page(owner_client, file, "view=tokens&model=chatml")
    assert "jump" in seen(text)
    assert owner_client.get(f"/datasets/{file.id}/rows/2").status_code == 200


# ---- raw text ----


def raw_text(project: Project) -> DatasetFile:
    """Fifteen short documents, then a long one that speaks of a needle in its third part."""
    long = "hay and straw " * 15_000 + "a Needle <b> lies here\n" + "more hay\n"
    content = "\n<|endoftext|>\n".join([*(f"The fox jumps {n} times." for n in range(15)), long])
    return files.create_file(project, None, "stories.txt", "fine-tune", content.encode())


def test_words_are_found_in_raw_text_and_only_filters_that_make_sense_are_shown(
    owner_client: Client, project: Project
) -> None:
    file = raw_text(project)
    text = page(owner_client, file, "q=FOX")
    assert lines_in(text) == list(range(1, 11)) and text.count("<mark>fox</mark>") == 10
    assert "10 hits in documents 1 to 10" in seen(text)
    more = re.search(r'href="([^"]+)" rel="next"', text)
    assert more and lines_in(page(owner_client, file, html.unescape(more[1]).lstrip("?").split("#")[0])) == [
        *range(11, 16)
    ]
    assert 'name="longer"' in text
    for name in ("role", "tools", "turns", "tokens", "weight", "problem"):
        assert f'name="{name}"' not in text


def test_a_hit_in_a_long_document_shows_what_stands_around_it_and_leads_to_its_part(
    owner_client: Client, project: Project
) -> None:
    file = raw_text(project)
    text = page(owner_client, file, "q=needle")
    assert lines_in(text) == [16] and "<mark>Needle</mark> &lt;b&gt; lies here" in text
    assert "Part 3 of 3: characters 200,001 to 210,032 of 210,032" in seen(text) and "hay and straw " * 200 not in text
    link = re.search(r'href="([^"]+part=3)">Read it there', text)
    assert link
    whole = owner_client.get(html.unescape(link[1])).content.decode()
    assert "a Needle &lt;b&gt; lies here" in whole and "Part before" in whole and "Next part" not in whole
    assert "part=2" in whole and owner_client.get(f"/datasets/{file.id}/rows/16?part=4").status_code == 404


def test_long_documents_are_found_by_their_length_and_shown_by_their_first_part(
    owner_client: Client, project: Project
) -> None:
    file = raw_text(project)
    text = page(owner_client, file, "longer=1000")
    assert lines_in(text) == [16] and "Part 1 of 3: characters 1 to 100,000" in seen(text)
    assert lines_in(page(owner_client, file, "longer=1000&q=fox")) == []
    assert "no number of characters" in page(owner_client, file, "longer=x")
    assert lines_in(page(owner_client, file, "line=15")) == [15, 16]
