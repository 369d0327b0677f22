"""Preference rows: what is refused with its line and field, and what is told of a whole file."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.factories import preference_row, preference_rows
from training import datasets
from training.engine.pairs import sides
from training.rules import Problem

USER = {"role": "user", "content": "2+2?"}
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("4", "5"))
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}


def pair(**changes: Any) -> dict[str, Any]:
    row = {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
    return {key: value for key, value in (row | changes).items() if value is not ...}


def check(tmp_path: Path, *rows: dict[str, Any]) -> datasets.Report:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return datasets.check(file)


@pytest.mark.parametrize(
    "row",
    [
        pair(),
        pair(input={"messages": [USER, GOOD, USER], "tools": [{"type": "function", "function": {"name": "add"}}]}),
        pair(preferred_output=[{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
        {"input": {"messages": [USER]}, "preferred_completion": [GOOD], "non_preferred_completion": [BAD]},
        {"prompt": "2+2=", "chosen": "4", "rejected": "5"},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    ],
)
def test_a_good_pair_is_accepted_in_every_spelling(tmp_path: Path, row: dict[str, Any]) -> None:
    report = check(tmp_path, row)
    assert (report.problems, report.format) == ([], "preference")


@pytest.mark.parametrize(
    ("row", "field", "said"),
    [
        (pair(input=...), "input", '"input" is missing'),
        (pair(non_preferred_output=...), "non_preferred_output", '"non_preferred_output" is missing'),
        (pair(preferred_output=None), "preferred_output", '"preferred_output" is missing'),
        ({"chosen": "4", "rejected": "5"}, "prompt", '"prompt" is missing'),
        (pair(input="2+2?"), "input", '"input" is a text, not an object'),
        (pair(input={"messages": []}), "input.messages", "empty; it must hold the messages to answer"),
        (pair(input={"messages": [{"role": "human", "content": "x"}]}), "input.messages[0].role", "'human'"),
        (pair(input={"messages": [USER], "tools": "add"}), "input.tools", '"tools" is a text, not a list'),
        (pair(input={"messages": [USER, GOOD]}), "input.messages", "ends with an assistant message"),
        (pair(preferred_output="4"), "preferred_output", '"preferred_output" is a text, not a list'),
        (pair(preferred_output=[GOOD, GOOD]), "preferred_output", "holds 2 messages, not one"),
        (pair(preferred_output=[]), "preferred_output", "holds 0 messages, not one"),
        (pair(preferred_output=[USER]), "preferred_output[0].role", "is from the user, not the assistant"),
        (pair(non_preferred_output=[{"role": "assistant"}]), "non_preferred_output[0].content", 'no "content"'),
        (pair(preferred_output=[{**GOOD, "content": ""}]), "preferred_output[0].content", "is empty"),
        (pair(non_preferred_output=[GOOD]), "non_preferred_output", "Both answers are the same"),
        ({"prompt": "2+2=", "chosen": "4", "rejected": ["5"]}, "rejected", "is a list, but the prompt is a text"),
        ({"prompt": "2+2=", "chosen": "", "rejected": "5"}, "chosen", '"chosen" is empty'),
        ({"prompt": [USER], "chosen": "4", "rejected": [BAD]}, "chosen", '"chosen" is a text, not a list'),
    ],
)
def test_a_broken_pair_is_named_with_line_field_and_what_to_do(
    tmp_path: Path, row: dict[str, Any], field: str, said: str
) -> None:
    report = check(tmp_path, pair(), row)
    assert [(found.line, found.field) for found in report.problems] == [(2, field)]
    assert said in report.problems[0].message and report.problems[0].fix


def test_the_job_error_of_a_broken_pair_counts_messages_as_openai_does(tmp_path: Path) -> None:
    row = pair(input={"messages": [USER, {"role": "user"}]})
    found: Problem = check(tmp_path, pair(), row).problems[0]
    assert datasets.job_error(found).startswith(
        "The job failed due to an invalid training file. Invalid file format. Example 2, message 2 The message has no"
    )


def test_only_the_answers_bear_loss_and_tools_stand_before_both() -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    chosen, rejected = sides(pair(input={"messages": [USER, GOOD, USER], "tools": tools}))
    assert [message.get("weight", 1) for message in chosen["messages"]] == [1, 0, 1, 1]
    assert chosen["messages"][:-1] == rejected["messages"][:-1] and chosen["tools"] == rejected["tools"] == tools
    assert (chosen["messages"][-1], rejected["messages"][-1]) == (GOOD, BAD)


def test_a_file_tells_how_long_its_answers_are_and_warns_where_length_gives_them_away(tmp_path: Path) -> None:
    report = check(tmp_path, *[preference_row(f"{n}?", "a longer answer", "short") for n in range(12)])
    assert report.statistics["pairs"] == {
        "preferred_characters": 12 * 15,
        "other_characters": 12 * 5,
        "preferred_longer": 12,
    }
    assert [warning.message for warning in report.warnings] == [
        "The preferred answer is the longer one in 12 of 12 rows"
    ]
    even = [preference_row(f"{n}?", "long answer", "no") for n in range(6)]
    even += [preference_row(f"{n}?", "no", "long answer") for n in range(6, 12)]
    assert not check(tmp_path, *even).warnings
    assert check(tmp_path, *preference_rows(3)).warnings[0].kind == "few_rows"
