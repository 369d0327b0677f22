"""Yes or 429 for one request of the API, before a model is asked; the true tokens are set right afterwards."""

import logging
import math
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import redis
from django.conf import settings

from accounts.errors import ApiError
from accounts.models import Project
from playground.limits.windows import Rates, RedisWindows, SQLiteWindows, Taken, Windows
from training.models import ModelTerms
from training.usage import terms

log = logging.getLogger(__name__)
CHARACTERS_A_TOKEN: Final = 4  # as OpenAI estimates a prompt
KINDS: Final = (("requests", "requests per min (RPM)"), ("tokens", "tokens per min (TPM)"))  # in Taken's order
TROUBLE: Final = (sqlite3.Error, redis.RedisError)
REMEMBERED_SECONDS: Final = 2.0
MOST_REMEMBERED: Final = 10_000
_terms: dict[tuple[str, str], tuple[float, tuple[int | None, int | None]]] = {}  # until when it holds; the limits
_afterwards = ThreadPoolExecutor(1, "limits")  # nobody waits for a correction; a process that ends finishes them


@dataclass(frozen=True)
class Grant:
    """One request that may pass. `headers` tell the caller where the limits stand."""

    key: str = ""
    second: int = 0
    tokens: int = 0  # as estimated
    headers: dict[str, str] = field(default_factory=dict)

    def settle(self, tokens: int, *, answered: bool = True) -> None:
        """What it really took; one that was not answered does not count at all. Returns at once."""
        requests, more = (0, tokens - self.tokens) if answered else (-1, -self.tokens)
        if self.key and (requests or more):
            with suppress(RuntimeError):  # the process is ending: the estimate stays
                _afterwards.submit(_correct, self.key, self.second, requests, more)


def reserve(project: Project, family: str, asked: str, tokens: int) -> Grant:
    """`family`: whose limit it is, a base model's name; `asked`: the model's name in the caller's words. Raises
    ApiError 429 in OpenAI's words. Counting that fails lets the request through: answers matter more."""
    rates = rates_of(project, family)
    if not rates.requests and not rates.tokens:
        return Grant()
    key = f"{project.pk}:{family}"
    try:
        taken = windows().take(key, rates, tokens)
    except TROUBLE:
        log.exception("the rate limit of %s cannot be counted; the request passes", key)
        return Grant()
    headers = headers_of(taken, rates)
    if not taken.passed:
        raise refusal(taken, rates, tokens, asked, family, headers)
    return Grant(key, taken.second, tokens, headers)


def rates_of(project: Project, family: str) -> Rates:
    """The project's own, else the server's. A change holds within REMEMBERED_SECONDS."""
    known = _terms.get((project.pk, family))
    if known is None or known[0] < time.monotonic():
        own = ModelTerms.objects.filter(project=project, base_model__name=family)
        found = own.values_list("requests_per_minute", "tokens_per_minute").first() or (None, None)
        if len(_terms) > MOST_REMEMBERED:
            _terms.clear()
        known = _terms[project.pk, family] = (time.monotonic() + REMEMBERED_SECONDS, found)
    return Rates(*terms.limits(*known[1]))


@cache
def windows() -> Windows:
    if settings.HONE_REDIS_URL:
        return RedisWindows(settings.HONE_REDIS_URL)
    return SQLiteWindows(settings.HONE_HOME / "limits.sqlite3")


def _correct(key: str, second: int, requests: int, tokens: int) -> None:
    try:
        windows().give(key, second, requests, tokens)
    except TROUBLE:
        log.exception("the rate limit of %s keeps its estimate", key)


# ---- what a request will take ----


def estimate(payload: dict[str, Any]) -> int:
    """As OpenAI counts it beforehand: the larger of what may be answered and a token for every four characters."""
    limits = (payload.get("max_completion_tokens"), payload.get("max_tokens"))
    answer = next((given for given in limits if type(given) is int and given > 0), 0)
    samples = payload.get("n")
    answer *= samples if type(samples) is int and samples > 0 else 1
    return max(1, answer, prompt_tokens(payload))


def prompt_tokens(payload: dict[str, Any]) -> int:
    """Of its messages or its prompt, about."""
    if "prompt" in payload:
        return _tokens(payload["prompt"])
    return sum(_tokens(message.get("content")) for message in payload.get("messages") or ())


def _tokens(text: Any) -> int:
    """Of a text, a list of tokens, of texts or of a message's parts."""
    if isinstance(text, str):
        return math.ceil(len(text) / CHARACTERS_A_TOKEN)
    if isinstance(text, dict):
        return _tokens(text.get("text"))
    if isinstance(text, list):
        return sum(1 if isinstance(part, int) else _tokens(part) for part in text)
    return 0


# ---- what the caller is told ----


def headers_of(taken: Taken, rates: Rates) -> dict[str, str]:
    """OpenAI's six, or three where only one of the two is limited."""
    told: dict[str, str] = {}
    for what, (name, _) in enumerate(KINDS):
        if limit := getattr(rates, name):
            told[f"x-ratelimit-limit-{name}"] = str(limit)
            told[f"x-ratelimit-remaining-{name}"] = str(max(0, limit - taken.used(what)))
            told[f"x-ratelimit-reset-{name}"] = duration(taken.seconds_until_empty(what))
    return told


def refusal(taken: Taken, rates: Rates, tokens: int, asked: str, family: str, headers: dict[str, str]) -> ApiError:
    """429 by the limit that is reached; one that the request alone is above says so and is not tried again."""
    place = f"for {asked} in organization {settings.HONE_ORG} on"
    if rates.tokens and tokens > rates.tokens:
        return ApiError(
            f"Request too large {place} {KINDS[1][1]}: Limit {rates.tokens}, Requested {tokens}. The input or output "
            "tokens must be reduced in order to run successfully.",
            status=429,
            type="tokens",
            code="rate_limit_exceeded",
            headers=headers | {"x-should-retry": "false"},
        )
    wait, what, limit, more = max(
        (taken.seconds_until_fits(what, more, limit), what, limit, more)
        for what, limit, more in ((0, rates.requests, 1), (1, rates.tokens, tokens))
        if limit
    )
    name, words = KINDS[what]
    wait = max(wait, 0.001)
    return ApiError(
        f"Rate limit reached {place} {words}: Limit {limit}, Used {taken.used(what)}, Requested {more}. "
        f"Please try again in {duration(wait)}. {family} and all models fine-tuned from it share the limit in this "
        "project.",
        status=429,
        type=name,
        code="rate_limit_exceeded",
        headers=headers | {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))},
    )


def duration(seconds: float) -> str:
    """As OpenAI writes it: 12ms, 1s, 9.904s, 6m0s."""
    milliseconds = math.ceil(max(0.0, seconds) * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
