"""A durable dramatiq broker on one SQLite file, for one machine without a queue server (docs/adr/0001).

A message is `queued`, then `running` under an owner (a worker process), then deleted on success or `dead` on failure.
Each worker process beats every few seconds; messages of an owner that stopped beating are queued again.
Delivery is at least once, as with every dramatiq broker: actors claim their database row first.
"""

import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable
from typing import Any

from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.common import current_millis, dq_name
from dramatiq.errors import QueueJoinTimeout
from dramatiq.message import Message

SCHEMA = """
CREATE TABLE IF NOT EXISTS message(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, queue TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued', owner TEXT, data BLOB NOT NULL, changed_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS message_next ON message(state, queue, seq);
CREATE TABLE IF NOT EXISTS owner(name TEXT PRIMARY KEY, beat_ms INTEGER NOT NULL);
"""
ANY_QUEUED = "SELECT 1 FROM message WHERE state='queued' AND queue=? LIMIT 1"  # needs no write lock, unlike TAKE_NEXT
TAKE_NEXT = """
UPDATE message SET state='running', owner=?, changed_ms=? WHERE seq=(
    SELECT seq FROM message WHERE state='queued' AND queue=? ORDER BY seq LIMIT 1) RETURNING id, data
"""
PUT = """
INSERT INTO message(id, queue, data, changed_ms) VALUES(?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE
    SET queue=excluded.queue, data=excluded.data, state='queued', owner=NULL, changed_ms=excluded.changed_ms
"""


class SQLiteBroker(Broker):
    """`path` is the queue file; times in seconds."""

    def __init__(
        self,
        path: str,
        middleware: list[Any] | None = None,
        poll_seconds: float = 0.2,
        beat_seconds: float = 3.0,
        dead_after_seconds: float = 12.0,
        keep_dead_seconds: float = 7 * 86400,
    ) -> None:
        super().__init__(middleware=middleware)
        self.path = path
        self.poll_seconds, self.beat_seconds = poll_seconds, beat_seconds
        self.dead_after_seconds, self.keep_dead_seconds = dead_after_seconds, keep_dead_seconds
        self.owner: str | None = None  # set by the first consumer; a process that only sends has none
        self._becoming_owner = threading.Lock()
        self._connections = threading.local()

    def connection(self) -> sqlite3.Connection:
        """One connection a thread; a forked child opens its own."""
        found = getattr(self._connections, "value", None)
        if found is None or self._connections.pid != os.getpid():
            found = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=FULL")
            found.executescript(SCHEMA)
            self._connections.value, self._connections.pid = found, os.getpid()
        return found

    def declare_queue(self, queue_name: str) -> None:
        if queue_name in self.queues:
            return
        self.emit_before("declare_queue", queue_name)
        self.queues[queue_name] = True  # type: ignore[index]
        self.emit_after("declare_queue", queue_name)
        self.delay_queues.add(dq_name(queue_name))
        self.emit_after("declare_delay_queue", dq_name(queue_name))

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        if delay is not None:  # the consumer of the delay queue holds it until its time, as dramatiq wants
            message = message.copy(queue_name=dq_name(message.queue_name), options={"eta": current_millis() + delay})
        self.emit_before("enqueue", message, delay)
        values = (message.message_id, message.queue_name, message.encode(), current_millis())
        self.connection().execute(PUT, values)
        self.emit_after("enqueue", message, delay)
        return message

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> "SQLiteConsumer":
        with self._becoming_owner:  # each queue's consumer comes here from a thread of its own
            if self.owner is None:
                self.owner = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
                self.beat()
                threading.Thread(target=self._beat_forever, name="queue-heartbeat", daemon=True).start()
        return SQLiteConsumer(self, queue_name, prefetch)

    def beat(self) -> None:
        """Say that this process lives, and queue again what dead processes held."""
        now, connection = current_millis(), self.connection()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            "INSERT INTO owner VALUES(?,?) ON CONFLICT(name) DO UPDATE SET beat_ms=excluded.beat_ms", (self.owner, now)
        )
        connection.execute("DELETE FROM owner WHERE beat_ms < ?", (now - self.dead_after_seconds * 1000,))
        returned = connection.execute(
            "UPDATE message SET state='queued', owner=NULL"
            " WHERE state='running' AND owner NOT IN (SELECT name FROM owner)"
        ).rowcount
        connection.execute(
            "DELETE FROM message WHERE state='dead' AND changed_ms < ?", (now - self.keep_dead_seconds * 1000,)
        )
        connection.execute("COMMIT")
        if returned:
            self.logger.warning("queued %d message(s) of dead workers again", returned)

    def _beat_forever(self) -> None:
        while True:
            time.sleep(self.beat_seconds)
            try:
                self.beat()
            except sqlite3.Error:  # a full disk or a long lock: the next beat tries again
                self.logger.exception("the queue's heartbeat failed")
                if self.connection().in_transaction:
                    self.connection().execute("ROLLBACK")

    def flush(self, queue_name: str) -> None:
        self.connection().execute("DELETE FROM message WHERE queue IN (?,?)", (queue_name, dq_name(queue_name)))

    def flush_all(self) -> None:
        for queue_name in self.queues:
            self.flush(queue_name)

    def join(self, queue_name: str, *, interval: int = 50, timeout: int | None = None) -> None:
        """Wait until the queue is empty; milliseconds."""
        deadline = timeout and time.monotonic() + timeout / 1000
        query = "SELECT count(*) FROM message WHERE queue IN (?,?) AND state <> 'dead'"
        while self.connection().execute(query, (queue_name, dq_name(queue_name))).fetchone()[0]:
            if deadline and time.monotonic() > deadline:
                raise QueueJoinTimeout(queue_name)
            time.sleep(interval / 1000)


class SQLiteConsumer(Consumer):
    """Takes messages of one queue, at most `prefetch` at a time."""

    def __init__(self, broker: SQLiteBroker, queue_name: str, prefetch: int) -> None:
        self.broker, self.queue_name, self.prefetch = broker, queue_name, prefetch
        self.held: set[str] = set()
        self.freed = threading.Event()  # wakes a consumer that waits at full prefetch

    def __next__(self) -> MessageProxy | None:
        if len(self.held) < self.prefetch:
            row = self._take()
            if row:
                self.held.add(row[0])
                return MessageProxy(Message.decode(row[1]))
        self.freed.wait(self.broker.poll_seconds)
        self.freed.clear()
        return None

    def _take(self) -> tuple[str, bytes] | None:
        connection = self.broker.connection()
        if not connection.execute(ANY_QUEUED, (self.queue_name,)).fetchone():
            return None
        return connection.execute(TAKE_NEXT, (self.broker.owner, current_millis(), self.queue_name)).fetchone()

    def ack(self, message: MessageProxy) -> None:
        self._leave(message, "DELETE FROM message WHERE id=? AND state='running' AND owner=?")

    def nack(self, message: MessageProxy) -> None:
        self._leave(message, "UPDATE message SET state='dead' WHERE id=? AND state='running' AND owner=?")

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        for message in messages:
            self._leave(message, "UPDATE message SET state='queued', owner=NULL WHERE id=? AND owner=?")

    def _leave(self, message: MessageProxy, statement: str) -> None:
        self.broker.connection().execute(statement, (message.message_id, self.broker.owner))
        self.held.discard(message.message_id)
        self.freed.set()

    def close(self) -> None:
        """Nothing to close: connections belong to threads."""
