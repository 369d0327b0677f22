"""Two texts word by word: what is the same, what was added and what was taken away. Pure functions."""

import difflib
import re
from dataclasses import dataclass
from typing import Final, Literal

WORDS: Final = re.compile(r"(\w+|[^\w\s])(\s*)|\s+")  # a word or a sign with the space after it; space in front of all
MOST_WORDS: Final = 8_000  # of both texts together
EXACT_WORDS: Final = 1_000  # above, words that occur very often do not begin a match: ten times as fast


@dataclass(frozen=True)
class Part:
    """A run of words."""

    kind: Literal["same", "added", "removed"]
    text: str


@dataclass(frozen=True)
class Difference:
    """From one text to another. Without the removed parts it is the other text, letter by letter."""

    parts: tuple[Part, ...]
    added: int  # words and signs
    removed: int
    too_long: bool = False  # not compared: one part with the other text

    @property
    def words(self) -> str:
        if self.too_long:
            return f"too long to compare word by word (more than {MOST_WORDS:,} words and signs)"
        if not self.added and not self.removed:
            return "the same words"
        return f"{self.added:,} added, {self.removed:,} removed"


def difference(before: str, now: str) -> Difference:
    """Words are compared without the space around them; each part keeps its own space."""
    old, new = (list(WORDS.finditer(text)) for text in (before, now))
    if len(old) + len(new) > MOST_WORDS and before != now:
        return Difference((Part("same", now),), 0, 0, too_long=True)
    parts: list[Part] = []
    added = removed = 0
    matcher = difflib.SequenceMatcher(None, _bare(old), _bare(new), autojunk=len(old) + len(new) > EXACT_WORDS)
    for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        gone = "".join(word.group() for word in old[old_from:old_to])
        come = "".join(word.group() for word in new[new_from:new_to])
        if kind == "equal":
            parts.append(Part("same", come))
            continue
        if gone and parts and not parts[-1].text[-1].isspace():
            gone = (old[old_from - 1].group(2) or "") + gone  # what stood before it stands elsewhere in the other text
        removed, added = removed + old_to - old_from, added + new_to - new_from
        parts += [Part("removed", gone)] if gone else []
        parts += [Part("added", come)] if come else []
    return Difference(tuple(parts), added, removed)


def _bare(words: list[re.Match[str]]) -> list[str]:
    return [word.group(1) or "" for word in words]
