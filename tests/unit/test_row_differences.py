"""A row before and after a repair: marked where it differs, spaces too, and bounded however long it is."""

import random
import time

import pytest

from dashboard.row_differences import sides


def texts(parts: list, kind: str) -> list[str]:
    return [part.text for part in parts if part.kind == kind]


@pytest.mark.parametrize(
    ("before", "after", "removed", "added"),
    [
        ('"role": "human"', '"role": "user"', ["human"], ["user"]),
        ('"content": "4 "', '"content": "4"', [" "], []),
        ('{"a": 1, "weight": true}', '{"a": 1}', [', "weight": true'], []),
        ("one two three", "one 2 three", ["two"], ["2"]),
        ("ticket", "tickets", ["ticket"], ["tickets"]),
        ("the same", "the same", [], []),
        ("", "all new", [], ["all new"]),
    ],
)
def test_what_differs_is_marked_word_by_word(before: str, after: str, removed: list, added: list) -> None:
    left, right = sides(before, after)
    assert (texts(left, "removed"), texts(right, "added")) == (removed, added)
    assert not texts(left, "added") and not texts(right, "removed")


def test_both_sides_are_the_texts_themselves_while_they_are_short() -> None:
    draw = random.Random(5)
    for _ in range(300):
        before, after = ("".join(draw.choices('ab \n"{}:', k=draw.randint(0, 40))) for _ in range(2))
        left, right = sides(before, after)
        assert "".join(part.text for part in left) == before
        assert "".join(part.text for part in right) == after


def test_long_parts_that_are_the_same_are_cut_short_around_a_change() -> None:
    left, _ = sides("word " * 500 + "human" + " word" * 500, "word " * 500 + "user" + " word" * 500)
    shown = "".join(part.text for part in left)
    assert "human" in shown and len(shown) < 400 and shown.startswith(" … ") and shown.endswith(" … ")


def test_rows_of_millions_of_characters_are_compared_at_once() -> None:
    long = "word and another, " * 300_000
    began = time.process_time()
    left, right = sides(f"{long}human {long}", f"{long}user {long}")
    every, _ = sides(long, long.upper())
    assert time.process_time() - began < 5
    assert texts(left, "removed") == ["human"] and texts(right, "added") == ["user"]
    assert len("".join(part.text for part in every)) < 4_000
