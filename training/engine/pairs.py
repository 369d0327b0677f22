"""Preference rows: one input, the answer that was preferred and the one that was not. No torch, no numpy.

Three spellings: OpenAI's guide ({"input": {"messages", "tools"?}, "preferred_output", "non_preferred_output"}),
OpenAI's schema (preferred_completion, non_preferred_completion) and the common one ({"prompt", "chosen", "rejected"},
texts or messages).
"""

from dataclasses import dataclass
from typing import Any

from training.engine.chat import ChatFormat, Encoded
from training.engine.errors import InvalidTrainingFile

SPELLINGS = (
    ("input", "preferred_output", "non_preferred_output"),
    ("input", "preferred_completion", "non_preferred_completion"),
    ("prompt", "chosen", "rejected"),
)


@dataclass(frozen=True)
class EncodedPair:
    """Both answers, each after the same input; only the answers are trained on."""

    chosen: Encoded
    rejected: Encoded

    @property
    def truncated(self) -> bool:
        return self.chosen.truncated or self.rejected.truncated

    @property
    def trained_tokens(self) -> int:
        """Tokens that bear loss; 0 where the cut has left nothing of one answer, for then there is no pair."""
        counts = self.chosen.trained_tokens, self.rejected.trained_tokens
        return sum(counts) if all(counts) else 0


def spelling_of(row: dict[str, Any]) -> tuple[str, str, str]:
    """The keys of input, preferred and other answer, by the first answer that is there; the guide's where none is."""
    return next((keys for keys in SPELLINGS if keys[1] in row or keys[2] in row), SPELLINGS[0])


def is_preference(row: dict[str, Any]) -> bool:
    return any(keys[1] in row or keys[2] in row for keys in SPELLINGS)


def sides(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row as two rows that a chat format can encode, preferred first. What stands in the input bears no loss."""
    asked, preferred, other = spelling_of(row)
    given = row[asked]
    if isinstance(given, str):
        return {"prompt": given, "completion": row[preferred]}, {"prompt": given, "completion": row[other]}
    tools = given.get("tools") if isinstance(given, dict) else row.get("tools")
    before = given["messages"] if isinstance(given, dict) else given
    before = [{**message, "weight": 0} if message["role"] == "assistant" else message for message in before]

    def with_answer(answer: list[dict[str, Any]]) -> dict[str, Any]:
        return {"messages": [*before, *answer], **({"tools": tools} if tools else {})}

    return with_answer(row[preferred]), with_answer(row[other])


def encode_pair(chat: ChatFormat, row: dict[str, Any], max_length: int | None = None) -> EncodedPair:
    """Raises InvalidTrainingFile for a row without both answers, or that the template refuses."""
    missing = [key for key in spelling_of(row) if not row.get(key)]
    if missing:
        raise InvalidTrainingFile(f'Not a preference row: "{missing[0]}" is missing.')
    chosen, rejected = (chat.encode_row(side, max_length) for side in sides(row))
    return EncodedPair(chosen, rejected)


def encode_sequences(chat: ChatFormat, row: dict[str, Any]) -> list[Encoded]:
    """What a row of any format puts through the model: one sequence, or two of a preference row."""
    if not is_preference(row):
        return [chat.encode_row(row)]
    pair = encode_pair(chat, row)
    return [pair.chosen, pair.rejected]
