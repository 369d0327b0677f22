"""An organisation's files and jobs as OpenAI's API tells them, through the official SDK: plain dictionaries, nothing
stored."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from openai import APIConnectionError, APIStatusError, OpenAI

OPENAI = "https://api.openai.com/v1"  # told to the SDK, which else takes OPENAI_BASE_URL: that may lead to Hone itself
PAGE = 100
OF_ONE_THING = {400, 403, 404, 410}  # statuses that tell of this file or job, not of all of them


class Source:
    """One organisation at OpenAI, or whatever speaks its API. The SDK waits and asks again after 429 and 5xx."""

    def __init__(self, api_key: str, base_url: str = OPENAI, max_retries: int = 8) -> None:
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # else a line for each request between our own
        self.client = OpenAI(api_key=api_key, base_url=base_url, max_retries=max_retries)

    def files(self) -> Iterator[dict[str, Any]]:
        """All purposes, oldest first."""
        yield from (plain(row) for row in self.client.files.list(order="asc"))

    def jobs(self) -> list[dict[str, Any]]:
        """Oldest first, so that what a job continues comes before it."""
        return [plain(row) for row in self.client.fine_tuning.jobs.list(limit=PAGE)][::-1]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Oldest first."""
        return [plain(row) for row in self.client.fine_tuning.jobs.list_events(job_id, limit=PAGE)][::-1]

    def checkpoints(self, job_id: str) -> list[dict[str, Any]]:
        """Oldest first."""
        return [plain(row) for row in self.client.fine_tuning.jobs.checkpoints.list(job_id, limit=PAGE)][::-1]

    @contextmanager
    def content(self, file_id: str) -> Iterator["Content"]:
        """Its bytes as they arrive. Raises APIStatusError where they are not given out (any more), APIConnectionError
        where they break off."""
        with self.client.files.with_streaming_response.content(file_id) as response:
            try:
                yield Content(response.iter_bytes(1 << 20))
            except httpx2.HTTPError as error:  # the SDK lets those of a body pass that is read in pieces
                raise APIConnectionError(request=response.http_request) from error


class Content(io.RawIOBase):
    """What arrives in pieces, to be read like a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        size = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def plain(row: Any) -> dict[str, Any]:
    """As it was sent: real answers break the types of the SDK (an error of nulls, null hyperparameters)."""
    found: dict[str, Any] = row.to_dict(mode="json", warnings=False)
    return found


def why(error: APIStatusError) -> str:
    """OpenAI's own words."""
    body = error.body if isinstance(error.body, dict) else {}
    return f"{error.status_code}: {body.get('message') or error.message}"
