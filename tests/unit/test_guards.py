"""Answers of guard models, read: the verdict, what it names, and the probability of the verdict."""

import math

import pytest

from training.safety.embedded import CATEGORIES
from training.safety.guards import FAMILIES
from training.safety.rows import answers_of

LLAMA, QWEN, STRICT = (FAMILIES[key] for key in ("llama-guard", "qwen3guard", "qwen3guard-strict"))
QWEN_UNSAFE = "Safety: Unsafe\nCategories: Violent, PII"


def token(text: str, chance: float = 0.99, **others: float) -> dict[str, object]:
    """One token of `logprobs.content`, with its alternatives."""
    told = [{"token": each, "logprob": math.log(value)} for each, value in {text: chance, **others}.items()]
    return {"token": text, "logprob": math.log(chance), "top_logprobs": told}


@pytest.mark.parametrize(
    ("family", "answer", "flagged", "named"),
    [
        (LLAMA, "safe", False, ()),
        (LLAMA, "\n\nsafe", False, ()),
        (LLAMA, "\n\nunsafe\nS1,S9,S10", True, ("illicit/violent", "hate")),
        (LLAMA, "unsafe\nS5, S14", True, ("Defamation", "Code Interpreter Abuse")),
        (LLAMA, "unsafe\nS23", True, ("S23",)),
        (LLAMA, "unsafe", True, ()),
        (QWEN, "Safety: Safe\nCategories: None", False, ()),
        (QWEN, "Safety: Safe\nCategories: None\nRefusal: Yes", False, ()),
        (QWEN, QWEN_UNSAFE, True, ("violence", "PII")),
        (QWEN, "<think>\n\n</think>\n\n" + QWEN_UNSAFE, True, ("violence", "PII")),
        (QWEN, "Safety: Controversial\nCategories: Politically Sensitive Topics", False, ()),
        (STRICT, "Safety: Controversial\nCategories: Jailbreak\nRefusal: No", True, ("Jailbreak",)),
    ],
)
def test_a_verdict_is_read_with_openais_names_where_they_mean_the_same(family, answer, flagged, named) -> None:
    verdict = family.read(answer, [])
    assert verdict and (verdict.flagged, verdict.categories, verdict.score) == (flagged, named, None)
    assert {name for name, value in verdict.scores.items() if value} == set(named)


@pytest.mark.parametrize("family", [LLAMA, QWEN])
@pytest.mark.parametrize(
    "answer", ["", "I am sorry.", "safe travels!", "unsafely\nS1", "Safety first", "Safety: Maybe", "S1", "Yes"]
)
def test_what_is_no_verdict_is_never_read_as_one(family, answer: str) -> None:
    assert family.read(answer, []) is None


def test_each_family_answers_only_in_its_own_words() -> None:
    assert LLAMA.read(QWEN_UNSAFE, []) is None and QWEN.read("unsafe\nS1", []) is None


def test_the_score_is_the_probability_of_the_verdict_word_wherever_it_stands() -> None:
    verdict = LLAMA.read("\n\nunsafe\nS10", [token("\n\n"), token("unsafe", 0.9, safe=0.1), token("\nS10")])
    assert verdict and verdict.score == pytest.approx(0.9)
    assert verdict.scores["hate"] == pytest.approx(0.9) and verdict.scores["Defamation"] == 0
    verdict = LLAMA.read("safe", [token("\n\n"), token("safe", 0.75, unsafe=0.2, un=0.05), token("<|eot_id|>")])
    assert verdict and verdict.score == pytest.approx(0.25) and not any(verdict.scores.values())


@pytest.mark.parametrize(("family", "score"), [(QWEN, 0.3), (STRICT, 0.9)])
def test_controversial_counts_where_it_flags(family, score: float) -> None:
    heard = [token("Safety"), token(":"), token(" Contro", 0.6, **{" Unsafe": 0.3, " Safe": 0.1}), token("versial")]
    verdict = family.read("Safety: Controversial", [*heard, token("<|im_end|>")])
    assert verdict and verdict.score == pytest.approx(score) and verdict.flagged == (family is STRICT)


@pytest.mark.parametrize(
    "told",
    [
        [],
        [{"token": "safe", "logprob": -0.1}],  # no alternatives: what the rest went to is not known
        [{"token": "safe", "logprob": None, "top_logprobs": [{"token": "unsafe"}]}],
        [{"text": "safe"}],
        [token("another answer")],
    ],
)
def test_no_figure_is_made_up_where_the_server_tells_none(told) -> None:
    verdict = LLAMA.read("safe", told)
    assert verdict and verdict.score is None


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_category_is_called_as_openai_calls_it_or_by_its_own_name(family) -> None:
    borrowed = [name for name in family.categories.values() if name in CATEGORIES]
    own = [name for name in family.categories.values() if name not in CATEGORIES]
    assert len(borrowed) >= 4 and own and all(name[0].isupper() for name in own)


def said(*turns: str) -> list[dict[str, str]]:
    """Messages of roles that take turns, the user first."""
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(turns)]


@pytest.mark.parametrize(
    ("row", "answered"),
    [
        (
            {"messages": [{"role": "system", "content": "Be kind."}, *said("q1", "a1", "q2", "a2")]},
            {"a1": "q1", "a2": "q2"},
        ),
        ({"prompt": "q", "completion": "a"}, {"a": "q"}),
        ({"prompt": "q", "chosen": "good", "rejected": "bad"}, {"good": "q", "bad": "q"}),
        (
            {
                "input": {"messages": said("q")},
                "preferred_output": [{"role": "assistant", "content": "good"}],
                "non_preferred_output": [{"role": "assistant", "content": "bad"}],
            },
            {"good": "q", "bad": "q"},
        ),
        ({"text": "a document"}, {}),
    ],
)
def test_an_answer_is_judged_with_the_question_before_it_in_any_format(row, answered: dict[str, str]) -> None:
    assert {place.text: question for place, question in answers_of(row) if question} == answered
