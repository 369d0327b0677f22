"""Problems of a file by their kind: how many, in how many rows, where first. Complete however many there are.

A group is stored as {"kind", "level", "count", "rows", "lines", "field", "message", "fix", "excerpt", "examples"};
what repair mends a kind is told by repairs/catalogue.py.
"""

from dataclasses import dataclass, field
from typing import Any

from training.rules import Problem

KEPT_LINES = 20
KEPT_EXAMPLES = 5  # of different words

TITLES = {
    # lines
    "empty": "There is nothing in the file",
    "not_jsonl": "Another kind of file",
    "not_json": "Lines that are not JSON",
    "not_object": "Lines that hold no JSON object",
    "not_utf8": "Lines that are not UTF-8",
    "line_too_long": "Lines above 10 MiB",
    "unknown_format": "Rows of no known format",
    "sharegpt": "Rows in the ShareGPT format",
    "mixed": "Rows of another format than the first",
    "unreadable": "It cannot be read",
    "packed": "A packed file that cannot be opened",
    "csv": "Rows that are no CSV",
    "columns": "The columns",
    "row": "Rows of another shape",
    "mapping": "Rows that do not fit the chosen columns",
    # rows and messages
    "messages": "No list of messages",
    "message_shape": "Messages that are no objects",
    "role_missing": "Messages without a role",
    "role_name": "Roles under another name",
    "role_unknown": "Roles that are not known",
    "no_content": "Messages without content",
    "content_type": "Content that is no text",
    "text_parts": "Content as a list of text parts",
    "other_parts": "Images and other parts that are no text",
    "refusal": "Answers that stand under refusal",
    "weight_place": "A weight on messages that are not the assistant's",
    "weight_type": "Weights of another type than 0 and 1",
    "weight_value": "Weights other than 0 and 1",
    "name": "Names that are missing or no text",
    "tools": "Tools that are no list",
    "tool_shape": "Tools without a name or with wrong parameters",
    "tool_call_id": "Tool answers without a call's id",
    "tool_calls": "Tool calls of a wrong shape",
    "no_calls": "Empty lists of tool calls",
    "arguments_type": "Tool arguments as objects, not as text",
    "arguments_twice": "Tool arguments that are encoded twice",
    "arguments_json": "Tool arguments that are no JSON object",
    "no_assistant": "Rows without an answer to learn",
    "all_masked": "Rows of which nothing is trained on",
    "empty_completion": "Empty completions",
    "field": "Fields that are missing or no text",
    "input": "Preference inputs of a wrong shape",
    "answer": "Preference answers of a wrong shape",
    "answer_role": "Preference answers not from the assistant",
    "same_answers": "Pairs whose answers are the same",
    # warnings
    "bom": "A byte order mark",
    "blank_lines": "Blank lines",
    "few_rows": "Few rows",
    "repeat": "Rows that occur again",
    "trailing_space": "Answers that end with a space or line break",
    "prompt_space": "Prompts that end with a space",
    "template_marks": "Marks of a chat template in a text",
    "empty_answer": "Empty answers",
    "empty_message": "Empty messages",
    "no_user": "Rows without a user message",
    "late_system": "System messages after others",
    "ends_without_answer": "Rows that do not end with an answer",
    "some_without_system": "Rows without the system prompt of the others",
    "calls_without_tools": "Calls of tools that the row does not offer",
    "answer_without_call": "Tool answers to no call",
    "too_long": "Rows that are too long",
    "uneven_lengths": "One side of the pairs is longer",
}


def title_of(kind: str) -> str:
    name, _, more = kind.partition(":")
    if name == "unknown_field":
        return f"The unknown field {more}"
    return TITLES.get(kind, kind.replace("_", " ").capitalize())


@dataclass
class Group:
    """All problems of one kind; `first` stands for them."""

    first: Problem
    count: int = 0
    rows: int = 0
    lines: list[int] = field(default_factory=list)
    examples: dict[str, dict[str, Any]] = field(default_factory=dict)  # by their words
    last_line: int = -1

    def add(self, problem: Problem) -> None:
        self.count += 1
        if problem.line and problem.line != self.last_line:  # line 0 is the whole file, not a row of it
            self.rows, self.last_line = self.rows + 1, problem.line
            if len(self.lines) < KEPT_LINES:
                self.lines.append(problem.line)
        if len(self.examples) < KEPT_EXAMPLES and problem.message not in self.examples:
            self.examples[problem.message] = _example(problem)

    def as_row(self) -> dict[str, Any]:
        return {
            **_head(self.first),
            "count": self.count,
            "rows": self.rows,
            "lines": self.lines,
            "examples": [*self.examples.values()],
        }


def of_warning(warning: Problem) -> dict[str, Any]:
    """A warning stands for all rows that it concerns already."""
    lines = list(warning.lines)
    rows = warning.count if lines else 0
    return {**_head(warning), "count": warning.count, "rows": rows, "lines": lines, "examples": [_example(warning)]}


def of_problems(problems: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """From stored problems, as a file has them that was checked before groups were kept: of the first 200 only."""
    groups: dict[str, Group] = {}
    warnings = []
    for stored in problems:
        problem = Problem(**{**stored, "lines": tuple(stored.get("lines", ()))})
        if problem.level == "warning":
            warnings.append(of_warning(problem))
        else:
            groups.setdefault(problem.kind, Group(problem)).add(problem)
    return [*(group.as_row() for group in groups.values()), *warnings]


def _head(problem: Problem) -> dict[str, Any]:
    names = ("kind", "level", "field", "message", "fix", "excerpt")
    return {name: getattr(problem, name) for name in names}


def _example(problem: Problem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in ("line", "field", "message", "excerpt")}
