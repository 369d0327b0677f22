"""What one answer took, read off it while it passes: vLLM tells it in the last chunk of a stream, where it is asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from accounts.errors import ApiError
from playground.limits.reserving import Grant, prompt_tokens
from training.usage import book
from training.usage.book import Account

# the chunk with the usage has no choices; a quotation mark inside a text is escaped, so no answer can look like it
USAGE: Final = b'"choices":[]'


class Tally:
    """Of one request. `close` tells what it took, once, however it ended."""

    def __init__(self, grant: Grant, payload: dict[str, Any], account: Account | None = None) -> None:
        """`account`: in whose usage it is recorded; None: in nobody's."""
        self.grant, self.payload, self.account = grant, payload, account
        self.shows_usage = bool((payload.get("stream_options") or {}).get("include_usage"))
        self.usage: dict[str, Any] | None = None
        self.relayed = 0  # chunks; vLLM writes one for each token, fewer where it writes faster than they are taken
        self.is_asked = False  # the model has the prompt
        self.closed = False

    def see(self, chunk: dict[str, Any]) -> None:
        """A chunk of a stream that stays here."""
        self.relayed += 1
        self.usage = chunk.get("usage") or self.usage

    def look(self, together: list[bytes]) -> list[bytes]:
        """Chunks of a stream as they may be passed on: the usage is left out where the caller did not ask for it."""
        self.relayed += len(together)
        if USAGE not in together[-1]:
            return together
        self.usage = json.loads(together[-1]).get("usage")
        return together if self.shows_usage else together[:-1]

    def __enter__(self) -> "Tally":
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def headers(self) -> dict[str, str]:
        return self.grant.headers

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Around all that may fail before the first token. A model that could not be asked, and a caller
        who left before it was asked, count for nothing; a request that it refused as one without tokens."""
        try:
            yield
        except ApiError as error:
            self._drop(answered=error.status < 429)
            error.headers = self.headers | error.headers
            raise
        except BaseException:  # the caller left
            if self.is_asked:
                self.close()
            else:
                self._drop(answered=False)
            raise

    def _drop(self, *, answered: bool) -> None:
        """Nothing is recorded of it."""
        self.closed = True
        self.grant.settle(0, answered=answered)

    def close(self) -> None:
        """The answer is whole, broke off, or its caller left: then what was relayed counts, with the prompt."""
        if self.closed:
            return
        self.closed = True
        usage = self.usage or self._relayed()
        prompt, completion = (usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))
        if self.account:
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            figures = {"prompt_tokens": prompt, "cached_tokens": cached, "completion_tokens": completion}
            book.note(self.account, requests=1, **figures)
        self.grant.settle(prompt + completion)

    def _relayed(self) -> dict[str, int]:
        """Of an answer that was not told to its end. The first chunk of a chat only says who speaks."""
        told = max(0, self.relayed - 1) if "messages" in self.payload else self.relayed
        return {"prompt_tokens": prompt_tokens(self.payload), "completion_tokens": told}
