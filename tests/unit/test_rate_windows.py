"""Windows of rate limits, in the SQLite file and (marked `servers`) in Redis: exact under threads, honest waits."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from accounts.errors import ApiError
from playground.limits import reserving
from playground.limits.reserving import Grant, duration, estimate
from playground.limits.windows import Rates, RedisWindows, SQLiteWindows, Taken, Windows

FREE = Rates(0, 0)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.servers)])
def windows(request: pytest.FixtureRequest, tmp_path: Path) -> Windows:
    if request.param == "sqlite":
        return SQLiteWindows(tmp_path / "limits.sqlite3")
    if "HONE_REDIS_URL" not in os.environ:
        pytest.skip("no Redis: HONE_REDIS_URL is not set")
    return RedisWindows(os.environ["HONE_REDIS_URL"])


@pytest.fixture
def key(tmp_path: Path) -> str:
    return str(tmp_path)


def test_of_many_at_once_exactly_as_many_pass_as_the_limit_says(windows: Windows, key: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        taken = list(pool.map(lambda _: windows.take(key, Rates(20, 0), 5), range(60)))
    assert sum(one.passed for one in taken) == 20
    last = windows.take(key, Rates(20, 0), 5)
    assert (last.passed, last.used(0), last.used(1)) == (False, 20, 100)


def test_tokens_are_limited_as_requests_are(windows: Windows, key: str) -> None:
    passed = [windows.take(key, Rates(0, 100), tokens).passed for tokens in (60, 50, 40, 1)]
    assert passed == [True, False, True, False]


def test_what_was_taken_is_corrected_and_what_was_refused_given_back(windows: Windows, key: str) -> None:
    first = windows.take(key, Rates(2, 100), 80)
    windows.give(key, first.second, 0, 10 - 80)
    second = windows.take(key, Rates(2, 100), 80)
    assert second.passed and second.used(1) == 90
    windows.give(key, second.second, -1, -80)
    third = windows.take(key, Rates(2, 100), 90)
    assert third.passed and (third.used(0), third.used(1)) == (2, 100)
    windows.give(key, third.second, 0, 7)
    assert windows.take(key, FREE, 0).used(1) == 107


def test_one_window_knows_nothing_of_another(windows: Windows, key: str) -> None:
    assert windows.take(key, Rates(1, 0), 1).passed and windows.take(key + "'", Rates(1, 0), 1).passed


def test_a_minute_later_there_is_room_again(tmp_path: Path) -> None:
    windows, now = SQLiteWindows(tmp_path / "limits.sqlite3"), 1_000_000.25
    for _ in range(3):
        assert windows.take("a", Rates(3, 0), 1, now=now).passed
    assert not windows.take("a", Rates(3, 0), 1, now=now + 59.5).passed
    assert windows.take("a", Rates(3, 0), 1, now=now + 59.75).passed


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    one, other = (SQLiteWindows(tmp_path / "limits.sqlite3") for _ in range(2))
    assert [each.take("a", Rates(1, 0), 1).passed for each in (one, other)] == [True, False]


def test_a_file_that_cannot_be_written_lets_requests_through(
    project: object, settings: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = SQLiteWindows(tmp_path / "nowhere" / "limits.sqlite3")
    monkeypatch.setattr(reserving, "windows", lambda: broken)
    assert reserving.reserve(project, "tiny", "tiny", 5) == Grant()  # type: ignore[arg-type]


# ---- the words ----

NOW = 1_000_000.0
SLOTS = {999_943: (15, 200), 999_950: (5, 50)}


def refusal(rates: Rates, tokens: int, slots: dict[int, tuple[int, int]] = SLOTS) -> ApiError:
    taken = Taken(False, NOW, slots)
    return reserving.refusal(taken, rates, tokens, "ft:tiny:x", "tiny", reserving.headers_of(taken, rates))


def test_a_refusal_has_openais_words_and_says_when_to_come_again() -> None:
    error = refusal(Rates(20, 10_000), 7)
    assert error.message.startswith(
        "Rate limit reached for ft:tiny:x in organization hone on requests per min (RPM): Limit 20, Used 20, "
        "Requested 1. Please try again in 3s."
    )
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert error.headers == {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "10s",
        "x-ratelimit-limit-tokens": "10000",
        "x-ratelimit-remaining-tokens": "9750",
        "x-ratelimit-reset-tokens": "10s",
        "retry-after": "3",
        "retry-after-ms": "3000",
    }


def test_tokens_are_refused_by_name_and_wait_for_as_many_as_were_asked_for() -> None:
    error = refusal(Rates(0, 260), 240)
    assert "on tokens per min (TPM): Limit 260, Used 250, Requested 240. Please try again in 10s." in error.message
    assert error.type == "tokens" and "x-ratelimit-limit-requests" not in error.headers


def test_a_request_above_the_whole_limit_is_not_to_be_tried_again() -> None:
    error = refusal(Rates(20, 100), 101)
    assert "Limit 100, Requested 101. The input or output tokens must be reduced" in error.message
    assert error.type == "tokens" and error.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0ms"), (0.0117, "12ms"), (1, "1s"), (9.904, "9.904s"), (60, "1m0s"), (360, "6m0s"), (61.5, "1m1.5s")],
)
def test_times_are_written_as_openai_writes_them(seconds: float, written: str) -> None:
    assert duration(seconds) == written


@pytest.mark.parametrize(
    ("payload", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "x" * 41}]}, 11),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 8}]}], "max_tokens": 100}, 100),
        ({"messages": [{"role": "assistant", "content": None}], "max_completion_tokens": 50, "n": 3}, 150),
        ({"prompt": ["x" * 40, [1, 2, 3]]}, 13),
        ({"prompt": [1, 2, 3], "max_tokens": "many", "n": -1}, 3),
        ({}, 1),
    ],
)
def test_a_request_is_estimated_as_openai_does(payload: dict, tokens: int) -> None:
    assert estimate(payload) == tokens


def test_waits_end_when_enough_has_left_the_window() -> None:
    taken = Taken(False, NOW, SLOTS)
    assert [taken.seconds_until_fits(1, asked, 260) for asked in (10, 11, 210, 211)] == [0, 3, 3, 10]
    assert Taken(True, NOW, {}).seconds_until_empty(0) == 0
