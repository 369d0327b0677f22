"""Follow events.jsonl, the trainer's channel to the site, by byte offset."""

import logging
from pathlib import Path

from pydantic import ValidationError

from training.engine.spec import AnyEvent, End, event_adapter

log = logging.getLogger(__name__)
READ_BYTES = 1 << 20  # at most this much at once, so that one transaction stays short


class EventReader:
    """`offset` is the byte after the last line handed out; give it back later to go on from there."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path, self.offset = path, offset

    def read(self) -> list[AnyEvent]:
        """The complete lines that are new, never half a one. An end line comes alone, in a read of its own.

        A line that cannot be understood (cut by a full disk or a kill) is logged and passed over.
        """
        events: list[AnyEvent] = []
        for line in self._whole_lines():
            event = self._parse(line)
            if isinstance(event, End) and events:
                break  # left for the next read, after what came before it is stored
            self.offset += len(line)
            if event is not None:
                events.append(event)
            if isinstance(event, End):
                break
        return events

    def _whole_lines(self) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(READ_BYTES)
                while data and b"\n" not in data and (more := file.read(READ_BYTES)):
                    data += more
        except FileNotFoundError:
            return []
        return data[: data.rfind(b"\n") + 1].splitlines(keepends=True)

    def _parse(self, line: bytes) -> AnyEvent | None:
        try:
            return event_adapter.validate_json(line)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            log.warning("%s at byte %d: line passed over: %s", self.path, self.offset, problem)
            return None
