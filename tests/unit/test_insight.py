"""What rows have in common, and the figures of each row: exact, bounded, with percentiles that are what they say."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.factories import chat_row, preference_row, preference_rows, tiny_model
from training import insight, token_index
from training.engine.chat import ChatFormat
from training.engine.pairs import encode_sequences
from training.insight import Insight, collect, distribution
from training.row_search import Query, Search, texts_of

WEATHER = {"type": "function", "function": {"name": "weather"}}
NEVER = {"type": "function", "function": {"name": "never"}}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def of(tmp_path: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return collect(write(tmp_path / "rows.jsonl", rows)).as_json()


def told(entries: list[dict[str, Any]]) -> dict[str, int]:
    return {each["text"]: each["answers"] for each in entries}


def test_openings_and_endings_are_whole_words_with_how_many_answers_have_them(tmp_path: Path) -> None:
    rows = [chat_row("?", f"Sure! Number {n} is what you want. Thank you {n}.") for n in range(30)]
    rows += [chat_row("?", f"I am sorry to hear of it, {n} times. Bye for now.") for n in range(12)]
    found = of(tmp_path, rows)
    assert told(found["openings"]) == {"Sure! Number": 30, "I am sorry to hear of": 12}
    assert told(found["endings"])["times. Bye for now."] == 12
    assert found["openings_missed"] == found["endings_missed"] == 0


def test_one_word_that_many_answers_begin_with_is_worth_a_line(tmp_path: Path) -> None:
    words = ["yes", "this", "that", "never", "order", "when", "look"]
    rows = [chat_row("?", f"Sure, {words[n % 7]} {n}") for n in range(70)]
    openings = told(of(tmp_path, rows)["openings"])
    assert openings["Sure,"] == 70 and openings["Sure, yes"] == 10


@pytest.mark.parametrize("side", ["begins", "ends"])
def test_the_count_of_a_phrase_is_what_its_filter_finds(tmp_path: Path, side: str) -> None:
    texts = ["Hello there,\nfriend", "Hello there,\nyou", "Hello", "Hellomore text", "So long\n", "and so long"]
    path = write(tmp_path / "rows.jsonl", [chat_row("?", texts[n % 6] + " " * (n % 2)) for n in range(60)])
    found = collect(path).as_json()
    entries = found["openings" if side == "begins" else "endings"]
    assert entries
    for each in entries:
        hits = Search(path, Query(**{side: each["text"]})).look(most=1000).hits
        assert len(hits) == each["answers"]


def test_very_many_different_openings_stay_bounded_and_the_common_ones_are_found() -> None:
    many = Insight()
    tracemalloc.start()
    for n in range(60_000):
        text = f"{n:07d} something else" if n % 3 else "Thank you for writing, " + str(n)
        many.add({"messages": []}, n, [])
        many._answer(text)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    found = many.as_json()
    assert found["openings"][0]["text"] == "Thank you for writing,"
    assert 20_000 - found["openings_missed"] <= found["openings"][0]["answers"] <= 20_000
    assert 0 < found["openings_missed"] < 60
    assert held < 12 << 20


def test_masked_answers_and_the_answer_that_is_not_preferred_are_not_learnt(tmp_path: Path) -> None:
    masked = chat_row("?", "Wrong it is.")
    masked["messages"][1]["weight"] = 0
    masked["messages"] += [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Right it is."}]
    assert set(told(of(tmp_path, [masked] * 5)["openings"])) == {"Right it is."}
    pairs = [preference_row("?", "This is better.", "That is worse.") for _ in range(5)]
    assert set(told(of(tmp_path, pairs)["openings"])) == {"This is better."}


def test_tools_are_counted_by_rows_that_offer_and_calls_that_use_them(tmp_path: Path) -> None:
    row = chat_row("?", "Rain.")
    row["tools"] = [WEATHER, NEVER]
    row["messages"].insert(1, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]})
    row["messages"].insert(2, {"role": "tool", "tool_call_id": "1", "content": "rain"})
    found = of(tmp_path, [row, row, chat_row("?", "No.")])
    assert found["tools"] == [{"name": "weather", "rows": 2, "calls": 4}, {"name": "never", "rows": 2, "calls": 0}]
    assert found["calls"] == 4


def test_turns_messages_system_prompts_and_extremes(tmp_path: Path) -> None:
    rows = [chat_row("?", "x" * n, "Be brief." if n % 2 else None) for n in range(1, 21)]
    found = of(tmp_path, [*rows, {"messages": "broken"}, {"prompt": "a", "completion": "another format"}])
    assert found["turns"] == {"1": 20} and found["messages"] == {"2": 10, "3": 10}
    assert found["system"] == [{"text": "Be brief.", "rows": 10}] and found["without_system"] == 10
    assert found["longest"][:2] == [(29, 19), (27, 17)]
    assert found["shortest"][0] == (3, 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (list(range(1, 101)), {"min": 1, "p5": 5, "median": 50, "mean": 50.5, "p95": 95, "max": 100}),
        ([7], {"min": 7, "p5": 7, "median": 7, "mean": 7.0, "p95": 7, "max": 7}),
        ([1, 1, 1, 50], {"min": 1, "p5": 1, "median": 1, "mean": 13.25, "p95": 50, "max": 50}),
    ],
)
def test_p5_and_p95_are_the_5th_and_95th_percentile(values: list[int], expected: dict[str, float]) -> None:
    """The well-known cookbook takes the 10th and the 90th for them."""
    counts = {str(value): values.count(value) for value in set(values)}
    assert distribution(counts) == expected
    assert token_index.distribution(np.array(values, dtype="u4")) == expected


# ---- tokens of each row ----


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatFormat:
    return ChatFormat.load(tiny_model(tmp_path_factory.mktemp("tiny") / "tiny"))


def index(path: Path, chat: ChatFormat, rows: list[dict[str, Any]]) -> token_index.Records:
    with token_index.Writer(path, chat) as writer:
        for line, row in enumerate(rows, start=1):
            writer.add(line, row, encode_sequences(chat, row))
    found = token_index.read(path)
    assert found is not None
    return found


def test_each_row_has_its_tokens_and_those_of_its_roles(tmp_path: Path, chat: ChatFormat) -> None:
    rows = [chat_row(f"Order {n}?", "Done. " * (1 + n), "Be brief." if n % 3 else None) for n in range(700)]
    found = index(tmp_path / "tokens.bin", chat, rows)
    assert found["line"].tolist() == list(range(1, 701))
    for at in (0, 1, 255, 256, 699):
        encoded = chat.encode_row(rows[at])
        texts = {role: len(chat.encode_texts([text])[0]) for role, text in texts_of(rows[at])}
        assert found["tokens"][at] == len(encoded.token_ids)
        assert found["trained"][at] == encoded.trained_tokens
        assert [found[role][at] for role in ("system", "user", "assistant", "tool")] == [
            texts.get(role, 0) for role in ("system", "user", "assistant", "tool")
        ]


def test_rows_that_are_cut_and_rows_that_lose_every_answer_are_told_for_any_length(
    tmp_path: Path, chat: ChatFormat
) -> None:
    rows = [chat_row("a question " * n, "Yes, it is.") for n in (1, 20, 60)]
    found = index(tmp_path / "tokens.bin", chat, rows)
    for length in (5, 20, 40, 80, 1000):
        encoded = [chat.encode_row(row, length) for row in rows]
        lost = [line for line, each in enumerate(encoded, start=1) if not each.trained_tokens]
        assert token_index.cut(found, length).tolist() == [n for n, each in enumerate(encoded, 1) if each.truncated]
        assert token_index.lost(found, length).tolist() == lost
    assert not len(token_index.untrained(found))


def test_of_a_preference_row_the_longer_answer_decides(tmp_path: Path, chat: ChatFormat) -> None:
    rows = preference_rows(20)
    found = index(tmp_path / "tokens.bin", chat, rows)
    for at, row in enumerate(rows):
        sequences = encode_sequences(chat, row)
        assert found["tokens"][at] == max(len(each.token_ids) for each in sequences)
        assert found["trained"][at] == sum(each.trained_tokens for each in sequences)


def test_a_count_that_fails_leaves_nothing_behind(tmp_path: Path, chat: ChatFormat) -> None:
    with pytest.raises(ValueError, match="half"), token_index.Writer(tmp_path / "tokens.bin", chat):
        raise ValueError("half")
    assert not list(tmp_path.iterdir()) and token_index.read(tmp_path / "tokens.bin") is None


def test_longest_and_shortest_rows_are_named(tmp_path: Path, chat: ChatFormat) -> None:
    rows = [chat_row("a " * n, "b") for n in (5, 50, 1, 30)]
    longest, shortest = token_index.extremes(index(tmp_path / "tokens.bin", chat, rows), 2)
    assert [line for _, line in longest] == [2, 4] and [line for _, line in shortest] == [3, 1]
    assert insight.SHOWN >= 2
