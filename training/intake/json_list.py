"""A JSON document that is one list of objects, read object by object and never as a whole."""

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from training.intake.errors import IntakeError
from training.jsonl import MAX_LINE_BYTES, decoder

BLOCK_BYTES = 1 << 18
SPACE = " \t\r\n"


def is_json_list(path: Path, filename: str) -> bool:
    """`[` and then an object; with the name .json whatever follows."""
    with path.open("rb") as file:
        head = file.read(1 << 12).removeprefix(codecs.BOM_UTF8).lstrip()
    if not head.startswith(b"["):
        return False
    return head[1:].lstrip().startswith(b"{") or filename.lower().endswith(".json")


def objects(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """(its number from 1, value). Raises IntakeError for what is no JSON list, with the number of the value."""
    text = _Text(file)
    if text.next_mark() != "[":
        raise IntakeError("This is no JSON list", "A list begins with [ and holds objects.")
    number = 0
    text.at += 1
    while (mark := text.next_mark()) != "]":
        number += 1
        if not mark:
            raise IntakeError(
                f"The list ends in the middle, after {number - 1} values", "Upload it whole.", line=number
            )
        yield number, text.value(number)
        mark = text.next_mark()
        if mark == ",":
            text.at += 1
        elif mark and mark != "]":
            raise IntakeError(
                f"A comma is missing after value {number}", "Write the file with a JSON writer.", line=number
            )
    text.at += 1
    if text.next_mark():
        raise IntakeError("Something follows the end of the list", "A file holds one list.", line=number)


class _Text:
    """A window over the file that moves on."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.decoder = file, codecs.getincrementaldecoder("utf-8-sig")()
        self.held, self.at, self.ended = "", 0, False

    def more(self, size: int = BLOCK_BYTES) -> bool:
        if self.ended:
            return False
        block = self.file.read(size)
        self.ended = not block
        try:
            self.held = self.held[self.at :] + self.decoder.decode(block, final=self.ended)
        except UnicodeDecodeError as error:
            raise IntakeError("This file is not UTF-8", "Save it as UTF-8.", kind="not_utf8") from error
        self.at = 0
        return not self.ended

    def next_mark(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self.at < len(self.held) and self.held[self.at] in SPACE:
                self.at += 1
            if self.at < len(self.held):
                return self.held[self.at]
            if not self.more():
                return ""

    def value(self, number: int) -> Any:
        """Of the value that begins here. Looks for twice as much text each time that it is not all there."""
        while True:
            try:
                value, end = decoder.raw_decode(self.held, self.at)
                if end < len(self.held) or self.ended:  # a number at the very end may go on
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                if self.ended:
                    text = f"Value {number} is not valid JSON: {error.msg}"
                    raise IntakeError(
                        text, "Write the file with a JSON writer.", line=number, kind="not_json"
                    ) from None
            except (ValueError, RecursionError) as error:
                reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
                text = f"Value {number} is not valid JSON: {reason}"
                raise IntakeError(text, "Write plain JSON values only.", line=number, kind="not_json") from None
            if len(self.held) - self.at > MAX_LINE_BYTES:
                text = f"Value {number} is longer than {MAX_LINE_BYTES >> 20} MiB, or is no JSON"
                raise IntakeError(text, "Shorten it, or write the file with a JSON writer.", line=number)
            self.more(max(BLOCK_BYTES, len(self.held) - self.at))
