"""What an answer cost, in words, and beside another column."""

import pytest

from playground import figures, prices
from playground.comparisons import Answer
from playground.models import Response
from training.usage.book import Account


def answer(**fields: object) -> Response:
    return Response(**fields)


def test_the_line_says_each_figure_that_is_known() -> None:
    several = [{"text": "b", "tool_calls": [], "stop_reason": "stop"}]
    said = figures.line(
        Answer(
            prompt_tokens=1234, first_token_seconds=0.214, tokens_per_second=48.4, completion_tokens=212, seconds=4.62,
            stop_reason="tool_calls", more_samples=several,
        )
    )  # fmt: skip
    assert said == (
        "1,234 prompt tokens · first token 0.21 s · 48 tok/s · 4.62 s in all · 212 tokens in 2 samples · called a tool"
    )
    assert figures.line(Answer()) == ""


def test_beside_another_column_stands_how_many_times_as_much() -> None:
    long = answer(prompt_tokens=930, first_token_seconds=0.5, seconds=4.0, cost=0.002)
    short = answer(prompt_tokens=300, first_token_seconds=0.48, seconds=2.0, cost=0.001)
    assert figures.beside(short, long, "A") == "Beside A: 3.1× fewer prompt tokens · 2.0× cheaper · done 2.0× sooner"
    assert figures.beside(long, short, "B") == "Beside B: 3.1× as many prompt tokens · 2.0× the cost · done 2.0× later"


def test_what_is_not_known_or_hardly_differs_is_not_said() -> None:
    assert figures.beside(answer(prompt_tokens=100), answer(prompt_tokens=105, seconds=3.0), "A") == ""
    assert figures.beside(answer(prompt_tokens=0), answer(prompt_tokens=5), "A") == ""


@pytest.mark.parametrize(("cost", "said"), [(0.0, "$0.00"), (0.000123, "$0.00012"), (0.5, "$0.50"), (12.345, "$12.35")])
def test_a_cost_has_two_digits_that_count(cost: float, said: str) -> None:
    assert figures.line(Answer(cost=cost)) == said


@pytest.mark.django_db(transaction=True)
async def test_an_answer_has_a_cost_only_where_a_price_is_set(settings) -> None:
    account = Account("proj_x", "playground", "tiny", "tiny")
    assert await prices.cost(account, 1000, 100) is None
    settings.HONE_PRICE_MILLION_PROMPT_TOKENS, settings.HONE_PRICE_MILLION_ANSWER_TOKENS = 2, 10
    assert await prices.cost(account, 1000, 100) == pytest.approx(0.003)
    assert await prices.cost(account, None, 100) is None
