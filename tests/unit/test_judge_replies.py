"""A judge's reply is read strictly, and what it is asked shows both answers."""

import pytest

from playground.judge.questions import RUBRIC, question, read


@pytest.mark.parametrize(
    ("reply", "meant"),
    [
        ('{"better": "A"}', "left"),
        (' {"better": "b"}\n', "right"),
        ('```json\n{"better": "tie"}\n```', "tie"),
        ('{"better": "A", "because": "shorter"}', "left"),
        ("B", "right"),
        ("[[A]]", "left"),
        ("(b).", "right"),
        ("Tie.", "tie"),
    ],
)
def test_the_json_or_the_letter_that_was_asked_for_is_read(reply: str, meant: str) -> None:
    assert read(reply) == meant


@pytest.mark.parametrize(
    "reply",
    [
        *("", "A is better", "Answer A", "AB", "C", "{A}", "neither", "42"),
        *('{"better": "C"}', '{"better": null}', '{"best": "A"}', '["A"]'),
        *('I think {"better": "A"}', '{"better": "A"} or {"better": "B"}'),
    ],
)
def test_anything_else_is_not_guessed_at(reply: str) -> None:
    assert read(reply) == ""


def test_the_question_shows_the_request_and_both_answers_in_their_order() -> None:
    ask = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]}
    system, user = question(RUBRIC, ask, "because", "so")
    assert system["role"] == "system" and system["content"].startswith("You judge")
    text = user["content"]
    assert "system: Be brief.\n\nuser: Why?" in text
    assert text.index("<answer_a>\nbecause") < text.index("<answer_b>\nso")
    assert "<request>\nOnce upon" in question(RUBRIC, {"prompt": "Once upon"}, "a", "b")[1]["content"]
