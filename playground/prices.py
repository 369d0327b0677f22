"""What an answer of this machine's own models costs, where a price is set."""

from channels.db import database_sync_to_async

from training.usage import terms
from training.usage.book import Account


async def cost(account: Account, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
    """In HONE_PRICE_CURRENCY; None where no price is set or the tokens are not known."""
    if prompt_tokens is None or completion_tokens is None:
        return None
    ask = database_sync_to_async(terms.answer_cost)
    return await ask(account.project, account.base, prompt_tokens, completion_tokens)
