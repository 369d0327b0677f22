"""Checking JSONL datasets: one pass over the file that says everything that is wrong with it, flat in memory however
many rows there are. How its lines are read: jsonl.py.

A dataset has one JSON object a line. Its format is told by its keys:
    chat         {"messages": [{"role", "content", "name"?, "weight"?}, ...], "tools"?}
    completion   {"prompt", "completion"}
    preference   {"input": {"messages"}, "preferred_output", "non_preferred_output"}, or as training.engine.pairs says
    text         {"text"}
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, BinaryIO

from training import excerpts, template_marks
from training.jsonl import INDEX_EVERY, MAX_LINE_BYTES, BadRow, lines, parse
from training.message_rules import EMPTY_ANSWER, call_warnings, is_empty_answer
from training.pair_counts import PairCounts
from training.problem_groups import Group, of_warning
from training.rules import (
    FORMAT_NAMES,
    HEAD_BYTES,
    MESSAGE_KEYS,
    ROW_KEYS,
    UNEXPECTED_FORMAT,
    Problem,
    Row,
    detect_format,
    recognise,
    row_errors,
    unknown_format,
)

MIN_JOB_ROWS = 10
KEPT_PROBLEMS = 200
KEPT_WARNING_LINES = 20
KEPT_LONGEST = 20  # lines
MOST_KINDS = 100  # of warnings; a file may have a new unknown field in every row
DUPLICATE_WINDOW = 200_000  # rows whose hashes are kept, so that memory stays flat
PROGRESS_BYTES = 1 << 20

Progress = Callable[[float], None]


@dataclass
class Report:
    """The result of a check. `problems` are the first 200 errors, `warnings` one for each kind; `groups` hold both by
    their kind, complete (problem_groups.py)."""

    format: str = ""
    rows: int = 0
    lines: int = 0
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    warnings: list[Problem] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)
    line_index: array = field(default_factory=lambda: array("Q"))  # byte offset of lines 1, 1001, 2001, ...

    @property
    def usable(self) -> bool:
        """A table is not: its columns have to be mapped first."""
        return not self.problem_count and self.rows > 0 and self.format != "table"


# ---- one pass over the file ----


def check(path: Path, progress: Progress | None = None) -> Report:
    """Reads the file once, line by line, and says everything that is wrong with it."""
    return _Check(path, progress).run()


def refused(message: str, fix: str, kind: str, line: int = 0) -> Report:
    """Of a file that was not even begun to be read."""
    return Report(problems=[Problem(line, message, fix, kind=kind)], problem_count=1)


class _Check:
    """The state of one pass over a file."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self.path, self.progress = path, progress
        self.report = Report()
        self.formats: Counter[str] = Counter()
        self.format_line: dict[str, int] = {}
        self.warned: dict[str, tuple[Problem, list[int]]] = {}
        self.warned_count: Counter[str] = Counter()
        self.groups: dict[str, Group] = {}
        self.seen: dict[int, int] = {}
        self.roles: Counter[str] = Counter()
        self.turns: Counter[int] = Counter()
        self.system_prompts: Counter[str] = Counter()
        self.pairs = PairCounts()
        self.characters = self.longest = self.longest_line = 0
        self.longest_lines: list[tuple[int, int]] = []  # (bytes, line), a heap
        self.without_system_lines: list[int] = []
        self.calls = False  # whether there was one
        self.sound_rows = self.without_system = self.masked_messages = self.tool_rows = self.blank_lines = 0

    def run(self) -> Report:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            if not size:
                self.fail(
                    Problem(0, "The file is empty", "Upload a file with one JSON object on each line.", kind="empty")
                )
            elif foreign := recognise(head):
                self.fail(foreign)
            else:
                self.read(file, size)
        self.finish()
        return self.report

    def read(self, file: BinaryIO, size: int) -> None:
        done, reported, report = 0, 0, self.report
        for number, line in lines(file):
            report.lines = number
            if number % INDEX_EVERY == 1:
                report.line_index.append(done)
            if line is None:
                done = file.tell()
                self.too_long(number)
            else:
                done += len(line)
                self.line(number, line)
            if self.progress and done - reported >= PROGRESS_BYTES:
                reported = done
                self.progress(done / size)

    def too_long(self, number: int) -> None:
        self.report.rows += 1
        text = f"This line is longer than {MAX_LINE_BYTES >> 20} MiB"
        fix = "Shorten the row or split it into several; other lines are not affected."
        self.fail(Problem(number, text, fix, row=self.report.rows, kind="line_too_long"))

    def line(self, number: int, line: bytes) -> None:
        if line.isspace():
            self.blank_lines += 1
            return
        report = self.report
        report.rows += 1
        if number == 1 and line.startswith(b"\xef\xbb\xbf"):
            self.warn(
                "bom",
                1,
                "The file begins with a byte order mark (BOM)",
                'Harmless here; save it as "UTF-8" without BOM.',
            )
        try:
            row = parse(line, number == 1)
        except BadRow as bad:
            shown = excerpts.of_line(line)
            self.fail(Problem(number, bad.message, bad.fix, row=report.rows, kind=bad.kind, excerpt=shown))
            return
        kind = detect_format(row)
        if not self.same_format(kind, number, row):
            return
        errors = row_errors(row, kind)
        for place, message, fix, turn, what in errors:
            shown = excerpts.at(row, place) if self.keeps(what) else ""
            self.fail(Problem(number, message, fix, place, row=report.rows, turn=turn, kind=what, excerpt=shown))
        if not errors:
            self.count(row, kind, number, line)

    def same_format(self, kind: str, number: int, row: Row) -> bool:
        """One format a file: the first one that was recognised."""
        if not kind:
            name, text, fix = unknown_format(row)
            shown = excerpts.of(row) if self.keeps(name) else ""
            self.fail(Problem(number, text, fix, row=self.report.rows, kind=name, excerpt=shown))
            return False
        if not self.report.format:
            self.report.format = kind
            self.format_line[kind] = number
        if kind == self.report.format:
            return True
        first, line = self.report.format, self.format_line[self.report.format]
        text = f"This row is in the {FORMAT_NAMES[kind]} format, but line {line} is in the {FORMAT_NAMES[first]} format"
        self.fail(Problem(number, text, "Put each format in a file of its own.", row=self.report.rows, kind="mixed"))
        return False

    def keeps(self, kind: str) -> bool:
        """Whether an example of this kind of problem is still wanted."""
        group = self.groups.get(kind)
        return len(self.report.problems) < KEPT_PROBLEMS or group is None or group.count < KEPT_WARNING_LINES

    def fail(self, problem: Problem) -> None:
        self.report.problem_count += 1
        if problem.kind not in self.groups:
            self.groups[problem.kind] = Group(problem)
        self.groups[problem.kind].add(problem)
        if len(self.report.problems) < KEPT_PROBLEMS:
            self.report.problems.append(problem)

    def warn(self, kind: str, number: int, message: str, fix: str, place: str = "", shown: Any = "") -> None:
        """`shown`: what stands there."""
        self.warned_count[kind] += 1
        if kind not in self.warned:
            text = excerpts.of(shown) if shown != "" else ""
            self.warned[kind] = (Problem(number, message, fix, place, "warning", kind=kind, excerpt=text), [])
        seen = self.warned[kind][1]
        if len(seen) < KEPT_WARNING_LINES:
            seen.append(number)

    def count(self, row: Row, kind: str, number: int, line: bytes) -> None:
        """Statistics and warnings of a good row."""
        self.sound_rows += 1
        self.look_for_repeat(number, line)
        heappush(self.longest_lines, (len(line), number))
        if len(self.longest_lines) > KEPT_LONGEST:
            heappop(self.longest_lines)
        if template_marks.may_hold(line) and kind != "text" and (found := template_marks.first_in(row)):
            mark, place, around = found
            text = f"A text holds {mark}, which base models with that mark read as the border of a turn"
            fix = (
                "Take it out, unless it is meant so: answers learned with it break off there or go on as somebody else."
            )
            self.warn("template_marks", number, text, fix, place, around)
        if kind == "chat":
            characters = self.count_chat(row, number)
        elif kind == "preference":
            characters = self.pairs.add(row)
        else:
            characters = sum(len(value) for value in row.values() if isinstance(value, str))
            if kind == "completion":
                self.warn_about_completion(row, number)
        self.characters += characters
        if characters > self.longest:
            self.longest, self.longest_line = characters, number

    def look_for_repeat(self, number: int, line: bytes) -> None:
        key = hash(line.strip())
        first = self.seen.get(key)
        if first is not None:
            fix = "Remove repeats, unless you want these rows to weigh more."
            self.warn("repeat", number, f"This row is the same as line {first}", fix)
        elif len(self.seen) < DUPLICATE_WINDOW:
            self.seen[key] = number

    def count_chat(self, row: Row, number: int) -> int:
        characters = answers = systems = users = 0
        roles = self.roles
        for index, message in enumerate(row["messages"]):
            role, content = message["role"], message.get("content") or ""
            roles[role] += 1
            characters += len(content)
            if role == "assistant":
                answers += 1
                if content[-1:].isspace() or not content or len(message) > 2:
                    self.look_at_answer(message, content, index, number)
            elif role == "user":
                users += 1
            elif role in ("system", "developer"):
                systems += 1
                self.note_system_prompt(content)
                if index:
                    fix = "Most chat templates expect it first."
                    self.warn(
                        "late_system",
                        number,
                        "A system message stands after another message",
                        fix,
                        f"messages[{index}]",
                        content,
                    )
            if role != "assistant" and role != "tool" and (not content or content.isspace()):
                fix = "Fill it in or remove it; it teaches nothing."
                self.warn("empty_message", number, f"A {role} message is empty", fix, f"messages[{index}].content")
            if len(message) > 2 and (unknown := message.keys() - MESSAGE_KEYS):
                self.warn_unknown(f"messages[{index}]", sorted(unknown)[0], number)
        if row["messages"][-1]["role"] != "assistant":
            fix = "End the row with the answer to learn; what follows it is not trained on."
            self.warn("ends_without_answer", number, "The last message is not from the assistant", fix)
        if not users:
            fix = "Add what the assistant answers, unless it is meant to speak first."
            self.warn("no_user", number, "There is no user message", fix)
        if "tool" in roles or self.calls:
            self.look_at_calls(row, number)
        if len(row) > 1:
            self.tool_rows += bool(row.get("tools") or row.get("functions"))
            if unknown := row.keys() - ROW_KEYS:
                self.warn_unknown("", sorted(unknown)[0], number)
        if not systems:
            self.without_system += 1
            if len(self.without_system_lines) < KEPT_WARNING_LINES:
                self.without_system_lines.append(number)
        self.turns[min(answers, 20)] += 1
        return characters

    def look_at_answer(self, message: Row, content: str, index: int, number: int) -> None:
        place = f"messages[{index}].content"
        self.calls = self.calls or "tool_calls" in message or "function_call" in message
        if is_empty_answer(message):
            self.warn("empty_answer", number, *EMPTY_ANSWER, place, content)
        elif content[-1:].isspace():
            fix = "The model learns to end its answers so; remove it if that is not meant."
            self.warn(
                "trailing_space", number, "An assistant message ends with a space or line break", fix, place, content
            )
        if message.get("weight", 1) == 0:
            self.masked_messages += 1

    def look_at_calls(self, row: Row, number: int) -> None:
        """Calls and their answers fit to what the row offers, and to each other."""
        for kind, message, fix, place in call_warnings(row):
            self.warn(kind, number, message, fix, place, excerpts.at(row, place))

    def note_system_prompt(self, content: str) -> None:
        prompt = content[:500]
        if prompt in self.system_prompts or len(self.system_prompts) < 1000:
            self.system_prompts[prompt] += 1

    def warn_unknown(self, where: str, key: str, number: int) -> None:
        kind, message = f"unknown_field:{key[:60]}", f'The field "{key[:60]}" is not known and not used'
        if kind not in self.warned and len(self.warned) >= MOST_KINDS:
            kind, message = "unknown_field:…", "Other fields are not known and not used"
        self.warn(kind, number, message, "Harmless.", f"{where}.{key[:60]}" if where else key[:60])

    def warn_about_completion(self, row: Row, number: int) -> None:
        if row["prompt"][-1:] == " ":
            fix = "Move the space to the start of the completion: tokens usually begin with it."
            self.warn("prompt_space", number, "A prompt ends with a space", fix, "prompt", row["prompt"])

    def finish(self) -> None:
        report = self.report
        if not report.rows and not report.problem_count:
            text = "The file holds only blank lines"
            self.fail(Problem(0, text, "Upload a file with one JSON object on each line.", kind="empty"))
        for kind, (problem, seen) in self.warned.items():
            count = self.warned_count[kind]
            report.warnings.append(Problem(**{**asdict(problem), "count": count, "lines": tuple(seen)}))
        report.warnings += self.notes()
        report.groups = [group.as_row() for group in self.groups.values()]
        report.groups += [of_warning(warning) for warning in report.warnings]
        report.statistics = self.statistics()
        if self.progress:
            self.progress(1.0)

    def notes(self) -> Iterator[Problem]:
        """Warnings about the file as a whole."""
        rows = self.report.rows
        counted = f"{rows:,} rows" if self.sound_rows == rows else f"{self.sound_rows:,} rows without problems"
        if 0 < rows < MIN_JOB_ROWS:
            text = f"{rows} row{'s' if rows > 1 else ''}: enough to validate with; training needs {MIN_JOB_ROWS}"
            yield Problem(0, text, "Add rows; 50 to 100 good ones are a good start.", level="warning", kind="few_rows")
        if self.without_system and self.system_prompts:
            text = f"{self.without_system:,} of {counted} have no system message, the others do"
            fix = "Use the same system message in training that you will use later."
            yield Problem(
                0,
                text,
                fix,
                level="warning",
                kind="some_without_system",
                count=self.without_system,
                lines=tuple(self.without_system_lines),
            )
        if self.blank_lines:
            one = self.blank_lines == 1
            text = f"{self.blank_lines:,} blank line{' was' if one else 's were'} passed over"
            yield Problem(
                0, text, "Nothing: it does no harm.", level="warning", kind="blank_lines", count=self.blank_lines
            )
        yield from self.pairs.notes(counted)

    def statistics(self) -> dict[str, Any]:
        """Of the rows without problems, but for `lines`."""
        counted = sum(self.turns.values())
        return {
            "lines": self.report.lines,
            "sound_rows": self.sound_rows,
            "roles": dict(self.roles),
            "turns": {str(turns): count for turns, count in sorted(self.turns.items())},
            "characters": self.characters,
            "longest_characters": self.longest,
            "longest_line": self.longest_line,
            "longest_lines": sorted(self.longest_lines, reverse=True),
            "system_prompts": [{"text": text, "rows": count} for text, count in self.system_prompts.most_common(10)],
            "different_system_prompts": len(self.system_prompts),
            "rows_without_system": self.without_system if counted else 0,
            "masked_messages": self.masked_messages,
            "rows_with_tools": self.tool_rows,
            **self.pairs.statistics(),
        }


# ---- what a job says about a file ----


def job_error(problem: Problem, name: str = "training") -> str:
    """The text of a failed job in OpenAI's words, for the first problem of its file."""
    prefix = f"The job failed due to an invalid {name} file."
    if problem.kind in ("unknown_format", "sharegpt"):
        return f"{prefix} {UNEXPECTED_FORMAT}"
    return f"{prefix} Invalid file format. {problem.example + ' ' if problem.example else ''}{problem.message}"


def too_few_rows(rows: int) -> str:
    return f"Training file has {rows} example(s), but must have at least {MIN_JOB_ROWS} examples"
