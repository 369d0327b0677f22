"""What a million tokens of a base model cost a project, and how many it may ask for a minute: its own terms, else the
server's settings. Prices are today's: a new one holds for what was used before, too."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from accounts.models import Project
from training.engine.spec import Price
from training.usage.models import ModelTerms


@dataclass(frozen=True)
class Prices:
    """In HONE_PRICE_CURRENCY; None: not priced."""

    training: float | None = None  # of a million tokens of the training file, each epoch anew
    input: float | None = None  # of a million tokens of prompts
    output: float | None = None
    device_hour: float | None = None

    def cost(self, figures: dict[str, Any]) -> float | None:
        """Of sums by the columns of Usage; None where nothing of it has a price."""
        parts = (
            (self.training, figures["file_tokens"] / 1e6),
            (self.input, figures["prompt_tokens"] / 1e6),
            (self.output, figures["completion_tokens"] / 1e6),
            (self.device_hour, figures["device_seconds"] / 3600),
        )
        priced = [price * amount for price, amount in parts if price is not None and amount]
        return sum(priced) if priced else None


def servers_prices() -> Prices:
    return Prices(
        settings.HONE_PRICE_MILLION_TOKENS or None,
        settings.HONE_PRICE_MILLION_PROMPT_TOKENS or None,
        settings.HONE_PRICE_MILLION_ANSWER_TOKENS or None,
        settings.HONE_PRICE_DEVICE_HOUR or None,
    )


def limits(requests: int | None = None, tokens: int | None = None) -> tuple[int, int]:
    """Requests and tokens a minute: the project's own, else the server's (for None); 0 is none."""
    return (
        settings.HONE_RATE_REQUESTS_PER_MINUTE if requests is None else requests,
        settings.HONE_RATE_TOKENS_PER_MINUTE if tokens is None else tokens,
    )


def prices_of(project: Project) -> dict[str, Prices]:
    """By name of the base model; those that are not in it have the server's."""
    found = ModelTerms.objects.filter(project=project).select_related("base_model")
    return {terms.base_model.name: _own(terms) for terms in found}


def _own(terms: ModelTerms) -> Prices:
    server = servers_prices()
    return Prices(
        server.training if terms.training_price is None else terms.training_price,
        server.input if terms.input_price is None else terms.input_price,
        server.output if terms.output_price is None else terms.output_price,
        server.device_hour,
    )


def training_price(project_id: str, base: str) -> Price | None:
    """For the estimate of a job; None where no price is set."""
    terms = ModelTerms.objects.filter(project=project_id, base_model__name=base).first()
    found = _own(terms) if terms else servers_prices()
    asked = Price(
        million_tokens=found.training or 0,
        device_hour=(found.device_hour or 0) * settings.HONE_DEVICES_PER_JOB,
        currency=settings.HONE_PRICE_CURRENCY,
    )
    return asked if asked.million_tokens or asked.device_hour else None


def answer_cost(project_id: str, base: str, prompt_tokens: int, completion_tokens: int) -> float | None:
    terms = ModelTerms.objects.filter(project=project_id, base_model__name=base).first()
    spent = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return (_own(terms) if terms else servers_prices()).cost({"file_tokens": 0, "device_seconds": 0, **spent})
