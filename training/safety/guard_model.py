"""A guard model that judges: each text is put to it as a chat, several at once, and its answer is read (guards.py).

The model stands behind any OpenAI-compatible chat endpoint, or in Hone's own list and is served by vLLM here. An answer
is judged with the question before it. What is longer than PIECE characters is judged in pieces, by the worst of them.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from accounts.errors import ApiError
from training.safety.asking import Answered, Line, Server, line_to
from training.safety.embedded import Verdict
from training.safety.finders import find, masked_text
from training.safety.guards import Family

AT_ONCE = 16  # requests
PIECE = 8_000  # characters: some 2,000 tokens of English, at most 8,000 of any script
QUESTION = 2_000  # characters of the question before an answer: its end
MOST_TOKENS = 96  # of an answer: a verdict with a dozen categories
ALTERNATIVES = 5  # of each token, with their log-probabilities
REMEMBERED = 20_000  # texts whose verdict is not asked for again in one pass, such as a system prompt
EXCERPT = 80

Ask = tuple[str, str]  # question, or ""; text


class NoVerdict(ApiError):
    """It answered something that is no verdict of its family; `index` is the text's among those that were given."""

    def __init__(self, trouble: ApiError, ask: Ask) -> None:
        super().__init__(trouble.message, status=trouble.status, type=trouble.type, code=trouble.code)
        self.ask, self.index = ask, 0


class Guard:
    batch = 64  # texts a call: progress is told after each

    def __init__(self, family: Family, name: str, find_server: Callable[[], tuple[Server, str]]) -> None:
        """`find_server` gives the server and the model's name there; it may wait, and raises ApiError."""
        self.family, self.find_server = family, find_server
        self.name = name
        self.key = f"{family.key}: {name}"[:300]
        self.known: dict[Ask, Verdict] = {}
        self.tells_logprobs = True

    def judge(self, texts: Sequence[str], questions: Sequence[str] = ()) -> list[Verdict]:
        """Raises ApiError, NoVerdict too. Not to be called in an event loop."""
        before = questions or [""] * len(texts)
        asks = [_pieces(question, text) for question, text in zip(before, texts, strict=True)]
        new = list(dict.fromkeys(ask for pieces in asks for ask in pieces if ask not in self.known))
        if new:
            if len(self.known) > REMEMBERED:
                self.known.clear()
                new = list(dict.fromkeys(ask for pieces in asks for ask in pieces))
            server, model = self.find_server()
            try:
                asyncio.run(self._ask_all(server, model, new))
            except NoVerdict as error:
                error.index = next(at for at, pieces in enumerate(asks) if error.ask in pieces)
                raise
        return [_worst(self.known[ask] for ask in pieces) for pieces in asks]

    async def _ask_all(self, server: Server, model: str, asks: list[Ask]) -> None:
        free = asyncio.Semaphore(AT_ONCE)
        async with line_to(server) as line:

            async def one(ask: Ask) -> None:
                async with free:
                    self.known[ask] = await self._ask(line, model, ask)

            try:
                async with asyncio.TaskGroup() as group:
                    for ask in asks:
                        group.create_task(one(ask))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None

    async def _ask(self, line: Line, model: str, ask: Ask) -> Verdict:
        content = await self._post(line, _body(model, ask, self.tells_logprobs), model, ask)
        answer, tokens = _answer(content)
        if answer is None:
            raise line.server.trouble("its answer is not that of OpenAI's chat completions. Most base URLs end in /v1")
        verdict = self.family.read(answer, tokens)
        if verdict is None:
            said = " ".join(masked_text(answer, find(answer))[0].split())
            said = said if len(said) <= EXCERPT else said[:EXCERPT] + "…"
            trouble = line.server.trouble(
                f"it answered “{said}”, which is no verdict of {self.family.name.partition(':')[0]}. "
                "Is it a model of that family, with its own chat template?"
            )
            raise NoVerdict(trouble, ask)
        return verdict

    async def _post(self, line: Line, body: dict[str, Any], model: str, ask: Ask) -> bytes:
        try:
            return await line.post("/chat/completions", body)
        except Answered as error:
            if error.status in (400, 422) and "logprob" in error.words and "logprobs" in body:
                self.tells_logprobs = False  # a server that keeps them to itself: verdicts without figures
                return await self._post(line, _body(model, ask, False), model, ask)
            raise line.server.trouble(f"it answered {error.status}{error.words}") from error


def _body(model: str, ask: Ask, logprobs: bool) -> dict[str, Any]:
    question, text = ask
    said = {"role": "user", "content": text}
    messages = [said]
    if question:
        messages = [{"role": "user", "content": question}, said | {"role": "assistant"}]
    figures = {"logprobs": True, "top_logprobs": ALTERNATIVES} if logprobs else {}
    return {"model": model, "messages": messages, "temperature": 0, "max_tokens": MOST_TOKENS} | figures


def _answer(content: bytes) -> tuple[str | None, list[dict[str, Any]]]:
    """Its text and the log-probabilities of its tokens, where they are told."""
    try:
        choice = json.loads(content)["choices"][0]
        text = choice["message"]["content"]
        figures = choice.get("logprobs") or {}
        tokens = figures.get("content") or []
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None, []
    return (text if isinstance(text, str) else None), [token for token in tokens if isinstance(token, dict)]


def _pieces(question: str, text: str) -> list[Ask]:
    return [(question[-QUESTION:], text[at : at + PIECE]) for at in range(0, max(1, len(text)), PIECE)]


def _worst(verdicts: Iterable[Verdict]) -> Verdict:
    """One of all pieces together."""
    found = list(verdicts)
    if len(found) == 1:
        return found[0]
    figures = [each.score for each in found if each.score is not None]
    return Verdict(
        any(each.flagged for each in found),
        {name: max(each.scores.get(name, 0.0) for each in found) for each in found for name in each.scores},
        tuple(dict.fromkeys(name for each in found for name in each.categories)),
        max(figures) if len(figures) == len(found) else None,
    )
