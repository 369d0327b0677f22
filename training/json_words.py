"""What is wrong with a text that should be JSON, in words for people who wrote it by hand."""

import json
from typing import Final

WORDS: Final = (  # what Python's reader says, and what it means
    ("Expecting ',' delimiter", "a comma or a closing bracket is missing before this place"),
    ("Expecting property name", "a name in double quotes must stand here; a comma before } is one too many"),
    ("Expecting ':' delimiter", "a colon is missing before this place"),
    ("Expecting value", "a value is missing here; texts stand in double quotes"),
    ("Illegal trailing comma", "this comma is one too many"),
    ("Unterminated string", "a quote is opened here and never closed"),
    ("Invalid control character", "a line break or a tab stands inside a text; write it as \\n or \\t"),
    ("Invalid \\", "a backslash must be written twice"),
    ("Extra data", "the object has ended before this place; take out what follows"),
)


def plainly(problem: json.JSONDecodeError) -> str:
    """Without a place, a capital or a full stop."""
    return next((ours for theirs, ours in WORDS if theirs in problem.msg), "this is not JSON")
