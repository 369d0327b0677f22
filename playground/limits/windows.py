"""Counts of the last minute, exact across processes: in Redis where HONE_REDIS_URL is set, else in one SQLite file.

A window is the last 60 seconds of the clock, counted second by second, so that in no minute more passes than the limit
says. A bucket that refills (GCRA) would let twice the limit through in the first minute, and tell all who wait to come
back for the one place that is free next; here they are told when there is room, and the SDK's two retries are enough.
"""

import json
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import redis

SECONDS: Final = 60
Slots = dict[int, tuple[int, int]]  # by second of the clock: requests, tokens


@dataclass(frozen=True)
class Rates:
    """A minute's; 0 is no limit."""

    requests: int
    tokens: int


@dataclass(frozen=True)
class Taken:
    """What a window said. `slots` hold this request if it passed; `now` is the window's own clock, unix seconds."""

    passed: bool
    now: float
    slots: Slots

    @property
    def second(self) -> int:
        return int(self.now)

    def used(self, what: int) -> int:
        """Of the last minute; `what`: 0 requests, 1 tokens. Corrections may come late, so never below nothing."""
        return max(0, sum(slot[what] for slot in self.slots.values()))

    def seconds_until_fits(self, what: int, asked: int, limit: int) -> float:
        """Until so many seconds have left the window that `asked` more fit; a minute at most."""
        used, wait = self.used(what), 0.0
        for second in sorted(self.slots):
            if used + asked <= limit:
                break
            used -= self.slots[second][what]
            wait = second + SECONDS - self.now
        return max(0.0, wait)

    def seconds_until_empty(self, what: int) -> float:
        """Until nothing of it counts any more."""
        counted = [second for second, slot in self.slots.items() if slot[what]]
        return max(counted) + SECONDS - self.now if counted else 0.0


class Windows(Protocol):
    """Raises sqlite3.Error or redis.RedisError when it cannot count."""

    def take(self, key: str, rates: Rates, tokens: int) -> Taken:
        """Counts one request of so many tokens, if both still fit."""

    def give(self, key: str, second: int, requests: int, tokens: int) -> None:
        """Corrects what was taken in that second: less is taken back from it while it counts, more counts from now."""


def fits(slots: Slots, rates: Rates, tokens: int) -> bool:
    requests_used, tokens_used = (sum(slot[what] for slot in slots.values()) for what in (0, 1))
    enough = not rates.requests or requests_used + 1 <= rates.requests
    return enough and (not rates.tokens or tokens_used + tokens <= rates.tokens)


class SQLiteWindows:
    """One file for the processes of one machine. What a power cut takes with it is at most a minute's count."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._own = threading.local()

    def take(self, key: str, rates: Rates, tokens: int, *, now: float | None = None) -> Taken:
        """`now`: as if it were then; for tests."""
        now = time.time() if now is None else now
        with self._held() as rows:
            slots = _alive(_read(rows, key), now)
            passed = fits(slots, rates, tokens)
            if passed:
                requests_before, tokens_before = slots.get(int(now), (0, 0))
                slots[int(now)] = (requests_before + 1, tokens_before + tokens)
                _write(rows, key, slots)
        return Taken(passed, now, slots)

    def give(self, key: str, second: int, requests: int, tokens: int) -> None:
        now = time.time()
        with self._held() as rows:
            slots = _alive(_read(rows, key), now)
            at = int(now) if tokens > 0 else second
            if at in slots or tokens > 0:
                before = slots.get(at, (0, 0))
                slots[at] = (before[0] + requests, before[1] + tokens)
                _write(rows, key, slots)

    def _held(self) -> "_Held":
        """One connection a thread; a forked child opens its own."""
        found = getattr(self._own, "value", None)
        if found is None or self._own.pid != os.getpid():
            found = sqlite3.connect(self.path, timeout=5, isolation_level=None)
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=OFF")
            found.execute("CREATE TABLE IF NOT EXISTS spent(key TEXT PRIMARY KEY, slots TEXT NOT NULL) WITHOUT ROWID")
            self._own.value, self._own.pid = found, os.getpid()
        return _Held(found)


class _Held:
    """The file is ours alone until the block ends."""

    def __init__(self, rows: sqlite3.Connection) -> None:
        self.rows = rows

    def __enter__(self) -> sqlite3.Connection:
        self.rows.execute("BEGIN IMMEDIATE")
        return self.rows

    def __exit__(self, kind: Any, *rest: Any) -> None:
        self.rows.execute("ROLLBACK" if kind else "COMMIT")


def _read(rows: sqlite3.Connection, key: str) -> Slots:
    found = rows.execute("SELECT slots FROM spent WHERE key=?", (key,)).fetchone()
    return {int(second): (slot[0], slot[1]) for second, slot in json.loads(found[0]).items()} if found else {}


def _alive(slots: Slots, now: float) -> Slots:
    return {second: slot for second, slot in slots.items() if second > int(now) - SECONDS}


def _write(rows: sqlite3.Connection, key: str, slots: Slots) -> None:
    rows.execute(
        "INSERT INTO spent(key, slots) VALUES(?, ?) ON CONFLICT(key) DO UPDATE SET slots=excluded.slots",
        (key, json.dumps(slots, separators=(",", ":"))),
    )


# A hash for each window: second -> "requests tokens". The clock is Redis's own, the same for every machine.
TAKE: Final = """
local clock = redis.call('TIME')
local now, most, most_tokens, tokens = tonumber(clock[1]), tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local held, left, used, used_tokens, own, own_tokens = redis.call('HGETALL', KEYS[1]), {}, 0, 0, 0, 0
for i = 1, #held, 2 do
  local second = tonumber(held[i])
  if second <= now - 60 then
    redis.call('HDEL', KEYS[1], held[i])
  else
    local r, t = string.match(held[i + 1], '^(%S+) (%S+)$')
    used, used_tokens = used + r, used_tokens + t
    if second == now then own, own_tokens = r, t end
    left[#left + 1] = held[i]; left[#left + 1] = r; left[#left + 1] = t
  end
end
local passed = 0
if (most == 0 or used + 1 <= most) and (most_tokens == 0 or used_tokens + tokens <= most_tokens) then
  passed = 1
  redis.call('HSET', KEYS[1], now, string.format('%d %d', own + 1, own_tokens + tokens))
  redis.call('EXPIRE', KEYS[1], 61)
  left[#left + 1] = tostring(now); left[#left + 1] = '1'; left[#left + 1] = tostring(tokens)
end
return {passed, clock[1], clock[2], left}
"""
GIVE: Final = """
local now, at, requests, tokens = redis.call('TIME')[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if tokens > 0 then at = now end
local held = redis.call('HGET', KEYS[1], at)
if held or tokens > 0 then
  local r, t = string.match(held or '0 0', '^(%S+) (%S+)$')
  redis.call('HSET', KEYS[1], at, string.format('%d %d', r + requests, t + tokens))
  redis.call('EXPIRE', KEYS[1], 61)
end
"""


class RedisWindows:
    """One Redis for every process on every machine; each count is one script, which nothing interrupts."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
        self._take, self._give = (self._redis.register_script(script) for script in (TAKE, GIVE))

    def take(self, key: str, rates: Rates, tokens: int) -> Taken:
        found: Any = self._take(keys=[f"hone:rate:{key}"], args=[rates.requests, rates.tokens, tokens])
        passed, seconds, microseconds, flat = found
        slots: Slots = {}
        for second, requests_then, tokens_then in zip(*[iter(map(int, flat))] * 3, strict=True):
            before = slots.get(second, (0, 0))
            slots[second] = (before[0] + requests_then, before[1] + tokens_then)
        return Taken(bool(passed), int(seconds) + int(microseconds) / 1e6, slots)

    def give(self, key: str, second: int, requests: int, tokens: int) -> None:
        self._give(keys=[f"hone:rate:{key}"], args=[second, requests, tokens])
