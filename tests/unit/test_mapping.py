"""Columns become rows: what the names suggest, what templates give, and what the check says of it."""

import json
from typing import Any

import pytest

from training.intake.errors import IntakeError
from training.intake.mapping import CannotMap, Mapping, guess, make_row, mapping_of
from training.rules import detect_format, row_errors

TALK = [{"from": "human", "value": "2 and 2?"}, {"from": "gpt", "value": "4"}]
MESSAGES = [{"role": "user", "content": "2 and 2?"}, {"role": "assistant", "content": "4"}]


@pytest.mark.parametrize(
    ("row", "target", "made"),
    [
        pytest.param(
            {"instruction": "Add.", "input": "2 and 2", "output": "4"},
            "chat",
            {"messages": [{"role": "user", "content": "Add.\n\n2 and 2"}, {"role": "assistant", "content": "4"}]},
            id="alpaca",
        ),
        pytest.param(
            {"instruction": "Say hello.", "input": "", "output": "Hello"},
            "chat",
            {"messages": [{"role": "user", "content": "Say hello."}, {"role": "assistant", "content": "Hello"}]},
            id="alpaca without input",
        ),
        pytest.param({"id": "7", "conversations": TALK}, "chat", {"messages": MESSAGES}, id="sharegpt"),
        pytest.param({"conversations": json.dumps(TALK)}, "chat", {"messages": MESSAGES}, id="sharegpt in a CSV cell"),
        pytest.param(
            {"system": "Be short.", "conversations": TALK},
            "chat",
            {"messages": [{"role": "system", "content": "Be short."}, *MESSAGES]},
            id="sharegpt with a system column",
        ),
        pytest.param({"messages": MESSAGES}, "chat", {"messages": MESSAGES}, id="messages"),
        pytest.param({"Question": "2 and 2?", "Answer": "4"}, "chat", {"messages": MESSAGES}, id="question and answer"),
        pytest.param({"text": "2 and 2?", "label": 4}, "chat", {"messages": MESSAGES}, id="text and label"),
        pytest.param(
            {"prompt": "2 and 2?", "completion": " 4"}, "completion", {"prompt": "2 and 2?", "completion": " 4"},
            id="prompt and completion",
        ),
        pytest.param(
            {"prompt": "2 and 2?", "chosen": "4", "rejected": "5"},
            "preference",
            {
                "input": {"messages": MESSAGES[:1]},
                "preferred_output": MESSAGES[1:],
                "non_preferred_output": [{"role": "assistant", "content": "5"}],
            },
            id="chosen and rejected",
        ),
        pytest.param(
            {"chosen": MESSAGES, "rejected": [MESSAGES[0], {"role": "assistant", "content": "5"}]},
            "preference",
            {
                "input": {"messages": MESSAGES[:1]},
                "preferred_output": MESSAGES[1:],
                "non_preferred_output": [{"role": "assistant", "content": "5"}],
            },
            id="whole conversations",
        ),
        pytest.param({"story": "Once upon a time."}, "text", {"text": "Once upon a time."}, id="one column"),
        pytest.param(
            {"question": "2 and 2?", "answer": "4", "tags": "sums, easy"},
            "chat",
            {"messages": MESSAGES, "tags": ["sums", "easy"]},
            id="tags",
        ),
    ],
)  # fmt: skip
def test_known_layouts_are_guessed_and_give_sound_rows(row: dict[str, Any], target: str, made: dict[str, Any]) -> None:
    suggested = guess(list(row), [row])
    found = make_row(mapping_of(suggested.target, suggested.parts, list(row)), row)
    assert (suggested.target, found) == (target, made)
    assert row_errors(found, detect_format(found)) == []


def test_a_name_with_a_note_behind_it_is_known_and_of_one_known_name_the_longest_other_column_answers() -> None:
    row = {"id": "7", "Question (de)": "Why so?", "Antwort (final)": "Because of it.", "Antwort (alt)": "Because."}
    assert guess(list(row), [row]).parts == {"user": "{Question (de)}", "assistant": "{Antwort (final)}"}
    row = {"Question (old)": "What?", "question": "Why?", "Answer (2)": "Because."}
    assert guess(list(row), [row]).parts == {"user": "{question}", "assistant": "{Answer (2)}"}


def test_of_names_that_say_nothing_the_two_longest_columns_are_guessed() -> None:
    row = {"ticket": "T-1", "customer says": "My parcel is late.", "day": "Monday", "we say": "It comes tomorrow."}
    assert guess(list(row), [row]).parts == {"user": "{customer says}", "assistant": "{we say}"}


def test_a_template_mixes_columns_and_text_and_keeps_braces() -> None:
    mapping = mapping_of("chat", {"user": "{{{a}}}: {b}!", "assistant": "{b}"}, ["a", "b"])
    row = make_row(mapping, {"a": "x", "b": {"n": 1}})
    assert [message["content"] for message in row["messages"]] == ['{x}: {"n": 1}!', '{"n": 1}']


@pytest.mark.parametrize(
    ("target", "parts", "said"),
    [
        ("chat", {"user": "{a}", "assistant": "{nowhere}"}, 'no column "nowhere" (in "assistant")'),
        ("chat", {"user": "{a}"}, "Nothing is chosen for the messages"),
        ("preference", {"chosen": "{a}"}, 'Nothing is chosen for "rejected"'),
        ("poem", {}, "'poem' is no format"),
    ],
)
def test_a_mapping_that_cannot_work_is_refused_in_words(target: str, parts: dict[str, str], said: str) -> None:
    with pytest.raises(IntakeError) as caught:
        mapping_of(target, parts, ["a", "b"])
    assert said in caught.value.message and caught.value.fix


@pytest.mark.parametrize(
    ("mapping", "cells"),
    [
        (Mapping("chat", {"user": "{a}", "assistant": "{b}"}), {"a": " ", "b": None}),
        (Mapping("chat", {"messages": "{a}"}), {"a": "[broken"}),
        (Mapping("chat", {"messages": "{a}"}), {"a": []}),
        (Mapping("chat", {"messages": "{a}"}), {"a": ["text"]}),
        (Mapping("text", {"text": "{a}"}), {}),
        (Mapping("preference", {"chosen": "{a}", "rejected": "{b}"}), {"a": "yes", "b": "no"}),
        (Mapping("preference", {"prompt": "{c}", "chosen": "{a}", "rejected": "{b}"}), {"a": "yes", "c": "?"}),
    ],
)
def test_a_row_that_gives_nothing_is_told_of_and_never_invented(mapping: Mapping, cells: dict[str, Any]) -> None:
    with pytest.raises(CannotMap):
        make_row(mapping, cells)


def test_a_role_that_nobody_knows_is_left_for_the_check_to_name() -> None:
    row = make_row(Mapping("chat", {"messages": "{a}"}), {"a": [{"role": "narrator", "content": "x"}]})
    [error] = row_errors(row, "chat")
    assert "'narrator' is not known" in error[1]
