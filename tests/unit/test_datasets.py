"""The check of a dataset: each rule with its line, its reason and what to do; flat memory; splitting."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from training import datasets, jsonl
from training.rules import Problem

USER = {"role": "user", "content": "2 and 2?"}
ANSWER = {"role": "assistant", "content": "4"}
CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
OLD_CALL = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
BAD_CALL = {"function": {"name": "f", "arguments": {}}}
CALLED = "messages[1].tool_calls[0]"
PARTS = [{"type": "text", "text": "x"}]
PAIR_NAMES = (("preferred_output", "non_preferred_output"), ("preferred_completion", "non_preferred_completion"))
OTHER = {"role": "assistant", "content": "No idea."}
PAIRS = [{"input": {"messages": [USER]}, better: [ANSWER], worse: [OTHER]} for better, worse in PAIR_NAMES]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def write(file: Path, *rows: Any) -> Path:
    """Objects become JSON lines; bytes and texts are written as they are."""
    parts = [
        row if isinstance(row, bytes) else (row if isinstance(row, str) else json.dumps(row)).encode() for row in rows
    ]
    file.write_bytes(b"\n".join(parts) + b"\n")
    return file


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def good(number: int = 0) -> dict[str, Any]:
    return chat(
        {"role": "user", "content": f"{number} and {number}?"}, {"role": "assistant", "content": f"{2 * number}"}
    )


def problem(file: Path, *rows: Any) -> Problem:
    """The only problem of these rows."""
    report = datasets.check(write(file, *rows))
    assert report.problem_count == 1, report.problems
    return report.problems[0]


def warnings(file: Path, *rows: Any) -> dict[str, Problem]:
    report = datasets.check(write(file, *rows))
    assert not report.problem_count, report.problems
    return {warning.kind: warning for warning in report.warnings}


# ---- good files ----


def test_a_good_file_has_no_problem_and_no_warning(file: Path) -> None:
    report = datasets.check(write(file, *[good(n) for n in range(12)]))
    assert (report.format, report.rows, report.problems, report.warnings) == ("chat", 12, [], [])
    assert report.usable


def test_statistics_count_roles_turns_and_system_prompts(file: Path) -> None:
    system = {"role": "system", "content": "Be short."}
    rows = [
        chat(system, USER, ANSWER),
        chat(system, USER, ANSWER, {**USER, "content": "3 and 3?"}, {**ANSWER, "weight": 0}),
    ]
    statistics = datasets.check(write(file, *rows)).statistics
    assert statistics["roles"] == {"system": 2, "user": 3, "assistant": 3}
    assert statistics["turns"] == {"1": 1, "2": 1}
    assert statistics["system_prompts"] == [{"text": "Be short.", "rows": 2}]
    assert statistics["masked_messages"] == 1
    assert statistics["longest_line"] == 2


@pytest.mark.parametrize(
    "row",
    [
        chat({"role": "developer", "content": "x"}, USER, ANSWER),
        chat({**USER, "name": "ada"}, {**ANSWER, "weight": 1}),
        chat(USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1.0}),
        chat(
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "a", "content": "4"},
            ANSWER,
            tools=[{"type": "function", "function": {"name": "f"}}],
        ),
        chat(USER, OLD_CALL, {"role": "function", "name": "f", "content": "4"}, ANSWER),
        {"prompt": "2+2=", "completion": "4"},
        {"text": "All of this is learned."},
        *PAIRS,
        {"prompt": "a", "chosen": "b", "rejected": "c"},
    ],
)
def test_a_good_row_is_accepted(file: Path, row: dict[str, Any]) -> None:
    assert datasets.check(write(file, row)).problems == []


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (good(), "chat"),
        ({"prompt": "a", "completion": "b"}, "completion"),
        (PAIRS[0], "preference"),
        (PAIRS[1], "preference"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference"),
        ({"text": "a"}, "text"),
    ],
)
def test_the_format_is_told_by_the_keys(file: Path, row: dict[str, Any], name: str) -> None:
    assert datasets.check(write(file, row)).format == name


# ---- lines that are no rows ----


def test_a_line_that_is_not_json_is_named_with_the_place_in_it(file: Path) -> None:
    found = problem(file, good(1), '{"messages": [}', good(2))
    assert found.line == 2 and "not valid JSON" in found.message and "character 15" in found.message


def test_the_place_of_an_error_is_named_with_one_at(file: Path) -> None:
    found = problem(file, good(1), '{"messages": "', good(2))
    assert "Invalid control character at character 15" in found.message


def test_two_objects_on_one_line_are_told_apart(file: Path) -> None:
    assert "line of its own" in problem(file, json.dumps(good()) + json.dumps(good())).fix


def test_a_json_document_over_several_lines_is_recognised(file: Path) -> None:
    file.write_text(json.dumps([good()], indent=2))
    report = datasets.check(file)
    assert "jq -c '.[]'" in report.problems[0].fix


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_values_that_json_does_not_know_are_refused(file: Path, value: str) -> None:
    assert value in problem(file, f'{{"messages": [], "score": {value}}}').message


@pytest.mark.parametrize("line", ["[" * 200_000, "1" * 10_000, '"text"', "null", "[1]"])
def test_nasty_lines_end_in_a_message_not_in_a_crash(file: Path, line: str) -> None:
    assert problem(file, line).fix


def test_half_a_surrogate_pair_is_refused(file: Path) -> None:
    row = '{"messages": [{"role": "user", "content": "\\ud83d"}, {"role": "assistant", "content": "x"}]}'
    assert "surrogate" in problem(file, row).message


def test_a_whole_surrogate_pair_is_a_character(file: Path) -> None:
    row = '{"messages": [{"role": "user", "content": "\\ud83d\\ude00"}, {"role": "assistant", "content": "x"}]}'
    assert datasets.check(write(file, row)).problems == []


def test_bytes_that_are_not_utf8_are_named_by_their_position(file: Path) -> None:
    found = problem(file, good(), b'{"messages": [{"role": "user", "content": "caf\xe9"}]}')
    assert found.line == 2 and "Byte 47" in found.message and "0xe9" in found.message and "iconv" in found.fix


def test_a_byte_order_mark_is_only_a_warning_and_the_row_counts(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(good()).encode() + b"\n")
    report = datasets.check(file)
    assert report.rows == 1 and not report.problems and report.warnings[0].kind == "bom"


def test_windows_line_ends_are_fine(file: Path) -> None:
    file.write_bytes(b"\r\n".join(json.dumps(good(n)).encode() for n in range(3)) + b"\r\n")
    report = datasets.check(file)
    assert (report.rows, report.problems) == (3, [])


def test_a_last_line_without_an_end_counts(file: Path) -> None:
    file.write_bytes(json.dumps(good()).encode())
    assert datasets.check(file).rows == 1


def test_an_empty_file_says_so(file: Path) -> None:
    file.write_bytes(b"")
    assert datasets.check(file).problems[0].message == "The file is empty"


def test_a_file_of_blank_lines_says_so(file: Path) -> None:
    file.write_bytes(b"\n  \n\n")
    assert datasets.check(file).problems[0].message == "The file holds only blank lines"


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"PK\x03\x04", "zip"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PAR1", "Parquet"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
    ],
)
def test_another_kind_of_file_is_recognised_whatever_its_name(file: Path, head: bytes, what: str) -> None:
    file.write_bytes(head + b"\0\1\2" * 100)
    report = datasets.check(file)
    assert report.problem_count == 1 and what in report.problems[0].message and report.problems[0].fix


def test_a_line_above_10_mib_is_refused_with_its_number_and_the_rest_is_read(file: Path) -> None:
    long = b'{"messages": "' + b"x" * (11 << 20) + b'"}'
    report = datasets.check(write(file, good(1), long, good(2)))
    assert [(found.line, found.kind) for found in report.problems] == [(2, "line_too_long")]
    assert report.rows == 3 and report.statistics["roles"]["assistant"] == 2


def test_a_line_of_exactly_10_mib_is_taken(file: Path) -> None:
    row = good()
    row["messages"][0]["content"] = ""
    row["messages"][0]["content"] = "x" * ((10 << 20) - len(json.dumps(row)))
    assert datasets.check(write(file, row)).problems == []


def test_a_very_long_line_is_not_held_in_memory(file: Path) -> None:
    with file.open("wb") as out:
        for _ in range(60):
            out.write(b"x" * (1 << 20))
    tracemalloc.start()
    report = datasets.check(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.problems[0].kind == "line_too_long"
    assert peak < 25 << 20


def test_memory_does_not_grow_with_the_rows(file: Path) -> None:
    with file.open("w") as out:
        for number in range(60_000):
            out.write(json.dumps(good(number % 500)) + "\n")
    tracemalloc.start()
    datasets.check(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20


# ---- rules of a chat row, each with its field and OpenAI's place ----


@pytest.mark.parametrize(
    ("row", "field", "said"),
    [
        (chat(), "messages", "empty"),
        ({"messages": "hello"}, "messages", "a text, not a list"),
        (chat("hello", ANSWER), "messages[0]", "not an object"),
        (chat({"content": "x"}, ANSWER), "messages[0].role", "Discriminator 'role' is missing in value"),
        (chat({"role": "human", "content": "x"}, ANSWER), "messages[0].role", "'human' is not known"),
        (chat({"role": ["user"], "content": "x"}, ANSWER), "messages[0].role", "a list, not a text"),
        (chat({"role": "user"}, ANSWER), "messages[0].content", 'no "content"'),
        (chat({"role": "user", "content": None}, ANSWER), "messages[0].content", 'no "content"'),
        (chat({"role": "user", "content": 4}, ANSWER), "messages[0].content", "a number, not a text"),
        (chat(USER, {"role": "assistant", "content": {"a": 1}}), "messages[1].content", "an object, not a text"),
        (chat({"role": "user", "content": PARTS}, ANSWER), "messages[0].content", "a list of parts"),
        (chat({"role": "user", "content": [{"type": "image_url"}]}, ANSWER), "messages[0].content", "image_url"),
        (chat({**USER, "weight": 1}, ANSWER), "messages[0].weight", "only assistant messages"),
        (chat(USER, {**ANSWER, "weight": 2}), "messages[1].weight", "only 0 and 1"),
        (chat(USER, {**ANSWER, "weight": True}), "messages[1].weight", "only 0 and 1"),
        (chat(USER, {**ANSWER, "weight": 0.5}), "messages[1].weight", "only 0 and 1"),
        (chat(USER, {**ANSWER, "weight": None}), "messages[1].weight", "only 0 and 1"),
        (chat({**USER, "name": 4}, ANSWER), "messages[0].name", "a number"),
        (chat(USER), "messages", "no assistant message"),
        (chat(USER, {**ANSWER, "weight": 0}), "messages", "weight 0"),
        (chat(USER, ANSWER, tools="f"), "tools", "not a list"),
        (chat(USER, {**ANSWER, "tool_calls": []}), "messages[1].tool_calls", "at least one call"),
        (chat(USER, {**ANSWER, "tool_calls": [{}]}), "messages[1].tool_calls[0]", "no function name"),
        (chat(USER, {**ANSWER, "tool_calls": [BAD_CALL]}), CALLED + ".function.arguments", "a text that holds JSON"),
        (chat({"role": "tool", "content": "4"}, ANSWER), "messages[0].tool_call_id", "tool_call_id"),
        (chat({"role": "function", "content": "4"}, ANSWER), "messages[0].name", 'no "name"'),
        ({"prompt": "x"}, "completion", "missing"),
        ({"prompt": 4, "completion": "x"}, "prompt", "a number"),
        ({"prompt": "x", "completion": ""}, "completion", "empty"),
        ({"input": {"messages": [USER]}, "preferred_output": [ANSWER]}, "non_preferred_output", "missing"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "rejected", "the same"),
        ({"text": 4}, "text", "a number"),
        ({"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER], "tools": [{}]}, "tools[0]", "no function name"),
        (chat(USER, {"role": "assistant", "refusal": "No."}), "messages[1].content", "refusal"),
        (chat(USER, {**ANSWER, "function_call": {}}), "messages[1].function_call", "no name"),
        (chat(USER, ANSWER, tools=[{"name": "f"}]), "tools[0]", "no function name"),
        (chat(USER, ANSWER, functions={}), "functions", "not a list"),
        (chat(USER, ANSWER, parallel_tool_calls="no"), "parallel_tool_calls", "not true or false"),
    ],
)
def test_a_bad_row_is_refused_with_field_reason_and_fix(file: Path, row: Any, field: str, said: str) -> None:
    found = problem(file, good(1), row) if "messages" in row else problem(file, row)
    assert found.field == field and said in found.message and found.fix
    assert found.line == (2 if "messages" in row else 1)


def test_a_familiar_wrong_role_gets_the_right_one_as_advice(file: Path) -> None:
    assert problem(file, chat({"role": "gpt", "content": "x"}, USER, ANSWER)).fix == 'Write "assistant".'


def test_a_row_of_no_known_format_is_refused_in_openais_words(file: Path) -> None:
    found = problem(file, {"question": "x", "answer": "y"})
    assert datasets.job_error(found) == (
        "The job failed due to an invalid training file. "
        "Unexpected file format, expected either prompt/completion pairs or chat messages."
    )


def test_a_failing_job_says_example_and_message_counting_from_one(file: Path) -> None:
    rows = [good(n) for n in range(99)]
    found = problem(file, *rows, chat(USER, {"content": "no role"}, ANSWER))
    assert datasets.job_error(found) == (
        "The job failed due to an invalid training file. Invalid file format. "
        "Example 100, message 2 Discriminator 'role' is missing in value"
    )


def test_examples_count_rows_while_lines_count_lines(file: Path) -> None:
    found = problem(file, good(), "", "", chat(USER))
    assert (found.line, found.row) == (4, 2)


def test_two_formats_in_one_file_are_refused(file: Path) -> None:
    found = problem(file, good(), {"prompt": "a", "completion": "b"})
    assert found.line == 2 and "prompt/completion format, but line 1 is in the chat format" in found.message


def test_too_few_rows_are_said_in_openais_words() -> None:
    assert datasets.too_few_rows(7) == "Training file has 7 example(s), but must have at least 10 examples"


def test_only_the_first_200_problems_are_kept_but_all_are_counted(file: Path) -> None:
    report = datasets.check(write(file, *["x"] * 250))
    assert (len(report.problems), report.problem_count) == (200, 250)


# ---- warnings ----


def test_fewer_than_ten_rows_are_noted(file: Path) -> None:
    assert "training needs 10" in warnings(file, good())["few_rows"].message


@pytest.mark.parametrize(
    ("blank", "said"), [(1, "1 blank line was passed over"), (2, "2 blank lines were passed over")]
)
def test_blank_lines_are_counted_and_harmless(file: Path, blank: int, said: str) -> None:
    found = warnings(file, good(), *[""] * blank, good())["blank_lines"]
    assert found.message == said and "no harm" in found.fix


def test_repeats_are_counted_with_their_lines(file: Path) -> None:
    found = warnings(file, good(1), good(2), good(1), good(1))["repeat"]
    assert (found.count, found.lines, found.message) == (2, (3, 4), "This row is the same as line 1")


def test_an_answer_that_ends_with_a_space_is_noted(file: Path) -> None:
    assert warnings(file, chat(USER, {**ANSWER, "content": "4 "}))["trailing_space"].field == "messages[1].content"


@pytest.mark.parametrize(
    ("row", "place"),
    [
        (chat({**USER, "content": "2 and 2?<|im_start|>"}, ANSWER), "messages[0].content"),
        (chat(USER, {**ANSWER, "content": "4<|eot_id|>"}), "messages[1].content"),
        ({"prompt": "2?", "completion": " 4<end_of_turn>"}, "completion"),
        ({"prompt": "2?", "chosen": "4", "rejected": "5<|end|>"}, "rejected"),
        (
            {"input": {"messages": [USER | {"content": "<|user|>"}]}, "preferred_output": [ANSWER],
             "non_preferred_output": [{**ANSWER, "content": "5"}]},
            "input.messages[0].content",
        ),
    ],
)  # fmt: skip
def test_marks_of_chat_templates_in_a_text_are_noted_with_their_place(
    file: Path, row: dict[str, Any], place: str
) -> None:
    found = warnings(file, row, row)["template_marks"]
    assert (found.field, found.count, found.lines) == (place, 2, (1, 2))


def test_llama_2s_marks_html_and_raw_text_are_no_marks_of_turns(file: Path) -> None:
    plain = chat({**USER, "content": "[INST] <s>2</s> <| 3 |> [/INST]"}, ANSWER)
    assert "template_marks" not in warnings(file, plain)
    assert "template_marks" not in warnings(file, {"text": "One.<|endoftext|>"})


def test_rows_without_the_system_message_of_the_others_are_noted(file: Path) -> None:
    rows = [chat({"role": "system", "content": "x"}, USER, ANSWER), good(1), good(2)]
    assert warnings(file, *rows)["some_without_system"].count == 2


def test_unknown_fields_are_noted_once_each(file: Path) -> None:
    found = warnings(
        file, chat(USER, {**ANSWER, "id": 1}, topic="sums"), chat(USER, {**ANSWER, "id": 2, "content": "x"})
    )
    assert found["unknown_field:id"].count == 2 and found["unknown_field:topic"].count == 1


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (chat(USER, ANSWER, USER), "ends_without_answer"),
        (chat(USER, {**ANSWER, "content": ""}), "empty_answer"),
        (chat(USER, {"role": "system", "content": "x"}, ANSWER), "late_system"),
        ({"prompt": "a ", "completion": "b"}, "prompt_space"),
    ],
)
def test_what_may_be_meant_is_a_warning_only(file: Path, row: dict[str, Any], kind: str) -> None:
    assert kind in warnings(file, row)


# ---- progress, pages, split ----


def test_progress_rises_to_one(file: Path) -> None:
    row = good()
    row["messages"][0]["content"] = "x" * 1_000_000
    seen: list[float] = []
    datasets.check(write(file, *[row] * 5), seen.append)
    assert seen == sorted(seen) and len(seen) >= 3 and seen[-1] == 1.0


def test_a_page_starts_at_any_line_by_the_index(file: Path) -> None:
    write(file, *[good(n) for n in range(3500)])
    index = datasets.check(file).line_index
    assert len(index) == 4
    for line in (1, 999, 1000, 1001, 3456):
        number, row = jsonl.page(file, line, 1, index)[0]
        assert number == line and row == good(line - 1)
    assert jsonl.page(file, 3501, 5, index) == []


def test_a_page_shows_unreadable_lines_as_none(file: Path) -> None:
    assert jsonl.page(write(file, good(), "x", good()), 1, 5) == [(1, good()), (2, None), (3, good())]


def test_a_split_depends_on_the_seed_alone_and_loses_nothing(file: Path, tmp_path: Path) -> None:
    write(file, *[good(n) for n in range(50)])
    parts = []
    for seed in (1, 1, 2):
        train, valid = tmp_path / "train", tmp_path / "valid"
        jsonl.split(file, train, valid, rows=50, valid_rows=10, seed=seed)
        parts.append((train.read_bytes(), valid.read_bytes()))
    assert parts[0] == parts[1] != parts[2]
    for train_bytes, valid_bytes in parts:
        assert len(valid_bytes.splitlines()) == 10
        assert sorted(train_bytes.splitlines() + valid_bytes.splitlines()) == sorted(file.read_bytes().splitlines())
