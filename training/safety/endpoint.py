"""Somebody else's classifier behind POST {base_url}/moderations, in OpenAI's shape."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from training.safety.asking import Answered, Server, line_to
from training.safety.embedded import Verdict

BATCH = 32  # texts a request
MOST_CHARACTERS = 30_000  # of a text; longer ones are cut, as no classifier reads more


class Endpoint:
    batch = 256

    def __init__(self, base_url: str, model: str, find_server: Callable[[], Server]) -> None:
        """`find_server` raises ApiError."""
        self.model, self.find_server = model, find_server
        self.name = f"{model or 'the default model'} at {base_url}"
        self.key = f"{model} at {base_url}"[:300]

    def judge(self, texts: Sequence[str], questions: Sequence[str] = ()) -> list[Verdict]:
        """Its own categories, whatever they are called. Raises ApiError. Not to be called in an event loop."""
        return [_said(result) for result in asyncio.run(self._ask(self.find_server(), texts))]

    async def _ask(self, server: Server, texts: Sequence[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with line_to(server) as line:
            for at in range(0, len(texts), BATCH):
                batch = [text[:MOST_CHARACTERS] for text in texts[at : at + BATCH]]
                body = {"input": batch, **({"model": self.model} if self.model else {})}
                try:
                    content = await line.post("/moderations", body)
                except Answered as error:
                    raise server.trouble(f"it answered {error.status}{error.words}") from error
                found += _results(server, content, len(batch))
        return found


def _results(server: Server, content: bytes, count: int) -> list[dict[str, Any]]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    found = body.get("results") if isinstance(body, dict) else None
    if not isinstance(found, list) or len(found) != count or not all(isinstance(each, dict) for each in found):
        raise server.trouble("its answer is not that of OpenAI's /v1/moderations. Most base URLs end in /v1")
    return found


def _said(result: dict[str, Any]) -> Verdict:
    given, scores = result.get("categories"), result.get("category_scores")
    categories = tuple(name for name, yes in given.items() if yes is True) if isinstance(given, dict) else ()
    numbers = scores.items() if isinstance(scores, dict) else ()
    kept = {name: float(value) for name, value in numbers if isinstance(value, int | float)}
    score = max(kept.values(), default=None)
    return Verdict(bool(result.get("flagged")), kept or dict.fromkeys(categories, 1.0), categories, score)
