"""What guard models say, read: language models that were taught to answer whether a text is safe, and why it is not.

Each family has a chat template of its own that puts the text into its policy, so it is asked with the bare text. How
they answer, and what their categories mean, is in the model cards:

    Llama Guard 3 and 4   "safe", or "unsafe" and a line such as "S1,S9"
                          github.com/meta-llama/PurpleLlama (Llama-Guard3/8B and Llama-Guard4/12B, MODEL_CARD.md)
    Qwen3Guard-Gen        "Safety: Safe|Controversial|Unsafe", then "Categories: Violent, PII" or "Categories: None"
                          github.com/QwenLM/Qwen3Guard

A category is called by OpenAI's name only where both mean the same; the others keep the name that the guard gives them.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.safety.embedded import Verdict

LLAMA_GUARD = {
    "S1": "illicit/violent",  # Violent Crimes: enabling or endorsing them, not depicting violence
    "S2": "illicit",  # Non-Violent Crimes
    "S3": "Sex-Related Crimes",
    "S4": "sexual/minors",  # Child Sexual Exploitation
    "S5": "Defamation",
    "S6": "Specialized Advice",
    "S7": "Privacy",
    "S8": "Intellectual Property",
    "S9": "illicit/violent",  # Indiscriminate Weapons
    "S10": "hate",
    "S11": "self-harm",  # Suicide & Self-Harm
    "S12": "sexual",  # Sexual Content
    "S13": "Elections",
    "S14": "Code Interpreter Abuse",
}
QWEN3GUARD = {
    "Violent": "violence",
    "Non-violent Illegal Acts": "illicit",
    "Sexual Content or Sexual Acts": "sexual",
    "PII": "PII",
    "Suicide & Self-Harm": "self-harm",
    "Unethical Acts": "Unethical Acts",  # insults, hate, lies and threats in one
    "Politically Sensitive Topics": "Politically Sensitive Topics",
    "Copyright Violation": "Copyright Violation",
    "Jailbreak": "Jailbreak",
}
LONGEST_NAME = 60  # characters of a category that the guard made up

Tokens = list[dict[str, Any]]  # as `logprobs.content` of OpenAI's chat completions


@dataclass(frozen=True)
class Family:
    key: str
    name: str
    form: re.Pattern[str]  # the group `verdict` is its word, `rest` what may name categories
    harmful: tuple[str, ...]  # verdicts that flag a text
    categories: dict[str, str]  # its own name or code -> the name here
    named: Callable[[str], list[str]]  # its own names in `rest`

    def read(self, answer: str, tokens: Tokens) -> Verdict | None:
        """None where the answer is no verdict of this family."""
        found = self.form.match(answer)
        if found is None:
            return None
        flagged = found["verdict"] in self.harmful
        own = self.named(found["rest"] or "") if flagged else []
        names = tuple(dict.fromkeys(self.categories.get(name, name[:LONGEST_NAME]) for name in own))
        try:
            score = self._score(answer, found.start("verdict"), tokens)
        except (TypeError, ValueError, KeyError, AttributeError):  # somebody else's server, another shape
            score = None
        given = (float(flagged) if score is None else score) if names else 0.0
        scores = dict.fromkeys(self.categories.values(), 0.0) | dict.fromkeys(names, given)
        return Verdict(flagged, scores, names, score)

    def _score(self, answer: str, begin: int, tokens: Tokens) -> float | None:
        """Probability of a verdict that flags, where its word begins; None where the server told none."""
        heard = "".join(str(token["token"]) for token in tokens)
        if answer not in heard:
            return None
        at = -heard.index(answer)  # the tokens may have white space before it, and the one that ends it, after it
        for token in tokens:
            text = str(token["token"])
            if at + len(text) > begin:
                return None if text[: max(0, begin - at)].strip() else self._mass(token)
            at += len(text)
        return None

    def _mass(self, token: dict[str, Any]) -> float | None:
        """Of all the alternatives that are told in place of this token and begin a word that flags."""
        others = token.get("top_logprobs") or []
        told = {str(each["token"]): each["logprob"] for each in [*others, token]}
        begun = [value for text, value in told.items() if self._begins(text.strip())]
        if not begun and not others:
            return None
        return min(1.0, sum((math.exp(min(0.0, float(value))) for value in begun), 0.0))

    def _begins(self, text: str) -> bool:
        return bool(text) and any(word.startswith(text) for word in self.harmful)


def _codes(rest: str) -> list[str]:
    return re.findall(r"\bS\d{1,2}\b", rest)


def _labels(rest: str) -> list[str]:
    line = re.search(r"Categories:([^\n]*)", rest)
    names = [name.strip() for name in line[1].split(",")] if line else []
    return [name for name in names if name and name != "None"]


LLAMA_FORM = re.compile(r"\s*(?P<verdict>safe|unsafe)[ \t]*(?:\n(?P<rest>.*))?\Z", re.DOTALL)
QWEN_FORM = re.compile(
    r"(?:\s*<think>\s*</think>)?\s*Safety:\s*(?P<verdict>Safe|Unsafe|Controversial)[ \t]*(?:\n(?P<rest>.*))?\Z",
    re.DOTALL,
)
_QWEN = (QWEN3GUARD, _labels)
FAMILIES = {
    family.key: family
    for family in (
        Family("llama-guard", "Llama Guard 3 or 4", LLAMA_FORM, ("unsafe",), LLAMA_GUARD, _codes),
        Family("qwen3guard", "Qwen3Guard-Gen: “Unsafe” flags", QWEN_FORM, ("Unsafe",), *_QWEN),
        Family(
            "qwen3guard-strict",
            "Qwen3Guard-Gen: “Unsafe” and “Controversial” flag",
            QWEN_FORM,
            ("Unsafe", "Controversial"),
            *_QWEN,
        ),
    )
}


def choices() -> list[tuple[str, str]]:
    return [(family.key, family.name) for family in FAMILIES.values()]
