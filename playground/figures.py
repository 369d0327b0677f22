"""What an answer cost, in words: a line for one column, and beside another column what takes how many times as much."""

from math import floor, log10

from django.conf import settings

from playground.comparisons import Answer
from playground.models import Response

STOPPED = {"stop": "finished", "length": "cut at the limit", "stopped": "stopped", "tool_calls": "called a tool"}
SAME = 1.1  # times as much; less than this is no difference worth a word


def line(response: Response | Answer) -> str:
    """'18 prompt tokens · first token 0.21 s · 48 tok/s · 4.6 s in all · 212 tokens · finished'."""
    parts = []
    if response.prompt_tokens is not None:
        parts.append(f"{response.prompt_tokens:,} prompt tokens")
    if response.first_token_seconds is not None:
        parts.append(f"first token {_seconds(response.first_token_seconds)}")
    if response.tokens_per_second is not None:
        parts.append(f"{_rate(response.tokens_per_second)} tok/s")
    if response.seconds is not None:
        parts.append(f"{_seconds(response.seconds)} in all")
    if response.completion_tokens is not None:
        several = f" in {1 + len(response.more_samples)} samples" if response.more_samples else ""
        parts.append(
            f"{response.completion_tokens:,} {'token' if response.completion_tokens == 1 else 'tokens'}{several}"
        )
    if response.cost is not None:
        parts.append(_money(response.cost))
    if response.stop_reason:
        parts.append(STOPPED.get(response.stop_reason, response.stop_reason))
    return " · ".join(parts)


def beside(response: Response, other: Response, letter: str) -> str:
    """'Beside A: 3.1× fewer prompt tokens · done 1.4× sooner'; empty where nothing differs by a tenth."""
    said = [
        _times(other.prompt_tokens, response.prompt_tokens, "{}× fewer prompt tokens", "{}× as many prompt tokens"),
        _times(
            other.first_token_seconds, response.first_token_seconds, "first token {}× sooner", "first token {}× later"
        ),
        _times(other.cost, response.cost, "{}× cheaper", "{}× the cost"),
        _times(other.seconds, response.seconds, "done {}× sooner", "done {}× later"),
    ]
    words = " · ".join(part for part in said if part)
    return f"Beside {letter}: {words}" if words else ""


def _times(other: float | None, own: float | None, less: str, more: str) -> str:
    """Which of both words holds, with the factor; empty where it cannot be said or is not worth a word."""
    if not other or not own:
        return ""
    factor = max(own / other, other / own)
    return (less if own < other else more).format(_factor(factor)) if factor >= SAME else ""


def _factor(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def _money(value: float) -> str:
    """Two digits that count: an answer often costs a hundredth of a cent."""
    figure = f"{value:.2f}" if value >= 1 or not value else f"{value:.{1 - floor(log10(value))}f}"
    return f"{settings.HONE_PRICE_CURRENCY}{figure}"


def _rate(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
