"""The tab Insight: what a base model reads, and what rows have in common, each with a link to the rows."""

import html
import json
import re
from pathlib import Path

import pytest
from django.test import Client

from accounts.models import Project
from tests.factories import chat_row, preference_rows, tiny_model
from tests.makers import make_base_model, make_job
from training import file_tasks, files, insight, token_counts
from training.models import BaseModel, DatasetFile


@pytest.fixture
def model(db: None, tmp_path: Path) -> BaseModel:
    return make_base_model("chatml", str(tiny_model(tmp_path / "chatml")))


@pytest.fixture
def file(project: Project) -> DatasetFile:
    """30 rows: ten begin alike, the eleventh is long, some have a system prompt."""
    rows = [
        chat_row(
            f"Order {n}?", f"Number {n} it is." if n % 3 else f"Thank you for {n}.", None if n % 2 else "Be brief."
        )
        for n in range(30)
    ]
    rows[10] = chat_row("a long question " * 40, "Yes.", "Be kind.")
    return make(project, rows)


def make(project: Project, rows: list[dict]) -> DatasetFile:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return files.create_file(project, None, "rows.jsonl", "fine-tune", content)


def page(client: Client, file: DatasetFile, query: str = "") -> str:
    answer = client.get(f"/datasets/{file.id}/?tab=tokens&{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def seen(text: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def test_insight_counts_tokens_by_row_and_role(owner_client: Client, file: DatasetFile, model: BaseModel) -> None:
    text = page(owner_client, file, "model=chatml")
    for words in ("Tokens per row", "System", "User", "Assistant", "Tokens trained on, per row", "Messages per row"):
        assert words in text
    assert "Longest rows" in text and f"/datasets/{file.id}/rows/11" in text
    assert text.count("As a table") == 3  # what is the same in every row is said in words
    assert re.search(r"30 rows, each with 1 answer\b", seen(text))


def test_without_a_base_model_what_rows_have_in_common_is_said_all_the_same(
    owner_client: Client, file: DatasetFile
) -> None:
    text = seen(page(owner_client, file))
    assert "none is on disk yet" in text
    assert "Thank you for 10" in text and "Be brief. 14" in text and "15 rows without" in text


def test_every_phrase_prompt_and_tool_leads_to_its_rows(owner_client: Client, file: DatasetFile) -> None:
    links = {html.unescape(link) for link in re.findall(r'href="(\?tab=rows&amp;[^"]+)"', page(owner_client, file))}
    assert len([link for link in links if "begins=" in link or "system=" in link]) >= 4
    for link in links:
        answer = owner_client.get(f"/datasets/{file.id}/{link.split('#')[0]}")
        assert 'id="line-' in answer.content.decode(), link


def test_rows_that_a_length_cuts_are_counted_and_linked(
    owner_client: Client, file: DatasetFile, model: BaseModel
) -> None:
    text = page(owner_client, file, "model=chatml&max_length=64")
    assert "Cut at 64" in text and "1 lose every answer" in seen(text)
    link = html.unescape(re.search(r'href="([^"]*show=lost[^"]*)"', text)[1]).split("#")[0]
    assert re.findall(r'id="line-(\d+)"', owner_client.get(f"/datasets/{file.id}/{link}").content.decode()) == ["11"]


def test_a_count_of_earlier_days_is_done_again_for_the_figures_of_each_row(
    owner_client: Client, file: DatasetFile, model: BaseModel
) -> None:
    facts = token_counts.token_facts(file, model)
    path = file.path.with_name("tokens-chatml.bin")
    path.unlink()
    assert "Tokens by role" not in page(owner_client, file)
    assert "Tokens by role" in owner_client.get(f"/datasets/{file.id}/tokens?model=chatml").content.decode()
    assert path.exists() and token_counts.token_facts(file, model) == facts


@pytest.mark.servers
def test_a_large_file_is_counted_by_the_worker_with_all_figures(
    owner_client: Client, file: DatasetFile, model: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_counts, "COUNTED_AT_ONCE_BYTES", 0)
    part = f"/datasets/{file.id}/tokens?model=chatml"
    assert "to count with the tokenizer" in owner_client.get(part).content.decode()
    file_tasks.run(token_counts.task_of(file, model).pk)
    assert "Tokens by role" in owner_client.get(part).content.decode()
    assert insight.read(file.id)["rows"] == 30


def test_preferences_and_raw_text_have_their_insight(owner_client: Client, project: Project, model: BaseModel) -> None:
    pairs = page(owner_client, make(project, preference_rows(12)), "model=chatml")
    assert "The longer of both answers" in pairs and "both answers" in pairs
    texts = page(owner_client, make(project, [{"text": f"Once upon a time {n}."} for n in range(12)]), "model=chatml")
    assert "Tokens per document" in texts and "Once upon a time" in texts


def test_a_file_with_problems_still_says_what_its_good_rows_have_in_common(
    owner_client: Client, project: Project, model: BaseModel
) -> None:
    file = make(project, [*[chat_row("?", f"Thank you for {n}.") for n in range(12)], {"messages": []}])
    text = page(owner_client, file)
    assert "Tokens are counted when the file has no problems" in text and "Thank you for" in text


def test_every_tab_reads_with_the_usual_base_model_or_the_one_of_the_address(
    owner_client: Client, project: Project, file: DatasetFile, model: BaseModel, tmp_path: Path
) -> None:
    other = make_base_model("another", str(tiny_model(tmp_path / "another")))
    make_job(project, base_model=model, training_file=file)
    token_counts.token_facts(file, other)  # counted, and first by its name
    for tab in ("tokens", "rows&view=tokens"):
        shown = owner_client.get(f"/datasets/{file.id}/?tab={tab}").text
        assert '<option value="chatml" selected>' in shown and "model=" not in tabs(shown)
        shown = owner_client.get(f"/datasets/{file.id}/?tab={tab}&model=another").text
        assert '<option value="another" selected>' in shown and tabs(shown).count("&amp;model=another#tabs") == 8
    assert 'value="chatml" selected' in owner_client.get(f"/datasets/{file.id}/estimate").text


def tabs(page: str) -> str:
    return page[page.index('id="tabs"') :].partition("</nav>")[0]
