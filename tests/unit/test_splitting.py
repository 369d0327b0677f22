"""Which rows a split takes: even over strata, whole groups, the same for the same seed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from training.splitting import NO_VALUE, CannotSplit, Plan, choose, fields_of, words, write


def row(user: str, assistant: str = "Yes.", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}], **more}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """100 rows: 60 of billing, 30 of delivery, 10 without a topic; ten conversations of ten rows each."""
    topics = [{"topic": "billing"}] * 60 + [{"metadata": {"topic": "delivery"}}] * 30 + [{}] * 10
    rows = [row(f"Question {at}", conversation=at % 10, **more) for at, more in enumerate(topics)]
    return written(tmp_path / "rows.jsonl", rows)


def test_each_value_of_a_tag_gets_its_share(path: Path) -> None:
    chosen = choose(path, Plan(20, stratify="field:topic"))
    assert [(each.name, each.train, each.valid) for each in chosen.strata] == [
        ("billing", 48, 12), ("delivery", 24, 6), (NO_VALUE, 8, 2)
    ]  # fmt: skip
    assert chosen.rows == 20


def test_what_is_left_over_goes_to_the_largest_remainders(path: Path) -> None:
    assert [each.valid for each in choose(path, Plan(7, stratify="field:topic")).strata] == [4, 2, 1]


def test_a_group_never_stands_on_both_sides(path: Path) -> None:
    chosen = choose(path, Plan(25, group="field:conversation"))
    sides = {(at % 10, bool(valid)) for at, valid in enumerate(chosen.valid_N)}
    assert len(sides) == 10 and (chosen.groups, chosen.largest_group) == (10, 10)
    assert chosen.rows == 20  # two groups of ten; half of a third would not do


def test_rows_without_the_field_are_groups_of_their_own(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [row(f"{at}", thread="one" if at < 4 else None) for at in range(10)])
    chosen = choose(path, Plan(3, group="field:thread"))
    assert (chosen.groups, chosen.largest_group, chosen.rows) == (7, 4, 3)
    assert not chosen.valid_N[:4].any()  # four do not fit into three


def test_rows_that_begin_with_one_question_stay_together(tmp_path: Path) -> None:
    rows = [row(text, f"Answer {at}") for at, text in enumerate(["Where  is it?", "where is it?", "Who?", "Why?"] * 5)]
    chosen = choose(written(tmp_path / "rows.jsonl", rows), Plan(5, group="first"))
    assert chosen.groups == 3
    for same in (lambda at: at % 4 < 2, lambda at: at % 4 == 2, lambda at: at % 4 == 3):
        assert len({bool(valid) for at, valid in enumerate(chosen.valid_N) if same(at)}) == 1


def test_near_duplicates_stay_together(tmp_path: Path) -> None:
    texts = [f"word{at}a word{at}b word{at}c word{at}d word{at}e word{at}f word{at}g word{at}h" for at in range(20)]
    rows = [row(text, "") for text in texts] + [row(f"{text} too", "") for text in texts]
    path = written(tmp_path / "rows.jsonl", rows)
    for seed in range(5):
        chosen = choose(path, Plan(10, seed=seed, group="near"), tmp_path / "work")
        assert (chosen.groups, chosen.rows) == (20, 10)
        assert (chosen.valid_N[:20] == chosen.valid_N[20:]).all()


def test_groups_are_spread_evenly_too(tmp_path: Path) -> None:
    rows = [row(f"{at}", topic="ab"[at % 2], thread=at // 4 * 2 + at % 2) for at in range(80)]  # pairs of one topic
    chosen = choose(written(tmp_path / "rows.jsonl", rows), Plan(16, stratify="field:topic", group="field:thread"))
    assert [(each.name, each.valid) for each in chosen.strata] == [("a", 8), ("b", 8)]
    assert chosen.groups == 40


@pytest.mark.parametrize("by", [{"stratify": "field:topic"}, {"group": "field:conversation"}])
def test_the_seed_alone_decides(path: Path, by: dict[str, str]) -> None:
    first, again, other = (choose(path, Plan(30, seed=seed, **by)).valid_N.tolist() for seed in (1, 1, 2))
    assert first == again != other
    taken = Counter(at for seed in range(60) for at in choose(path, Plan(30, seed=seed, **by)).valid_N.nonzero()[0])
    assert min(taken.values()) > 2 and max(taken.values()) < 40  # each row about 18 times: no place is preferred


def test_the_rows_chosen_for_a_seed_stay_the_same_for_good(path: Path) -> None:
    assert choose(path, Plan(5, seed=3, stratify="turns")).valid_N.nonzero()[0].tolist() == [3, 37, 40, 61, 62]


def test_strata_by_system_prompt_and_by_turns(tmp_path: Path) -> None:
    brief = {"messages": [{"role": "system", "content": "Be brief."}, *row("a")["messages"], *row("b")["messages"]]}
    path = written(tmp_path / "rows.jsonl", [brief] * 4 + [row("a")] * 6)
    told = choose(path, Plan(5, stratify="system")).strata
    assert [(each.name, each.rows, each.valid) for each in told] == [("", 6, 3), ("Be brief.", 4, 2)]
    assert [each.name for each in choose(path, Plan(5, stratify="turns")).strata] == ["1 answer", "2 answers"]


@pytest.mark.parametrize(
    ("plan", "words_"),
    [
        (Plan(0), "0 of 100 rows cannot be split off"),
        (Plan(100), "100 of 100 rows cannot be split off"),
        (Plan(5, group="field:conversation"), "The groups are too large: the largest has 10 of 100 rows"),
    ],
)
def test_what_cannot_be_split_is_said(path: Path, plan: Plan, words_: str) -> None:
    with pytest.raises(CannotSplit, match=words_):
        choose(path, plan)


def test_a_field_of_too_many_values_is_nothing_to_spread_over(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [row("a", id=at) for at in range(300)])
    with pytest.raises(CannotSplit, match="more than 200 different values"):
        choose(path, Plan(10, stratify="field:id"))


def test_fields_are_offered_by_how_common_they_are(path: Path) -> None:
    assert fields_of(path) == ["conversation", "topic"]


def test_lines_are_written_unchanged(path: Path, tmp_path: Path) -> None:
    chosen = choose(path, Plan(20, stratify="field:topic"))
    write(path, chosen.valid_N, tmp_path / "train", tmp_path / "valid")
    train, valid = ((tmp_path / name).read_bytes().splitlines() for name in ("train", "valid"))
    assert len(valid) == 20 and sorted(train + valid) == sorted(path.read_bytes().splitlines())


def test_a_plan_says_in_words_what_it_does() -> None:
    assert words(Plan(5, 7)) == "seed 7"
    assert words(Plan(5, 7, "field:topic", "near")) == "spread evenly over topic, near-duplicates kept together, seed 7"
