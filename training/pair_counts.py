"""Statistics of preference rows, gathered while a file is checked."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.engine.pairs import spelling_of
from training.rules import Problem, Row

UNEVEN = 0.8  # share of the rows from which on one side's being longer is worth a word
ENOUGH_ROWS = 10


@dataclass
class PairCounts:
    """Characters of all inputs and answers; `longer` counts rows whose preferred answer is the longer one."""

    rows: int = 0
    input_characters: int = 0
    preferred_characters: int = 0
    other_characters: int = 0
    longer: int = 0
    shorter: int = 0

    def add(self, row: Row) -> int:
        """Returns the characters of the row."""
        given, preferred, other = (_characters(row[key]) for key in spelling_of(row))
        self.rows += 1
        self.input_characters += given
        self.preferred_characters += preferred
        self.other_characters += other
        self.longer += preferred > other
        self.shorter += preferred < other
        return given + preferred + other

    def notes(self, counted: str) -> Iterator[Problem]:
        """Warnings about the file as a whole; `counted`: its rows without problems, in words."""
        if self.rows < ENOUGH_ROWS:
            return
        for word, count in (("longer", self.longer), ("shorter", self.shorter)):
            if count > UNEVEN * self.rows:
                text = f"The preferred answer is the {word} one in {count:,} of {counted}"
                fix = f"The model may learn to be {word} instead of what you mean; pair answers of like length too."
                yield Problem(0, text, fix, level="warning", kind="uneven_lengths", count=count)

    def statistics(self) -> dict[str, Any]:
        if not self.rows:
            return {}
        return {
            "pairs": {
                "preferred_characters": self.preferred_characters,
                "other_characters": self.other_characters,
                "preferred_longer": self.longer,
            }
        }


def _characters(value: Any) -> int:
    """Of a text, a list of messages, or an input that holds messages."""
    if isinstance(value, str):
        return len(value)
    messages = value["messages"] if isinstance(value, dict) else value
    return sum(len(message.get("content") or "") for message in messages)
