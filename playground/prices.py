"""What an answer of this machine's own models costs, where the owner has set a price for answering."""

from django.conf import settings


def cost(prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
    """In HONE_PRICE_CURRENCY; None where no price is set or the tokens are not known."""
    prices = (settings.HONE_PRICE_MILLION_PROMPT_TOKENS, settings.HONE_PRICE_MILLION_ANSWER_TOKENS)
    if not any(prices) or prompt_tokens is None or completion_tokens is None:
        return None
    return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6
