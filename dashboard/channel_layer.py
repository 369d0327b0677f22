"""A channel layer for one machine without a server (docs/adr/0001).

Every process that holds websockets binds a unix datagram socket in one private folder; `group_send` from any process
sends one datagram to each. Lossy, as the channel layer specification allows: Hone sends only "there is news" through
it, and every consumer also looks at the database every two seconds.
"""

import asyncio
import contextlib
import json
import os
import socket
import uuid
import weakref
from pathlib import Path
from typing import Any

from channels.layers import InMemoryChannelLayer

RECEIVE_BUFFER_BYTES = 4 << 20
LARGEST_DATAGRAM_BYTES = 1 << 20


class LocalSocketLayer(InMemoryChannelLayer):
    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder = Path(path)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.own_address: Path | None = None
        self.receiver: socket.socket | None = None
        self.sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sender.setblocking(False)

    async def group_add(self, group: str, channel: str) -> None:
        self._listen()
        await super().group_add(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.require_valid_group_name(group)
        datagram = json.dumps([group, message]).encode()
        for address in self.folder.glob("*.sock"):
            if address == self.own_address:
                await super().group_send(group, message)
                continue
            try:
                self.sender.sendto(datagram, str(address))
            except (ConnectionRefusedError, FileNotFoundError):
                address.unlink(missing_ok=True)  # its process is dead
            except OSError:
                pass  # its buffer is full: a lost ping costs at most one poll interval

    def _listen(self) -> None:
        if self.own_address:
            return
        self.own_address = self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.sock"
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.setblocking(False)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.receiver.bind(str(self.own_address))
        weakref.finalize(self, self.own_address.unlink, missing_ok=True)
        asyncio.get_running_loop().add_reader(self.receiver.fileno(), self._receive)

    def _receive(self) -> None:
        assert self.receiver
        with contextlib.suppress(BlockingIOError):
            while True:
                group, message = json.loads(self.receiver.recv(LARGEST_DATAGRAM_BYTES))
                task = asyncio.ensure_future(super().group_send(group, message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)

    @property
    def _running(self) -> set[asyncio.Future[None]]:
        """Deliveries under way; held so that they are not collected before they are done."""
        return self.__dict__.setdefault("_deliveries", set())
