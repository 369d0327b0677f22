"""What a question of the API holds while it is answered, so that all of it ends with the answer, whichever way."""

import asyncio
import contextlib

import aiohttp

from playground.fairness import Place
from playground.limits.tally import Tally


class Answering:
    """vLLM's answer on its way to a caller, with its place at the server and its tally.

    It closes itself when nobody holds it any more: Django drops the answer to a caller who left before it began,
    unclosed, and the connection, which holds itself, would keep vLLM at work to the end of it.
    """

    def __init__(self, upstream: aiohttp.ClientResponse, place: Place, tally: Tally) -> None:
        self.upstream, self.place, self.tally = upstream, place, tally
        self.loop, self.is_closed = asyncio.get_running_loop(), False
        upstream.content.on_eof(place.close)  # vLLM has said all of it, however slowly its caller reads

    def close(self) -> None:
        """In any thread, as Django closes an answer in one of its own. A second time does nothing."""
        if self.is_closed:
            return
        self.is_closed = True
        self.tally.close()
        self.place.close()
        with contextlib.suppress(RuntimeError):  # the loop has ended, and its connections with it
            self.loop.call_soon_threadsafe(self.upstream.close)

    __del__ = close
