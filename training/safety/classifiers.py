"""Who says whether a text is harmful: the classifier that comes with Hone, or an OpenAI-compatible endpoint."""

from collections.abc import Sequence
from typing import Any, Protocol

from training.safety import endpoint
from training.safety.embedded import Embedded, Verdict
from training.safety.models import ModerationPolicy


class Classifier(Protocol):
    key: str  # tells it from every other one, with its version
    name: str  # for people

    def judge(self, texts: Sequence[str]) -> list[Verdict]:
        """One verdict a text. Raises ApiError when it cannot be asked."""
        ...


class Endpoint:
    """Somebody else's classifier behind POST {base_url}/moderations."""

    def __init__(self, policy: ModerationPolicy) -> None:
        self.policy = policy
        self.name = f"{policy.model or 'the default model'} at {policy.base_url}"
        self.key = f"{policy.model} at {policy.base_url}"[:300]

    def judge(self, texts: Sequence[str]) -> list[Verdict]:
        return [_said(result) for result in endpoint.moderate(self.policy, texts)]


def _said(result: dict[str, Any]) -> Verdict:
    """Its own categories, whatever they are called."""
    given, scores = result.get("categories"), result.get("category_scores")
    categories = tuple(name for name, yes in given.items() if yes is True) if isinstance(given, dict) else ()
    numbers = scores.items() if isinstance(scores, dict) else ()
    kept = {name: float(value) for name, value in numbers if isinstance(value, int | float)}
    return Verdict(bool(result.get("flagged")), kept, categories)


def classifier_of(policy: ModerationPolicy) -> Classifier:
    return Endpoint(policy) if policy.base_url else Embedded()
