"""Finding rows of a JSONL file: words and filters, a bounded time at once, and where to go on. Pure, flat in memory.

Lines that cannot hold the words are passed over by their bytes, whole blocks at a time. JSON may write a character as
an escape, so bytes that hold a \\u are always parsed, and other than ASCII is compared as text without regard to case.
"""

import hashlib
import json
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from training.engine.pairs import is_preference, spelling_of
from training.jsonl import INDEX_EVERY, MAX_LINE_BYTES, BadRow, parse
from training.rules import Row, row_errors

BLOCK_BYTES = 1 << 20
SYSTEM_CHARACTERS = 500  # of a system prompt that tell it from another
Said = tuple[str, str]  # role, text
Clock = Callable[[], float]


# ---- what is asked ----


@dataclass(frozen=True)
class Query:
    """Empty fields ask nothing; everything that is asked must hold."""

    words: tuple[str, ...] = ()  # all of them, each in some text of the row; case does not count
    role: str = ""  # the words must stand in a message of this role; without words: such a message is there
    tools: str = ""  # offered | called | none
    tool: str = ""  # this tool is called
    turns: str = ""  # number of answers: "2", "3-5" or "3-"
    longer: int = 0  # more characters than this
    weight: bool = False  # a message has weight 0
    system: str = ""  # key of the system prompt, "none" for rows without one
    begins: str = ""  # an answer begins so
    ends: str = ""  # an answer ends so
    problem: str = ""  # the check finds an error of this kind in it, as a row of `format`
    format: str = ""
    lines: Sequence[int] | None = None  # only these lines, in order


def words_of(text: str) -> tuple[str, ...]:
    """Words apart from each other; "several words" in quotes stand beside each other."""
    return tuple(quoted or word for quoted, word in re.findall(r'"([^"]+)"|(\S+)', text))


def system_key(prompt: str) -> str:
    """Tells system prompts apart by what they begin with, in a form that an address can hold."""
    return hashlib.blake2b(prompt[:SYSTEM_CHARACTERS].encode(errors="replace"), digest_size=6).hexdigest()


# ---- what a row says ----


def messages_of(row: Row) -> list[Row]:
    """All messages of a chat or preference row, whatever else is broken in it."""
    if is_preference(row):
        asked, *answers = spelling_of(row)
        given = row.get(asked)
        parts = [given.get("messages") if isinstance(given, dict) else given, *(row.get(key) for key in answers)]
    else:
        parts = [row.get("messages")]
    return [each for part in parts if isinstance(part, list) for each in part if isinstance(each, dict)]


def texts_of(row: Row) -> list[Said]:
    """Every text of a row with the role that says it: messages, names and arguments of calls; prompt, completion and
    text of other formats."""
    found: list[Said] = []
    for message in messages_of(row):
        said_by = message.get("role")
        role = said_by if isinstance(said_by, str) else ""
        found += [(role, text) for text in _texts(message.get("content"))]
        for name, arguments in calls_of(message):
            found += [(role, name), (role, arguments)]
    names = {"prompt": "user", "completion": "assistant", "chosen": "assistant", "rejected": "assistant"}
    found += [(names.get(key, key), value) for key, value in row.items() if isinstance(value, str)]
    return found


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    elif content is not None:
        yield json.dumps(content, ensure_ascii=False)


def calls_of(message: Row) -> Iterator[tuple[str, str]]:
    """Name and arguments of each call of a message."""
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    for function in [*functions, message.get("function_call")]:
        if isinstance(function, dict):
            arguments = function.get("arguments", "")
            written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
            yield str(function.get("name", "")), written


def answers_of(row: Row) -> list[str]:
    """What the assistant says; of a preference row both answers, of a completion row the completion."""
    return [text for role, text in texts_of(row) if role == "assistant"]


def offered_tools(row: Row) -> list[str]:
    """Names of the tools that a row offers."""
    given = row["input"] if isinstance(row.get("input"), dict) else row
    tools = given.get("tools") or given.get("functions") or row.get("tools")
    found = [each.get("function", each) for each in tools if isinstance(each, dict)] if isinstance(tools, list) else []
    names = [each.get("name") for each in found if isinstance(each, dict)]
    return [name for name in names if isinstance(name, str)]


# ---- does a row match ----

Test = Callable[[Row], bool]


def matcher(query: Query) -> Test:
    tests = list(_tests(query))
    return lambda row: all(test(row) for test in tests)


def _tests(query: Query) -> Iterator[Test]:
    if query.words or query.role:
        yield _says(tuple(word.casefold() for word in query.words), query.role)
    if query.tools:
        yield {
            "offered": lambda row: bool(offered_tools(row)),
            "called": _calls,
            "none": lambda row: not offered_tools(row),
        }[query.tools]
    if query.tool:
        yield lambda row: any(name == query.tool for each in messages_of(row) for name, _ in calls_of(each))
    if query.turns:
        low, high = turns_range(query.turns)
        yield lambda row: low <= sum(each.get("role") == "assistant" for each in messages_of(row)) <= high
    if query.longer:
        yield lambda row: sum(len(text) for _, text in texts_of(row)) > query.longer
    if query.weight:
        yield lambda row: any(each.get("weight", 1) == 0 for each in messages_of(row))
    if query.system:
        yield _has_system(query.system)
    if query.problem:
        yield lambda row: any(found[4] == query.problem for found in row_errors(row, query.format))
    if query.begins:
        yield lambda row: any(text.startswith(query.begins) for text in answers_of(row))
    if query.ends:
        yield lambda row: any(text.rstrip().endswith(query.ends) for text in answers_of(row))


def _says(words: tuple[str, ...], role: str) -> Test:
    def test(row: Row) -> bool:
        texts = [text for who, text in texts_of(row) if not role or who == role]
        if not words:
            return bool(texts) or any(each.get("role") == role for each in messages_of(row))
        folded = [_readable(text).casefold() for text in texts]
        return all(any(word in text for text in folded) for word in words)

    return test


def _readable(text: str) -> str:
    """With escapes as characters besides: the arguments of a call are JSON within a text."""
    if "\\u" not in text:
        return text
    other = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    return text + "\n" + other.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _calls(row: Row) -> bool:
    return any(True for each in messages_of(row) for _ in calls_of(each))


def _has_system(key: str) -> Test:
    def test(row: Row) -> bool:
        prompts = [each.get("content") for each in messages_of(row) if each.get("role") in ("system", "developer")]
        return not prompts if key == "none" else any(isinstance(p, str) and system_key(p) == key for p in prompts)

    return test


def turns_range(text: str) -> tuple[int, int]:
    """Least and most of "2", "3-5", "3-". Raises ValueError."""
    low, dash, high = text.partition("-")
    return int(low or 0), (int(high) if high else 1 << 30) if dash else int(low)


# ---- can bytes match ----

ESCAPED = re.compile(r"""["\\/\x00-\x1f\x7f]+""")  # what JSON may write as another sign
# Escapes of plain letters, and of the only others that are plain letters when case is folded (such as the Kelvin sign).
PLAIN_ESCAPE = re.compile(
    rb"\\u(?:00[0-7]|00df|01(?:30|49|7f|f0)|1e(?:9[6-9ae])|212a|fb0[0-6])", re.IGNORECASE
)  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """Of a text that is asked for: what must stand in the bytes of a row that holds it."""

    text: str  # the longest part that JSON writes as it is, but for \\u
    plain: bytes  # the longest part of that in ASCII: it is no escape, unless PLAIN_ESCAPE finds one

    @classmethod
    def of(cls, text: str) -> "_Part":
        part = max(ESCAPED.split(text), key=len)
        return cls(part, max(re.split(r"[^\x00-\x7f]+", part), key=len).encode())


def sieve(query: Query) -> Callable[[bytes], bool]:
    """Whether bytes of the file may hold a row that matches; a False is sure."""
    words = [_Part.of(word.casefold()) for word in query.words]
    exact = [_Part.of(text) for text in (query.begins, query.ends, query.tool) if text]
    exact += [_Part('"weight"', b'"weight"')] if query.weight else []
    all_ascii = all(part.text.isascii() for part in words)

    def may_hold(data: bytes) -> bool:
        if b"\\u" in data:
            if PLAIN_ESCAPE.search(data):
                return True
            if not all(part.plain in data for part in exact):
                return False
            folded = data.lower() if data.isascii() else data.decode(errors="replace").casefold().encode()
            return all(part.plain in folded for part in words)
        if not all(part.text.encode() in data for part in exact):
            return False
        if not words:
            return True
        if data.isascii():
            lower = data.lower()
            return all_ascii and all(part.plain in lower for part in words)
        text = data.decode(errors="replace").casefold()
        return all(part.text in text for part in words)

    return may_hold


# ---- reading ----


@dataclass
class Found:
    hits: list[tuple[int, Row]]
    first_line: int  # looked at from this line
    last_line: int  # to this one
    next_line: int  # go on here; 0 where nothing is left
    next_byte: int


class Search:
    """One look of a bounded time at a part of a file. `line_index` as the check writes it: lines that are not asked
    for need not even be read."""

    def __init__(self, path: Path, query: Query, line_index: Sequence[int] = ()) -> None:
        self._path, self._query, self._index = path, query, line_index
        self._may_hold, self._matches = sieve(query), matcher(query)

    def look(
        self, line: int = 1, byte: int = 0, *, most: int = 10, seconds: float = 1.0, clock: Clock = time.monotonic
    ) -> Found:
        """From a line on, which begins at this byte, until there are so many hits or the time is over."""
        end, found = clock() + seconds, Found([], line, line - 1, 0, byte)
        with self._path.open("rb") as file:
            while True:
                line, byte = self._passed_over(line, byte)
                block, size = _block(file, byte)
                if not block:
                    break
                read, part, stopped = self._read(block, line, found, lambda: len(found.hits) >= most or clock() > end)
                byte += part or size
                line += read
                found.last_line = line - 1
                if stopped:
                    line, byte = self._passed_over(line, byte)
                    found.next_line = line if byte < self._path.stat().st_size else 0
                    break
        found.next_byte = byte
        return found

    def _read(self, block: bytes, first: int, found: Found, enough: Callable[[], bool]) -> tuple[int, int, bool]:
        """How many lines were looked at, their bytes (0: all of the block), and whether it is enough."""
        count = block.count(b"\n") + (not block.endswith(b"\n"))
        if not self._wants(first, count) or not self._may_hold(block):
            return count, 0, enough()
        done = 0
        for at, line in enumerate(BytesIO(block)):
            done += len(line)
            row = self._row(line, first + at)
            if row is not None and self._matches(row):
                found.hits.append((first + at, row))
            if enough():
                return at + 1, 0 if at + 1 == count else done, True
        return count, 0, False

    def _row(self, line: bytes, number: int) -> Row | None:
        if len(line) <= self._query.longer or len(line) > MAX_LINE_BYTES + 2 or line.isspace():
            return None
        if not self._wants(number, 1) or not self._may_hold(line):
            return None
        try:
            return parse(line, number == 1)
        except BadRow:
            return None

    def _wants(self, first: int, count: int) -> bool:
        lines = self._query.lines
        return lines is None or bisect_left(lines, first) < bisect_left(lines, first + count)

    def _passed_over(self, line: int, byte: int) -> tuple[int, int]:
        """The nearest place before the next line that is asked for."""
        lines = self._query.lines
        if lines is None:
            return line, byte
        at = bisect_left(lines, line)
        if at == len(lines):
            return line, self._path.stat().st_size
        nearest = place_of(int(lines[at]), self._index)
        return max((line, byte), nearest)


def _block(file: BinaryIO, byte: int) -> tuple[bytes, int]:
    """Whole lines of about a megabyte, and how many bytes they take in the file; of a line above the limit only its
    beginning is kept."""
    file.seek(byte)
    block = file.read(BLOCK_BYTES)
    if block and not block.endswith(b"\n"):
        block += file.readline(MAX_LINE_BYTES + 2)
    size = len(block)
    while block and not block.endswith(b"\n"):
        rest = file.readline(BLOCK_BYTES)
        size += len(rest)
        if not rest or rest.endswith(b"\n"):
            break
    return block, size


def place_of(line: int, line_index: Sequence[int]) -> tuple[int, int]:
    """Line and byte of the nearest indexed line at or before this one."""
    if not line_index or line < 2:
        return 1, 0
    block = min((line - 1) // INDEX_EVERY, len(line_index) - 1)
    return block * INDEX_EVERY + 1, line_index[block]


def byte_of(path: Path, line: int, line_index: Sequence[int]) -> int:
    """Where a line begins; the end of the file where there are fewer."""
    number, byte = place_of(line, line_index)
    with path.open("rb") as file:
        file.seek(byte)
        while number < line and (piece := file.readline(BLOCK_BYTES)):
            number += piece.endswith(b"\n")
        return file.tell()
