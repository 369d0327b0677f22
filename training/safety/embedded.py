"""The moderation classifier that comes with Hone.

It is alt-profanity-check (MIT): a linear model over the words of a text, made of 200,000 English comments
that people marked as offensive or not, 1 MB in all. It tells offensive from inoffensive English and nothing else, so of
OpenAI's 13 categories it speaks of `harassment` only. docs/safety.md says how well it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
OFFENSIVE = "harassment"  # what the embedded classifier's one figure is called in OpenAI's words
THRESHOLD = 0.5  # the classifier's own


@dataclass(frozen=True)
class Verdict:
    """On one text. Categories that the classifier does not know have no score."""

    flagged: bool
    scores: dict[str, float]
    categories: tuple[str, ...]  # those that it was flagged for
    score: float | None = None  # how sure the judge is that it is harmful, 0..1; None: it gave no figure


class Embedded:
    batch = 256  # texts judged at once

    def __init__(self) -> None:
        version = metadata.version("alt-profanity-check")
        self.key = f"alt-profanity-check {version} at {THRESHOLD}"
        self.name = f"alt-profanity-check {version}"

    def judge(self, texts: Sequence[str], questions: Sequence[str] = ()) -> list[Verdict]:
        return [self._verdict(score) for score in _offensive(texts)]

    def _verdict(self, score: float) -> Verdict:
        flagged = score >= THRESHOLD
        return Verdict(flagged, {OFFENSIVE: score}, (OFFENSIVE,) if flagged else (), score)


@cache
def _predict() -> Any:
    """Loading it brings in scikit-learn, which takes a second: only where something is judged."""
    from profanity_check import predict_prob

    return predict_prob


def _offensive(texts: Sequence[str]) -> list[float]:
    return [float(score) for score in _predict()(list(texts))] if texts else []
