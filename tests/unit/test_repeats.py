"""What repeats in a file and what of it stands in another, on rows whose repeats are known by looking at them."""

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from training.repeats import alike, asked, found, leaks, within
from training.repeats.words import NO_PROMPT, meaning_hash, prompt_hash, question_words, row_words, words_of

STORY = (
    "Every morning the lighthouse keeper climbs the narrow stairs, wipes the great lens with a soft cloth, writes the "
    "wind and the hour into her book and waits for the first ship to pass the reef."
)
PARCEL = "My parcel with the blue lamp has not arrived although your page says that it was delivered on Monday."
HELP = "I am sorry about that. I have asked the carrier where the lamp is and will write to you before noon tomorrow."


def chat(user: str, assistant: str, system: str = "", **more: Any) -> dict[str, Any]:
    said = [{"role": "system", "content": system}] if system else []
    return {
        "messages": [*said, {"role": "user", "content": user}, {"role": "assistant", "content": assistant}],
        **more,
    }


def write(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return path


def kinds(out: Path) -> dict[str, list[Any]]:
    """Per kind the lines of each group, or (line, other line) of each pair."""
    told = {kind: found.entries(out, kind, 0, 100) for kind in found.KINDS}
    return {
        kind: [
            [line for line, _ in each["rows"]] if "rows" in each else (each["line"], each["other"]) for each in entries
        ]
        for kind, entries in told.items()
        if entries
    }


def search(tmp_path: Path, *rows: Any) -> dict[str, list[Any]]:
    within.find(write(tmp_path / "rows.jsonl", *rows), tmp_path / "work", tmp_path / "out")
    return kinds(tmp_path / "out")


# ---- the same meaning ----


def test_key_order_white_space_and_escapes_do_not_make_another_row(tmp_path: Path) -> None:
    spaced = b'{ "messages" : [ {"content":"caf\\u00e9?","role":"user"}, {"content":"Yes.","role":"assistant"} ] }'
    assert search(tmp_path, chat("café?", "Yes."), chat("café?", "No."), spaced)["exact"] == [[1, 3]]


SAME_MEANING = [
    (chat("a", "b"), chat("a", "b", id=7, metadata={"tag": "x"})),
    (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 1}]},
        chat("a", "b"),
    ),
    (chat("a", "b"), chat("a", "b", tools=[])),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {"arguments": '{ "a":1 }', "name": "f"}}],
                }
            ]
        },
    ),
    ({"prompt": "a", "completion": "b"}, {"completion": "b", "prompt": "a", "source": "web"}),
    ({"text": "a"}, {"text": "a", "url": "x"}),
    (
        {"input": {"messages": [{"role": "user", "content": "a"}]}, "preferred_output": [], "non_preferred_output": []},
        {"prompt": [{"content": "a", "role": "user"}], "chosen": [], "rejected": []},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME_MEANING)
def test_rows_that_train_the_same_have_one_hash(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert meaning_hash(one) == meaning_hash(other)


OTHER_MEANING = [
    (chat("a", "b"), chat("a", "B")),
    (chat("a", "b"), chat("a", "b", "Be brief.")),
    (chat("a", "b"), chat("a", "b", tools=[{"type": "function", "function": {"name": "f"}}])),
    (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]},
        chat("a", "b"),
    ),
    (
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"prompt": "a", "chosen": "c", "rejected": "b"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), OTHER_MEANING)
def test_rows_that_train_something_else_have_another(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert meaning_hash(one) != meaning_hash(other)


# ---- nearly the same ----


def test_a_row_with_a_word_in_ten_exchanged_is_a_near_duplicate(tmp_path: Path) -> None:
    changed = PARCEL.replace("blue", "red").replace("Monday", "Tuesday")
    told = search(tmp_path, chat(PARCEL, HELP), chat("What is a reef?", STORY), chat(changed, HELP))
    assert told == {"near": [[1, 3]]}
    (entry,) = found.entries(tmp_path / "out", "near", 0, 10)
    assert entry["rows"] == [[1, 1.0], [3, 0.951]]  # 39 of 41 words


def test_copies_of_a_near_duplicate_belong_to_its_cluster(tmp_path: Path) -> None:
    changed = chat(PARCEL.replace("blue", "red"), HELP)
    told = search(tmp_path, chat(PARCEL, HELP), changed, chat(PARCEL, HELP), changed)
    assert told == {"exact": [[1, 3], [2, 4]], "near": [[1, 2, 4]]}
    out = tmp_path / "out"
    assert found.lines_to_drop(out, ["exact"]).tolist() == [3, 4]
    assert found.lines_to_drop(out, ["near"]).tolist() == [2, 4]
    assert found.lines_to_drop(out, ["exact", "near"], 0.8).tolist() == [2, 3, 4]
    assert found.lines_to_drop(out, ["near"], 0.99).tolist() == []


def test_rows_that_share_a_long_system_prompt_alone_are_no_duplicates(tmp_path: Path) -> None:
    rows = [chat(f"Where is the {thing}?", f"Look under the {thing}.", STORY) for thing in ("key", "lamp", "boat")]
    assert search(tmp_path, *rows) == {}


def test_rows_that_differ_in_case_and_punctuation_alone_are_near(tmp_path: Path) -> None:
    assert search(tmp_path, chat("Is it OK?", "yes"), chat("is it ok", "Yes!")) == {"near": [[1, 2]]}


def test_of_a_chain_of_small_changes_only_what_is_like_a_row_that_stays_goes(tmp_path: Path) -> None:
    words = STORY.split()
    steps = [" ".join([f"new{at}" for at in range(many)] + words[many:]) for many in (0, 5, 10)]
    told = search(tmp_path, *({"text": step} for step in steps))
    assert told == {"near": [[1, 2]]}  # the third is like the second, which goes, and by 0.71 like the first
    assert found.lines_to_drop(tmp_path / "out", ["near"], 0.8).tolist() == [2]
    assert [each for (each,) in found.all_entries(tmp_path / "out", "near")] == [(2, 1, 0.861), (3, 2, 0.861)]


@pytest.mark.parametrize(
    "row",
    [
        chat("", ""),
        chat("🙂", "🎉"),
        {"text": ""},
        {"messages": []},
        {"messages": "none"},
        {"messages": [None, 3, {"role": 4}]},
        {"prompt": None, "completion": 7},
        {"chosen": None, "rejected": {}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "part"}, {"type": "image_url"}]}]},
        {"messages": [{"role": "assistant", "function_call": {"name": "f", "arguments": "[" * 5000}}]},
        {"a": {"b": [1, None, 2.5]}},
    ],
)
def test_odd_rows_are_compared_without_a_stumble(tmp_path: Path, row: dict[str, Any]) -> None:
    assert search(tmp_path, row, chat(PARCEL, HELP), row) == {"exact": [[1, 3]]}


def test_empty_rows_and_broken_lines_are_no_near_duplicates(tmp_path: Path) -> None:
    told = search(tmp_path, chat("", ""), b"{broken", b"", chat("🙂", "🎉"), b"[1]", {"text": ""})
    assert told == {}


def test_a_file_without_rows_has_no_repeats(tmp_path: Path) -> None:
    assert search(tmp_path) == {}


def test_chinese_is_compared_sign_by_sign(tmp_path: Path) -> None:
    one = "灯塔管理员每天早上爬上狭窄的楼梯，用软布擦拭巨大的镜片，在她的书中记录风向和时间，等待第一艘船驶过礁石。"
    told = search(
        tmp_path, {"text": one}, {"text": one.replace("早上", "晚上")}, {"text": "我的包裹还没有到，请问在哪里？"}
    )
    assert told == {"near": [[1, 2]]}


def test_one_letter_written_in_two_ways_is_one_word() -> None:
    assert words_of("Café ﬁne STRASSE") == words_of("CAFE\u0301 fine straße")


def test_a_line_of_several_megabytes_is_told_by_its_beginning(tmp_path: Path) -> None:
    long = "".join(f"{number * 7919 % 100003} " for number in range(600_000))
    told = search(tmp_path, {"text": long}, {"text": long + "and an end"}, {"text": long[::-1]})
    assert told == {"near": [[1, 2]]}


def test_one_prompt_with_two_answers_is_a_kind_of_its_own(tmp_path: Path) -> None:
    told = search(
        tmp_path, chat("Is it raining?", "Yes."), chat("is  it raining?", STORY), chat("Is it raining?", HELP, "Lie.")
    )
    assert told == {"prompt": [[1, 2]]}  # under another system prompt it is another prompt


def test_the_prompt_is_what_comes_before_the_last_answer() -> None:
    asked_twice = {"messages": [*chat("a", "b")["messages"], *chat("c", "d")["messages"]]}
    assert question_words(asked_twice) == [["a", "b", "c"], ["c"]]
    assert prompt_hash({"text": "a"}) == prompt_hash({"messages": []}) == NO_PROMPT
    assert prompt_hash(chat("", "b", "Be brief.")) == NO_PROMPT
    assert row_words(chat("Hello there", "Hi", "Be brief.")) == ["hello", "there", "hi"]
    assert row_words({"messages": [{"role": "system", "content": "Be brief."}]}) == ["be", "brief"]


def test_the_similarity_is_the_share_of_common_words_in_order() -> None:
    assert alike.similarity(["a", "b", "c", "d"], ["a", "x", "c", "d"]) == 0.75
    assert alike.similarity(["a", "b"], ["b", "a"]) == 0.5
    assert alike.similarity(["a", "b", "c", "d"], ["a", "x", "c", "d"], at_least=0.8) == 0.0
    assert alike.similarity([], []) == 0.0


# ---- leaks ----


def test_a_row_that_stands_in_the_other_file_is_told_by_its_strongest_kind(tmp_path: Path) -> None:
    train = write(
        tmp_path / "train.jsonl",
        chat("What is a reef?", STORY),
        chat(PARCEL, HELP, id=1),
        chat(PARCEL.replace("blue", "red"), HELP),
        chat("Is it raining?", "Yes."),
        chat("Where is the key?", "Under the mat."),
    )
    valid = write(
        tmp_path / "valid.jsonl", chat("Is it raining?", HELP), chat(PARCEL, HELP), chat("Who are you?", "A model.")
    )
    figures = leaks.find(train, valid, tmp_path / "work", tmp_path / "out")
    assert kinds(tmp_path / "out") == {"exact": [(2, 2)], "near": [(3, 2)], "prompt": [(4, 1)]}
    assert figures["others"] == {"exact": 1, "near": 0, "prompt": 1}  # rows of the validation file
    assert figures["exact"]["rows"] == figures["near"]["rows"] == figures["prompt"]["rows"] == 1
    out = tmp_path / "out"
    assert found.lines_to_drop(out, ["exact", "near"], 0.8).tolist() == [2, 3]
    assert found.lines_to_drop(out, ["exact", "near", "prompt"], 0.99).tolist() == [2, 4]
    assert found.lines_to_drop(out, ["exact", "near"], 0.8, side="other").tolist() == [2]


def test_files_without_a_common_row_have_no_leaks(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", chat(PARCEL, HELP))
    for rows in ([chat("What is a reef?", STORY)], []):
        leaks.find(train, write(tmp_path / "valid.jsonl", *rows), tmp_path / "work", tmp_path / "out")
        assert kinds(tmp_path / "out") == {}


# ---- prompts that are kept for judging ----


def test_rows_that_ask_what_a_prompt_asks_are_found(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        chat(PARCEL, "Yes.", "Be brief."),
        chat(PARCEL.replace("blue", "red"), "No."),
        chat("Who are you?", "A model."),
        {"messages": [*chat("Hello", "Hi")["messages"], *chat("What is a REEF", STORY)["messages"]]},
        {"text": "What is a reef?"},
    )
    prompts = [
        asked.Asked("lamp", {"prompt": PARCEL}, ("set:a/1", "film:b/2")),
        asked.Asked("reef", {"prompt": "What is a reef?"}, ("set:a/2",)),
        asked.Asked("none", {"prompt": ""}),
    ]
    done = asked.find(path, prompts, tmp_path / "out")
    assert done["places"] == {"set:a": {"exact": 2, "near": 1}, "film:b": {"exact": 1, "near": 1}}
    assert asked.standing(tmp_path / "out", "film:b") == {"lamp"}
    assert asked.lines_asking(tmp_path / "out", ["exact", "near"], "film:b", 0.8).tolist() == [1, 2]
    assert kinds(tmp_path / "out") == {"exact": [(1, "lamp"), (4, "reef")], "near": [(2, "lamp")]}
    assert found.lines_to_drop(tmp_path / "out", ["exact", "near"], 0.8).tolist() == [1, 2, 4]
    assert asked.find(path, [], tmp_path / "none")["prompts"] == 0


def test_a_prompt_that_stands_in_several_places_is_one() -> None:
    asks = [
        ({"prompt": "What is wool?"}, "set:a/1"),
        ({"prompt": " "}, "set:a/2"),
        ({"prompt": "what is WOOL"}, "votes/x"),
    ]
    (only,) = asked.merged(asks)
    assert only.stands == ("set:a/1", "votes/x") and only.ask == {"prompt": "What is wool?"}


# ---- many rows ----


def of_a_template(many: int) -> list[list[str]]:
    """Tickets of 53 words, 40 of which all share; a few pairs of them share more by chance."""
    chance = random.Random(3)
    template = [f"fixed{at}" for at in range(53)]
    blanks = range(3, 53, 4)
    return [
        [f"value{chance.randrange(4000)}" if at in blanks else word for at, word in enumerate(template)]
        for _ in range(many)
    ]


def planted_in_a_template(path: Path, many: int) -> tuple[dict[int, int], dict[int, list[str]]]:
    """Writes tickets and then copies of the lines 31 to 38 with two words exchanged: 96.2 % alike."""
    texts = of_a_template(many)
    for at in range(30, 38):
        texts.append([f"other{place}" if place in (10, 30) else word for place, word in enumerate(texts[at])])
    write(path, *({"text": " ".join(words)} for words in texts))
    return {many + 1 + at: 31 + at for at in range(8)}, dict(enumerate(texts, start=1))


@pytest.mark.parametrize("many", [300, 3_000])
def test_near_copies_among_rows_of_one_template_are_found_and_nothing_else(tmp_path: Path, many: int) -> None:
    planted, texts = planted_in_a_template(tmp_path / "rows.jsonl", many)
    within.find(tmp_path / "rows.jsonl", tmp_path / "work", tmp_path / "out")
    out = tmp_path / "out"
    for level in (0.85, 0.9, 0.95):
        assert found.lines_to_drop(out, ["near"], level).tolist() == sorted(planted)
        groups = [each["rows"] for each in found.entries(out, "near", 0, 100, level)]
        assert groups == [[[first, 1.0], [copy, 0.962]] for copy, first in planted.items()]
    assert found.lines_to_drop(out, ["near"], 0.98).tolist() == []
    told = {line: (other, like) for ((line, other, like),) in found.all_entries(out, "near")}
    assert all(told[copy] == (first, 0.962) for copy, first in planted.items())
    for entry in found.entries(out, "near", 0, 10_000, 0.8):
        first, *others = (texts[line] for line, _ in entry["rows"])
        assert all(alike.similarity(first, other) >= 0.8 for other in others)


def test_a_split_keeps_near_copies_together_and_does_not_take_a_template_for_one(tmp_path: Path) -> None:
    planted, _ = planted_in_a_template(tmp_path / "rows.jsonl", 300)
    roots = within.roots(tmp_path / "rows.jsonl", tmp_path / "work").tolist()
    assert {copy: roots[copy - 1] + 1 for copy in planted} == planted
    assert len(set(roots)) == 300


def test_of_many_rows_that_are_all_alike_one_stays(tmp_path: Path) -> None:
    words = STORY.split()
    rows = [
        {"text": " ".join(f"new{at}" if place == at % 30 else word for place, word in enumerate(words))}
        for at in range(400)
    ]
    within.find(write(tmp_path / "rows.jsonl", *rows), tmp_path / "work", tmp_path / "out")
    assert found.lines_to_drop(tmp_path / "out", ["near"], 0.8).tolist() == list(range(2, 401))
    assert found.lines_to_drop(tmp_path / "out", ["near"], 0.9).tolist() == list(range(2, 401))


def test_planted_repeats_and_leaks_are_found_and_nothing_else(tmp_path: Path) -> None:
    chance = random.Random(5)
    vocabulary = [f"word{number}" for number in range(2000)]

    def text(words: int) -> str:
        return " ".join(chance.choices(vocabulary, k=words))

    def edited(line: str, share: float) -> str:
        words = line.split()
        for at in chance.sample(range(len(words)), round(share * len(words))):
            words[at] = chance.choice(vocabulary)
        return " ".join(words)

    rows = [(text(20), text(50)) for _ in range(300)]
    copies = [rows[at] for at in range(10)]
    near = [
        (edited(rows[at][0], share), edited(rows[at][1], share))
        for at, share in zip(range(10, 20), [0.05, 0.1, 0.15] * 4, strict=False)
    ]
    train = write(tmp_path / "train.jsonl", *(chat(*row) for row in (*rows, *copies, *near)))
    within.find(train, tmp_path / "work", tmp_path / "out")
    assert kinds(tmp_path / "out") == {
        "exact": [[at + 1, at + 301] for at in range(10)],
        "near": [[at + 1, at + 301] for at in range(10, 20)],
    }
    valid = write(
        tmp_path / "valid.jsonl",
        *(chat(text(20), text(50)) for _ in range(40)),
        *(chat(*rows[at]) for at in (50, 60)),
        chat(edited(rows[70][0], 0.1), rows[70][1]),
    )
    leaks.find(train, valid, tmp_path / "work", tmp_path / "leaks")
    assert kinds(tmp_path / "leaks") == {"exact": [(51, 41), (61, 42)], "near": [(71, 43)]}


def test_a_file_of_one_row_over_and_over_costs_no_square_of_time_or_memory(tmp_path: Path) -> None:
    row = json.dumps(chat(PARCEL, HELP)).encode() + b"\n"
    path = tmp_path / "rows.jsonl"
    path.write_bytes(row * 3_000)
    tracemalloc.start()
    figures = within.find(path, tmp_path / "work", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert figures["exact"] == {"groups": 1, "rows": 2_999}
    assert len(found.lines_to_drop(tmp_path / "out", ["exact"])) == 2_999
    (entry,) = found.entries(tmp_path / "out", "exact", 0, 10)  # a line of a thousand rows; two more follow it
    assert entry["size"] == 3_000 and len(entry["rows"]) == found.ROWS_A_LINE
    assert peak < 40e6
