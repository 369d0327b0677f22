"""The threads in which pages and the API work are used again, each by one request at a time."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async

from dashboard.asgi import IDLE_THREADS, RequestThreads


async def request(threads: RequestThreads, *work: Callable[[], Any]) -> list[Any]:
    """What each piece of its work returned, one after the other as in a request."""
    async with threads.one():
        return [await sync_to_async(each)() for each in work]


def test_a_request_works_in_one_thread_and_the_next_one_in_the_same() -> None:
    threads = RequestThreads()

    async def in_turn() -> list[Any]:
        return [*await request(threads, *[threading.get_ident] * 3), *await request(threads, threading.get_ident)]

    assert len(set(asyncio.run(in_turn()))) == 1


def test_requests_at_once_have_a_thread_each_and_few_are_kept() -> None:
    threads, together = RequestThreads(), threading.Barrier(IDLE_THREADS + 4, timeout=30)

    def meet() -> int:
        together.wait()
        return threading.get_ident()

    async def at_once() -> list[Any]:
        return await asyncio.gather(*(request(threads, meet) for _ in range(IDLE_THREADS + 4)))

    assert len({each for (each,) in asyncio.run(at_once())}) == IDLE_THREADS + 4
    assert len(threads.idle) == IDLE_THREADS


def test_a_thread_whose_caller_left_is_lent_to_nobody_while_it_works() -> None:
    threads, begun, free, busy = RequestThreads(), threading.Event(), threading.Event(), []

    def work() -> None:
        busy.append(threading.get_ident())
        begun.set()
        free.wait(5)

    async def leave() -> list[Any]:
        left = asyncio.create_task(request(threads, work))
        await asyncio.to_thread(begun.wait, 30)
        left.cancel()
        await asyncio.wait({left}, timeout=1)
        return await request(threads, threading.get_ident)

    try:
        assert asyncio.run(leave()) != busy
    finally:
        free.set()
