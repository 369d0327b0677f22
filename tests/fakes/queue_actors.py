"""Actors on an embedded queue of their own: python -m dramatiq tests.fakes.queue_actors (QUEUE_PATH, RESULT_PATH)."""

import os
import time
from pathlib import Path

import dramatiq
from dramatiq.middleware import Retries

from training.broker import SQLiteBroker

broker = SQLiteBroker(
    os.environ["QUEUE_PATH"],
    middleware=[Retries()],
    poll_seconds=0.05,
    beat_seconds=0.3,
    dead_after_seconds=float(os.environ.get("QUEUE_DEAD_AFTER_SECONDS", "1.5")),
)
dramatiq.set_broker(broker)


def note(text: str) -> None:
    with Path(os.environ["RESULT_PATH"]).open("a") as file:
        file.write(f"{text}\n")


@dramatiq.actor(max_retries=0)
def work(number: int, seconds: float = 0.0) -> None:
    note(f"begin {number}")
    time.sleep(seconds)
    note(f"end {number}")


@dramatiq.actor(max_retries=3, min_backoff=50, max_backoff=100)
def fail_twice(number: int) -> None:
    note(f"try {number}")
    if Path(os.environ["RESULT_PATH"]).read_text().count(f"try {number}\n") < 3:
        raise RuntimeError("not yet")
