"""Two rows beside each other: which words are marked, for rows of every format."""

from typing import Any

import pytest

from dashboard.side_by_side import LONG_TEXT, Turn, compared, said


def marked(turn: Turn) -> tuple[list[str], list[str]]:
    """The words that only one side has."""
    return tuple([part.text.strip() for part in side if part.kind != "same"] for side in (turn.one, turn.other))  # type: ignore[return-value]


def text(side: Any) -> str:
    return "".join(part.text for part in side)


ROWS = [
    ({"prompt": "Where?", "completion": "On the table."}, {"prompt": "Where?", "completion": "On the desk."}),
    ({"text": "On the table."}, {"text": "On the desk."}),
    (
        {"prompt": "Where is it?", "chosen": "On the table.", "rejected": "No."},
        {"prompt": "Where is it?", "chosen": "On the desk.", "rejected": "No."},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ROWS)
def test_the_words_that_differ_are_marked_on_both_sides(one: dict[str, Any], other: dict[str, Any]) -> None:
    turns = compared(said(one), said(other))
    (differing,) = [turn for turn in turns if not turn.same]
    assert marked(differing) == (["table"], ["desk"])


def test_each_side_is_its_own_text_letter_by_letter() -> None:
    one, other = "First line\n  second  line, old", "First line second line,\nnew"
    (turn,) = compared([("user", one)], [("user", other)])
    assert (text(turn.one), text(turn.other)) == (one, other)


def test_a_turn_that_one_row_lacks_stands_alone() -> None:
    first, last = compared([("user", "a"), ("assistant", "b")], [("user", "a")])
    assert first.same and not last.same and (last.role, text(last.one), last.other) == ("assistant", "b", ())
    (turn,) = compared([("system", "a")], [("user", "a")])
    assert turn.role == "system / user"


def test_a_row_that_cannot_be_read_and_a_very_long_one_are_shown_as_far_as_they_go() -> None:
    assert compared(said(None), []) == []
    (turn,) = compared([("user", "a" * 9000)], [("user", "a" * 9000)])
    assert turn.cut and len(text(turn.one)) == LONG_TEXT


def test_a_system_message_that_only_one_row_has_shifts_nothing() -> None:
    row = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    turns = compared(row, [("system", "s"), *row])
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [turn.same for turn in turns] == [False, True, True, True, True]
