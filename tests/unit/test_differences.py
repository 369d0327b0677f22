"""Two texts word by word."""

import random
import time

import pytest

from playground.differences import MOST_WORDS, WORDS, Part, difference


def test_what_was_added_and_what_was_taken_away_stand_in_order() -> None:
    found = difference("The quick brown fox.", "The brown fox jumps.")
    assert found.parts == (
        Part("same", "The "),
        Part("removed", "quick "),
        Part("same", "brown fox "),
        Part("added", "jumps"),
        Part("same", "."),
    )
    assert (found.added, found.removed, found.words) == (1, 1, "1 added, 1 removed")


def test_space_alone_is_no_difference() -> None:
    found = difference("a  b\nc", "a b c")
    assert found.words == "the same words" and found.parts == (Part("same", "a b c"),)


@pytest.mark.parametrize("seed", range(5))
def test_both_texts_can_be_read_out_of_the_parts(seed: int) -> None:
    draw = random.Random(seed)
    words = ["the", "sky", "is", "blue", "and", "\n", "  ", "grey", ",", "…", "<b>", "𝒜"]
    before, now = (" ".join(draw.choices(words, k=draw.randint(0, 40))) for _ in range(2))
    parts = difference(before, now).parts
    assert "".join(part.text for part in parts if part.kind != "removed") == now
    old = [word for part in parts if part.kind != "added" for word in words_of(part.text)]
    assert old == words_of(before)


def words_of(text: str) -> list[str]:
    return [word.group(1) for word in WORDS.finditer(text) if word.group(1)]


def test_a_word_that_is_gone_from_the_end_does_not_stick_to_the_one_before() -> None:
    assert difference("blue sky", "blue").parts == (Part("same", "blue"), Part("removed", " sky"))


def test_texts_that_are_too_long_are_not_compared_and_it_is_said() -> None:
    found = difference("word " * MOST_WORDS, "other " * MOST_WORDS)
    assert found.too_long and "too long" in found.words
    assert [part.kind for part in found.parts] == ["same"]


def test_a_long_text_takes_no_long_time() -> None:
    draw = random.Random(1)
    words = [f"w{number}" for number in range(300)] + ["the"] * 100
    before = draw.choices(words, k=MOST_WORDS // 2)
    now = [("x" if index % 10 == 0 else word) for index, word in enumerate(before)]
    begun = time.process_time()
    assert difference(" ".join(before), " ".join(now)).added == MOST_WORDS // 20
    assert time.process_time() - begun < 10
