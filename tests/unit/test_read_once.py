"""Requests that wait together share one look-up, and none is told what is older than itself."""

import time

import pytest

from accounts.read_once import MOST, ReadOnce


class Table:
    """What is looked up, and how often it was."""

    def __init__(self) -> None:
        self.row, self.reads = "live", 0

    def read(self) -> str:
        self.reads += 1
        return self.row


def test_requests_that_were_there_before_the_look_up_share_it():
    table, rows = Table(), ReadOnce[str]()
    came = [time.monotonic() for _ in range(100)]

    assert [rows.since(at, "key", table.read) for at in came] == ["live"] * 100
    assert table.reads == 1


def test_a_request_that_came_after_a_change_is_told_of_it():
    table, rows = Table(), ReadOnce[str]()
    waiting = time.monotonic()
    rows.since(waiting, "key", table.read)
    table.row = "revoked"

    assert rows.since(time.monotonic(), "key", table.read) == "revoked"
    assert rows.since(waiting, "key", table.read) == "revoked", "the newest that was read is theirs, too"


def test_one_thing_is_not_taken_for_another():
    rows = ReadOnce[str]()
    came = time.monotonic()

    assert rows.since(came, "one", lambda: "1") == "1"
    assert rows.since(came, "other", lambda: "2") == "2"


def test_a_look_up_that_fails_or_finds_nothing_is_done_again():
    table, rows = Table(), ReadOnce[str | None]()
    came = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        rows.since(came, "key", lambda: str(1 / 0))
    assert rows.since(came, "key", lambda: None) is None
    assert rows.since(came, "key", table.read) == "live"


def test_what_is_remembered_does_not_grow_without_end():
    rows = ReadOnce[str]()
    for number in range(3 * MOST):
        rows.since(time.monotonic(), number, lambda: "row")
    assert len(rows._read) <= MOST
