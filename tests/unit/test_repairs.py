"""Repairs of rows: each with a literal row before and after; twice is once; what is not touched keeps its bytes."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.factories import tiny_model
from training import datasets
from training.engine.chat import ChatFormat
from training.engine.pairs import encode_sequences
from training.repairs import applying, catalogue, lengths

USER = {"role": "user", "content": "2 and 2?"}
ANSWER = {"role": "assistant", "content": "4"}
SYSTEM = {"role": "system", "content": "Be short."}
PART = {"type": "text", "text": "2 and"}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}


def calling(arguments: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}],
    }


def pair(preferred: str, other: str, *before: Any) -> dict[str, Any]:
    return {
        "input": {"messages": [*before, USER]},
        "preferred_output": [{**ANSWER, "content": preferred}],
        "non_preferred_output": [{**ANSWER, "content": other}],
    }


ONCE = '{"city": "Köln"}'
# repair, row before, row or rows after
CASES: list[tuple[str, dict[str, Any], Any]] = [
    (
        "sharegpt",
        {"conversations": [{"from": "human", "value": "2 and 2?"}, {"from": "gpt", "value": "4"}], "id": 7},
        chat(USER, ANSWER, id=7),
    ),
    (
        "sharegpt",
        {"system": "Be short.", "conversations": [{"from": "human", "value": "2 and 2?"}]},
        chat(SYSTEM, USER),
    ),
    (
        "role_names",
        chat({"role": "human", "content": "2 and 2?"}, {"role": "Model", "content": "4"}),
        chat(USER, ANSWER),
    ),
    ("role_names", chat({"role": "USER", "content": "2 and 2?"}, {**ANSWER, "role": " bot"}), chat(USER, ANSWER)),
    (
        "text_parts",
        chat({"role": "user", "content": [PART, {**PART, "text": "2?"}]}),
        chat({**USER, "content": "2 and\n2?"}),
    ),
    (
        "refusal",
        chat(USER, {"role": "assistant", "refusal": "No."}),
        chat(USER, {"role": "assistant", "content": "No."}),
    ),
    ("arguments", chat(USER, calling({"city": "Köln"})), chat(USER, calling(ONCE))),
    ("arguments", chat(USER, calling(json.dumps(ONCE))), chat(USER, calling(ONCE))),
    ("arguments", chat(USER, calling(json.dumps(json.dumps(ONCE)))), chat(USER, calling(ONCE))),
    ("arguments", chat(USER, calling(None)), chat(USER, calling("{}"))),
    (
        "arguments",
        chat(USER, {"role": "assistant", "function_call": {"name": "f", "arguments": {}}}),
        chat(USER, {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}),
    ),
    ("no_calls", chat(USER, {**ANSWER, "tool_calls": []}), chat(USER, ANSWER)),
    ("weight_place", chat({**USER, "weight": 0}, ANSWER), chat(USER, ANSWER)),
    ("weight_type", chat(USER, {**ANSWER, "weight": True}), chat(USER, {**ANSWER, "weight": 1})),
    ("weight_type", chat(USER, {**ANSWER, "weight": "0"}), chat(USER, {**ANSWER, "weight": 0})),
    ("weight_type", chat(USER, {**ANSWER, "weight": None}), chat(USER, ANSWER)),
    ("unknown_fields", chat({**USER, "id": 1}, ANSWER, topic="sums", tools=[]), chat(USER, ANSWER, tools=[])),
    ("empty_messages", chat({**SYSTEM, "content": " "}, USER, ANSWER), chat(USER, ANSWER)),
    ("empty_messages", chat(USER, {**ANSWER, "content": ""}, USER, ANSWER), chat(USER, ANSWER)),
    ("empty_messages", chat(SYSTEM, USER, {**ANSWER, "content": "\n"}), []),
    ("empty_messages", pair("4", "5", {**SYSTEM, "content": ""}), pair("4", "5")),
    ("system_prompt", chat(USER, ANSWER), chat(SYSTEM, USER, ANSWER)),
    ("system_prompt", pair("4", "5"), pair("4", "5", SYSTEM)),
    (
        "trailing_space",
        chat({**USER, "content": "2? "}, {**ANSWER, "content": "4 \n"}),
        chat({**USER, "content": "2? "}, ANSWER),
    ),
    ("trailing_space", pair("4\n", "5"), pair("4", "5")),
    ("prompt_space", {"prompt": "2+2= ", "completion": "4"}, {"prompt": "2+2=", "completion": " 4"}),
    ("prompt_space", {"prompt": "2+2= ", "completion": " 4"}, {"prompt": "2+2=", "completion": " 4"}),
    ("template_marks", chat(USER, {**ANSWER, "content": "4<|im_end|>"}), chat(USER, {**ANSWER, "content": "4"})),
    (
        "template_marks",
        chat({**USER, "content": "2?<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nSo?"}, ANSWER),
        chat({**USER, "content": "2?So?"}, ANSWER),
    ),
    ("template_marks", pair("<start_of_turn>model\n4<end_of_turn>", "5"), pair("4", "5")),
    (
        "template_marks",
        {"prompt": "<|im_start|>user\n2?", "completion": "4<|endoftext|>"},
        {"prompt": "2?", "completion": "4"},
    ),
    ("same_answers", pair("4", "4"), []),
    ("same_answers", {"prompt": "a", "chosen": "b", "rejected": "b"}, []),
]
# rows that a repair must leave alone
LEFT = [
    ("sharegpt", {"conversations": "none"}),
    ("role_names", chat({"role": "narrator", "content": "x"}, {"role": ["user"]}, "text")),
    ("text_parts", chat({"role": "user", "content": [PART, {"type": "image_url"}]})),
    ("arguments", chat(USER, calling("not JSON"), calling('"text"'), calling("[1]"), calling(""))),
    ("no_calls", chat(USER, {"role": "assistant", "content": None, "tool_calls": []})),
    ("weight_type", chat(USER, {**ANSWER, "weight": 0.5})),
    ("unknown_fields", {"prompt": "a", "completion": "b", "source": "c"}),
    ("empty_messages", chat(USER, calling("{}"), {"role": "tool", "tool_call_id": "a", "content": ""}, ANSWER)),
    ("system_prompt", chat({"role": "developer", "content": "x"}, USER, ANSWER)),
    ("trailing_space", chat(USER, {**ANSWER, "content": "  "})),
    ("template_marks", chat({**USER, "content": "[INST] 2 <| 3 |> 1 <s>a</s> [/INST]"}, ANSWER)),
    ("template_marks", chat(USER, {**ANSWER, "content": "<|im_end|>\n"})),
    ("template_marks", {"text": "One.<|endoftext|>"}),
    ("same_answers", pair("4", "5")),
]
OPTIONS = catalogue.Options(system="Be short.")


def mended(key: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    return applying.Plan([key], OPTIONS).row(row).rows


def as_rows(after: Any) -> list[dict[str, Any]]:
    return after if isinstance(after, list) else [after]


@pytest.mark.parametrize(("key", "before", "after"), CASES)
def test_a_repair_makes_this_row_of_that(key: str, before: dict[str, Any], after: Any) -> None:
    kept = json.dumps(before)
    assert mended(key, before) == as_rows(after)
    assert json.dumps(before) == kept  # a new row is made, the old one is not touched


@pytest.mark.parametrize(("key", "before", "after"), CASES)
def test_a_repair_finds_nothing_to_do_the_second_time(key: str, before: dict[str, Any], after: Any) -> None:
    for row in as_rows(after):
        changed = applying.Plan([key], OPTIONS).row(row)
        assert changed.by == () and changed.rows[0] is row


@pytest.mark.parametrize(("key", "row"), LEFT)
def test_what_a_repair_is_not_for_is_left(key: str, row: dict[str, Any]) -> None:
    changed = applying.Plan([key], OPTIONS).row(row)
    assert changed.by == () and changed.rows[0] is row


def test_every_repair_of_rows_has_a_case() -> None:
    on_rows = {repair.key for repair in catalogue.ALL if repair.make} - {"too_long"}
    assert {key for key, *_ in CASES} == on_rows


# ---- files ----


def repaired(path: Path, *keys: str, options: catalogue.Options = OPTIONS) -> tuple[bytes, applying.Figures]:
    out = path.with_suffix(".out")
    with out.open("wb") as file:
        figures = applying.run(path, applying.Plan(keys, options), file)
    return out.read_bytes(), figures


ODD = b'{"messages":[{"role":"user","content":"caf\\u00e9"} ,\t{"content": "4", "role":"assistant"}]}'


def test_rows_that_are_not_touched_keep_their_exact_bytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    bad = json.dumps(chat(USER, {**ANSWER, "content": "4 "})).encode()
    good = json.dumps(chat(USER, ANSWER)).encode()
    path.write_bytes(ODD + b"\r\n" + bad + b"\n\n  \n" + b"not json\n" + ODD)
    content, figures = repaired(path, "trailing_space", "role_names")
    assert content == ODD + b"\r\n" + good + b"\n\n  \n" + b"not json\n" + ODD
    assert (figures.rows, figures.changed, figures.dropped, figures.lines) == (4, 1, 0, [2])
    assert dict(figures.by) == {"trailing_space": 1}


@pytest.mark.parametrize(
    ("line", "after"),
    [
        (b'{"messages":[{"role":"human","content":"x"}]}', b'{"messages":[{"role":"user","content":"x"}]}'),
        (b'{"messages": [{"role": "human", "content": "x"}]}', b'{"messages": [{"role": "user", "content": "x"}]}'),
        (
            b'{"messages": [{"role": "human", "content": "\\u00e9"}]}',
            b'{"messages": [{"role": "user", "content": "\\u00e9"}]}',
        ),
        (
            '{"messages": [{"role": "human", "content": "é"}]}'.encode(),
            '{"messages": [{"role": "user", "content": "é"}]}'.encode(),
        ),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_changed_row_is_written_in_the_style_of_its_file(
    tmp_path: Path, line: bytes, after: bytes, end: bytes
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line + end)
    assert repaired(path, "role_names")[0] == after + end


def test_a_byte_order_mark_and_blank_lines_go_when_that_is_asked_for_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + ODD + b"\n\n" + ODD + b"\n")
    assert repaired(path, "role_names")[0] == path.read_bytes()
    content, figures = repaired(path, "bom", "blank_lines")
    assert content == ODD + b"\n" + ODD + b"\n"
    assert (figures.changed, dict(figures.by)) == (0, {"bom": 1, "blank_lines": 1})


def test_a_mark_stays_when_only_its_row_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(chat({**USER, "role": "human"}, ANSWER)).encode() + b"\n")
    assert repaired(path, "role_names")[0] == b"\xef\xbb\xbf" + json.dumps(chat(USER, ANSWER)).encode() + b"\n"


def test_rows_that_cannot_be_mended_go_and_the_file_is_sound_then(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        json.dumps(chat({**USER, "role": "human"}, ANSWER)),
        "not json",
        json.dumps({"prompt": "another", "completion": "format"}),
        json.dumps(chat(USER)),
        "x" * ((10 << 20) + 1),
        json.dumps(chat(USER, ANSWER)),
        "[1]",
    ]
    path.write_text("\n".join(rows) + "\n")
    content, figures = repaired(path, "role_names", "drop_bad")
    assert content.decode().splitlines() == [json.dumps(chat(USER, ANSWER))] * 2
    assert (figures.rows, figures.changed, figures.dropped) == (7, 1, 5)
    assert (figures.lines, figures.format) == ([1, 2, 3, 4, 5, 7], "chat")
    path.write_bytes(content)
    assert datasets.check(path).problem_count == 0
    assert repaired(path, "role_names", "drop_bad")[0] == content


def test_a_row_whose_repair_is_not_chosen_does_not_go_with_those_that_cannot_be_mended(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    mendable = [
        json.dumps(chat({**USER, "role": "human"}, ANSWER)),
        json.dumps({"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so"}]}),
    ]
    both = json.dumps(chat({**USER, "role": "human"}, {**ANSWER, "role": "nobody"}))
    path.write_text("\n".join([json.dumps(chat(USER, ANSWER)), *mendable, both, "not json"]) + "\n")
    content, figures = repaired(path, "drop_bad")
    assert content.decode().splitlines() == [json.dumps(chat(USER, ANSWER)), *mendable]
    assert (figures.changed, figures.dropped) == (0, 2)


def test_a_line_above_the_limit_is_passed_on_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ODD + b"\n" + b"x" * (23 << 20) + b"\n" + ODD)
    content, figures = repaired(path, "role_names")
    assert content == path.read_bytes() and figures.rows == 3


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = (json.dumps(chat({**USER, "role": "human"}, ANSWER)) + "\n").encode()
    with path.open("wb") as out:
        for _ in range(20_000):
            out.write(row)
    tracemalloc.start()
    figures = repaired_to_nowhere(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert figures.changed == 20_000 and len(figures.lines) == 2_000 and peak < 2 << 20


def repaired_to_nowhere(path: Path) -> applying.Figures:
    with Path("/dev/null").open("wb") as out:
        return applying.run(path, applying.Plan(["role_names"], OPTIONS), out)


def test_no_row_however_odd_breaks_a_repair() -> None:
    draw = random.Random(7)
    values = [None, True, 1, 1.5, "", " ", "human", "assistant", "{}", [], {}, [None], {"type": "text", "text": "x"}]
    keys = [
        "messages",
        "conversations",
        "prompt",
        "completion",
        "input",
        "chosen",
        "rejected",
        "preferred_output",
        "role",
        "content",
        "from",
        "value",
        "weight",
        "tool_calls",
        "function",
        "arguments",
        "name",
        "system",
    ]

    def odd(depth: int = 0) -> Any:
        kind = draw.random()
        if depth > 4 or kind < 0.3:
            return draw.choice(values)
        if kind < 0.6:
            return [odd(depth + 1) for _ in range(draw.randint(0, 3))]
        return {draw.choice(keys): odd(depth + 1) for _ in range(draw.randint(0, 4))}

    every = [key for key in catalogue.BY_KEY if key != "too_long"]
    for _ in range(3_000):
        row = {draw.choice(keys): odd() for _ in range(draw.randint(1, 4))}
        plan = applying.Plan(every, OPTIONS)
        once = plan.row(row).rows
        assert [new for each in once for new in plan.row(each).rows] == once, row


# ---- rows that are too long ----


@pytest.fixture(scope="module")
def format_(tmp_path_factory: pytest.TempPathFactory) -> ChatFormat:
    return ChatFormat.load(tiny_model(tmp_path_factory.mktemp("model")))


def turn(number: int, words: int = 20) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": f"answer {number} " + "word " * words},
    ]


def tokens(format_: ChatFormat, row: dict[str, Any]) -> int:
    return len(encode_sequences(format_, row)[0].token_ids)


def long(format_: ChatFormat, how: lengths.How, limit: int, row: dict[str, Any]) -> list[dict[str, Any]]:
    options = catalogue.Options(how=how, max_length=limit, model="tiny", fits=lengths.fits(format_, limit))
    plan = applying.Plan(["too_long"], options)
    rows = plan.row(row).rows
    assert all(plan.row(each).by == () for each in rows)  # twice is once
    return rows


def test_a_row_is_cut_after_the_last_turn_that_fits(format_: ChatFormat) -> None:
    row = chat(SYSTEM, *turn(1), *turn(2), *turn(3))
    limit = tokens(format_, chat(SYSTEM, *turn(1), *turn(2)))
    assert long(format_, "truncate", limit, row) == [chat(SYSTEM, *turn(1), *turn(2))]
    assert long(format_, "truncate", limit - 1, row) == [chat(SYSTEM, *turn(1))]
    assert long(format_, "truncate", tokens(format_, row), row) == [row]


def test_a_row_is_split_between_turns_each_part_with_the_system_message_and_the_tools(format_: ChatFormat) -> None:
    row = chat(SYSTEM, *turn(1), *turn(2), *turn(3), parallel_tool_calls=False)
    limit = tokens(format_, chat(SYSTEM, *turn(1), *turn(2)))
    assert long(format_, "split", limit, row) == [
        chat(SYSTEM, *turn(1), *turn(2), parallel_tool_calls=False),
        chat(SYSTEM, *turn(3), parallel_tool_calls=False),
    ]


def test_a_turn_that_does_not_fit_by_itself_is_left_out_of_the_parts(format_: ChatFormat) -> None:
    limit = tokens(format_, chat(*turn(1)))
    row = chat(*turn(1), *turn(2, words=200), *turn(3))
    assert long(format_, "split", limit, row) == [chat(*turn(1)), chat(*turn(3))]
    assert long(format_, "truncate", limit, chat(*turn(2, words=200))) == []


def test_a_call_stays_with_its_answer(format_: ChatFormat) -> None:
    called = [USER, calling(ONCE), {"role": "tool", "tool_call_id": "a", "content": "rain " * 30}, ANSWER]
    row = chat(*turn(1), *called)
    limit = tokens(format_, row) - 1
    assert long(format_, "truncate", limit, row) == [chat(*turn(1))]
    assert long(format_, "split", limit, row) == [chat(*turn(1)), chat(*called)]


@pytest.mark.parametrize("how", ["truncate", "split", "drop"])
def test_what_has_no_turns_is_left_out_when_it_is_too_long(format_: ChatFormat, how: lengths.How) -> None:
    row = {"prompt": "a", "completion": "word " * 50}
    assert long(format_, how, 20, row) == []
    assert long(format_, how, 2_000, row) == [row]
    assert long(format_, how, 20, pair("word " * 50, "5")) == []


def test_parts_of_which_nothing_is_trained_on_are_left_out(format_: ChatFormat) -> None:
    masked = [turn(1)[0], {**turn(1)[1], "weight": 0}]
    limit = tokens(format_, chat(*turn(1)))
    assert long(format_, "split", limit, chat(*masked, *turn(2))) == [chat(*turn(2))]


# ---- words ----


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            "truncate",
            "Empty messages removed in 1 row; 2 rows are left out, as no answer is left in them; "
            "1 row above LIMIT tokens of tiny cut after a turn; "
            "2 rows cannot be cut (their first turn is longer already) and are left out; "
            "rows that cannot be mended left out: 1 row.",
        ),
        (
            "split",
            "Empty messages removed in 1 row; 2 rows are left out, as no answer is left in them; "
            "2 rows above LIMIT tokens of tiny split between turns; "
            "1 row cannot be split (each of its turns is longer already) and is left out; "
            "rows that cannot be mended left out: 1 row.",
        ),
        (
            "drop",
            "Empty messages removed in 1 row; 2 rows are left out, as no answer is left in them; "
            "3 rows above LIMIT tokens of tiny left out; rows that cannot be mended left out: 1 row.",
        ),
    ],
)
def test_every_row_left_out_is_told_once_with_its_reason(
    format_: ChatFormat, tmp_path: Path, how: lengths.How, said: str
) -> None:
    limit = tokens(format_, chat(*turn(1), *turn(2)))
    rows = [
        chat(*turn(1)),
        chat({**USER, "content": ""}, *turn(1)),
        *[chat(*turn(1)[:1], {**ANSWER, "content": ""})] * 2,
        chat(*turn(1), *turn(2), *turn(3)),
        chat(*turn(2, words=200), *turn(1)),
        chat(*turn(2, words=200)),
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "not json"]))
    options = catalogue.Options(how=how, max_length=limit, model="tiny", fits=lengths.fits(format_, limit))
    content, figures = repaired(path, "empty_messages", "too_long", "drop_bad", options=options)
    assert catalogue.words_of(figures.by, figures.left_out, options) == said.replace("LIMIT", f"{limit:,}")
    assert figures.left_out.total() == figures.dropped == figures.rows - len(content.splitlines()) + figures.added


def test_a_row_left_out_alone_says_how_long_it_may_be() -> None:
    options = catalogue.Options(how="truncate", model="tiny", max_length=64)
    assert catalogue.words_of({}, {"too_long:first": 1}, options) == (
        "1 row above 64 tokens of tiny cannot be cut (its first turn is longer already) and is left out."
    )


def test_what_was_done_is_said_in_one_sentence() -> None:
    by = {"drop_bad": 1, "role_names": 1200}
    assert catalogue.words_of(by, {}, OPTIONS) == (
        "Roles renamed in 1,200 rows; rows that cannot be mended left out: 1 row."
    )
    long_options = catalogue.Options(how="split", model="tiny", max_length=2048)
    assert catalogue.words_of({"too_long": 3}, {}, long_options) == (
        "3 rows above 2,048 tokens of tiny split between turns."
    )


def test_every_kind_of_problem_is_mended_by_at_most_one_repair() -> None:
    from training.problem_groups import TITLES

    claimed = [kind for repair in catalogue.ALL for kind in repair.kinds if not kind.endswith(":")]
    assert len(claimed) == len(set(claimed)) and set(claimed) <= TITLES.keys()
