"""The most likely tokens of a place, as OpenAI tells them.

vLLM puts the token that was taken first, whatever its chance, and lets the last of the asked ones go for it. So it is
asked for one more, and of what it tells the most likely are kept, in their order.
"""

from typing import Any, Final

MOST: Final = 20  # that OpenAI gives


def asked(payload: dict[str, Any]) -> int:
    """How many the caller of a chat wants; 0: none."""
    return payload.get("top_logprobs") or 0 if "messages" in payload else 0


def cut(answer: dict[str, Any], most: int) -> dict[str, Any]:
    """An answer, or a chunk of one, in place."""
    for choice in answer.get("choices") or ():
        for token in (choice.get("logprobs") or {}).get("content") or ():
            token["top_logprobs"] = sorted(token["top_logprobs"], key=lambda each: -each["logprob"])[:most]
    return answer
