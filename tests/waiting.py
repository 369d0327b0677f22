"""Waiting in a test's own event loop, which goes on meanwhile."""

import asyncio
from collections.abc import Callable

import pytest

SECONDS = 30


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(SECONDS * 100):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to be")
