"""Finding rows: what matches, what may be passed over by its bytes, and going on where a look ended."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.factories import chat_row, preference_row
from training import datasets
from training.insight import Insight
from training.row_search import Query, Search, answers_of, matcher, place_of, sieve, system_key, texts_of, words_of

CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
ARGUMENTS = json.dumps({"city": "München 😀"})
ESCAPED = {"role": "assistant", "tool_calls": [{"function": {"name": "find", "arguments": ARGUMENTS}}]}
CALLED = {
    "messages": [
        {"role": "user", "content": "Köln?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
        {"role": "assistant", "content": "Rain."},
    ],
    "tools": [{"type": "function", "function": {"name": "weather"}}],
}
MASKED = {
    "messages": [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Wrong.", "weight": 0},
        {"role": "user", "content": "Again?"},
        {"role": "assistant", "content": "One.\n"},
    ]
}
ROWS: list[dict[str, Any]] = [
    chat_row("Where is my order?", "Sorry to hear that. It is on its way.", system="Be brief."),
    chat_row("GRÜSSE aus Köln", "Sure! Straße und Maß."),
    CALLED,
    MASKED,
    {"prompt": "2 and 2 is", "completion": " four"},
    preference_row("Which one?", "This one.", "That one."),
    {"text": "Once upon a time"},
    chat_row('a "quoted" path C:\\temp/x\tend', "Sure! Done.", system="Be kind."),
    {"messages": [ESCAPED]},
]


def write(path: Path, rows: list[dict[str, Any]] = ROWS, ascii_only: bool = False) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows), encoding="utf-8")
    return path


QUERIES = {
    "a word in any case": (Query(words=("ORDER",)), [1]),
    "all of several words": (Query(words=("sorry", "way")), [1]),
    "a word that is not there": (Query(words=("sorry", "refund")), []),
    "words beside each other": (Query(words=words_of('"is my order"')), [1]),
    "the same words in another order": (Query(words=words_of('"my is order"')), []),
    "other than English, in any case": (Query(words=("grüße",)), [2]),
    "sharp s as two letters": (Query(words=("STRASSE",)), [2]),
    "what JSON escapes": (Query(words=('"quoted"',)), [8]),
    "a path with backslash and slash": (Query(words=("c:\\temp/x",)), [8]),
    "a call's arguments": (Query(words=("köln", "city")), [3]),
    "an escape within a call's arguments": (Query(words=("münchen", "😀")), [9]),
    "words of one role": (Query(words=("köln",), role="user"), [2, 3]),
    "a role": (Query(role="tool"), [3]),
    "a role that says nothing of the words": (Query(words=("rain",), role="user"), []),
    "tools offered": (Query(tools="offered"), [3]),
    "tools called": (Query(tools="called"), [3, 9]),
    "no tools": (Query(tools="none", role="tool"), []),
    "a tool by name": (Query(tool="weather"), [3]),
    "a tool that nobody calls": (Query(tool="weath"), []),
    "two answers": (Query(turns="2"), [3, 4, 6]),
    "one answer or more": (Query(turns="1-", role="system"), [1, 8]),
    "weight 0": (Query(weight=True), [4]),
    "longer than": (Query(longer=60), [1]),
    "a system prompt": (Query(system=system_key("Be kind.")), [8]),
    "no system prompt": (Query(system="none", role="assistant"), [2, 3, 4, 5, 6, 9]),
    "answers that begin so": (Query(begins="Sure!"), [2, 8]),
    "answers that end so, white space apart": (Query(ends="One."), [4]),
    "only some lines": (Query(lines=[2, 3, 8], begins="Sure!"), [2, 8]),
    "no line": (Query(lines=[]), []),
    "both answers of a pair": (Query(words=("that one.",), role="assistant"), [6]),
    "prompt, completion and text": (Query(words=("time",)), [7]),
}


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("name", QUERIES)
def test_a_search_finds_the_rows_that_hold_what_is_asked(tmp_path: Path, name: str, ascii_only: bool) -> None:
    query, expected = QUERIES[name]
    found = Search(write(tmp_path / "rows.jsonl", ascii_only=ascii_only), query).look()
    assert [line for line, _ in found.hits] == expected
    assert (found.first_line, found.next_line) == (1, 0)


@pytest.mark.parametrize("name", QUERIES)
def test_bytes_are_passed_over_only_where_no_row_can_match(name: str) -> None:
    query = QUERIES[name][0]
    may_hold, matches = sieve(query), matcher(query)
    for row in ROWS:
        for ascii_only in (True, False):
            assert may_hold(json.dumps(row, ensure_ascii=ascii_only).encode()) or not matches(row)


def test_an_escape_of_a_plain_letter_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"messages": [{"role": "user", "content": "re\\u0066und"}]}\n')
    assert len(Search(path, Query(words=("refund",))).look().hits) == 1


@pytest.mark.parametrize("said", ["\u212aelvin", "Ma\u00df", "\ufb01nd", "\u017faid"])
def test_letters_that_fold_to_plain_ones_are_found_however_they_are_written(tmp_path: Path, said: str) -> None:
    for ascii_only in (True, False):
        path = write(tmp_path / "rows.jsonl", [chat_row(said, "yes")], ascii_only)
        assert len(Search(path, Query(words=(said.casefold(),))).look().hits) == 1


def test_lines_that_are_no_rows_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        b'order\n\n[1]\n{"messages": "order"}\n{"messages": [1, {"content": 5}], "x": "order"}\n\xff order'
    )
    assert [line for line, _ in Search(path, Query(words=("order",))).look().hits] == [4, 5]


@pytest.mark.parametrize("words", [("seven",), ()])
def test_a_search_goes_on_where_it_ended_and_finds_every_row_once(tmp_path: Path, words: tuple[str, ...]) -> None:
    rows = [chat_row(f"Order {n}?", "seven" if n % 7 == 0 else "no") for n in range(400)]
    path = write(tmp_path / "rows.jsonl", rows)
    line, byte, seen, looks = 1, 0, [], 0
    while line:
        found = Search(path, Query(words=words, role="assistant")).look(line, byte, most=10)
        assert found.first_line == line and len(found.hits) <= 10
        seen += [number for number, _ in found.hits]
        line, byte, looks = found.next_line, found.next_byte, looks + 1
    assert seen == [n + 1 for n in range(400) if not words or n % 7 == 0]
    assert looks > 5


def test_a_look_ends_when_its_time_is_over_and_says_how_far_it_came(tmp_path: Path) -> None:
    rows = [chat_row("nothing " * 200, "no") for _ in range(3000)]
    path = write(tmp_path / "rows.jsonl", [*rows, chat_row("found", "yes")])
    ticks = iter(range(10_000))
    first = Search(path, Query(words=("found",))).look(seconds=0.5, clock=lambda: next(ticks))
    assert not first.hits and 1 <= first.last_line < 3000 and first.next_line == first.last_line + 1
    rest = Search(path, Query(words=("found",))).look(first.next_line, first.next_byte)
    assert [line for line, _ in rest.hits] == [3001] and not rest.next_line


def test_lines_that_are_asked_for_are_jumped_to_by_the_index(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat_row(f"Order {n}?", "no") for n in range(5500)])
    index = datasets.check(path).line_index
    found = Search(path, Query(lines=[4, 2500, 5499]), index).look()
    assert [row["messages"][0]["content"] for _, row in found.hits] == ["Order 3?", "Order 2499?", "Order 5498?"]
    assert place_of(2500, index) == (2001, index[2]) and not found.next_line


def test_a_line_above_the_limit_is_passed_over_and_the_next_one_is_found(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    long = json.dumps(chat_row("found " * (2 << 20), "yes"))
    path.write_text(long + "\n" + json.dumps(chat_row("found", "yes")) + "\n")
    found = Search(path, Query(words=("found",))).look(seconds=60)
    assert [line for line, _ in found.hits] == [2] and not found.next_line


def test_a_rare_word_in_a_large_file_is_found_without_parsing_its_rows(tmp_path: Path) -> None:
    block = "".join(json.dumps(chat_row(f"Order {n}?", "Thank you. " * 30)) + "\n" for n in range(2500))
    path = tmp_path / "rows.jsonl"
    path.write_text(block * 40 + json.dumps(chat_row("needle", "yes")) + "\n")
    begun = time.process_time()
    found = Search(path, Query(words=("needle",))).look(seconds=60)
    seconds = time.process_time() - begun
    assert [line for line, _ in found.hits] == [100_001]
    assert seconds < 2, "41 MB take a tenth of a second"


def test_answers_are_what_the_assistant_says() -> None:
    assert answers_of(ROWS[5]) == ["This one.", "That one."]
    assert answers_of(ROWS[4]) == [" four"]


SHAPES: list[Any] = [None, 0, 1.5, True, "", "Köln", [], {}, [None], ["x"], {"role": "user"}, [{"role": []}], "\ud83d"]
KEYS = (
    "messages", "role", "content", "weight", "tool_calls", "function_call", "function", "name", "arguments", "tools",
    "functions", "input", "preferred_output", "non_preferred_output", "prompt", "chosen", "rejected", "text",
)  # fmt: skip


def broken(rng: random.Random, depth: int = 0) -> Any:
    """Anything, with the keys of rows in places where they do not belong."""
    kind = rng.random()
    if depth > 4 or kind < 0.3:
        return rng.choice(SHAPES)
    if kind < 0.5:
        return [broken(rng, depth + 1) for _ in range(rng.randint(0, 3))]
    return {key: broken(rng, depth + 1) for key in rng.sample(KEYS, rng.randint(0, 5))}


def test_no_row_however_broken_stops_a_search_or_an_insight() -> None:
    rng = random.Random(5)
    asked = [matcher(query) for query, _ in QUERIES.values()]
    seen, rows = Insight(), [row for row in (broken(rng) for _ in range(3000)) if isinstance(row, dict)]
    for line, row in enumerate(rows, start=1):
        for matches in asked:
            assert matches(row) in (True, False)
        seen.add(row, line, texts_of(row))
    assert seen.as_json()["rows"] == len(rows) > 1000
