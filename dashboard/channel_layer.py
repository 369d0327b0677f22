"""A channel layer for one machine without a server (docs/adr/0001).

Every process that holds websockets binds a unix datagram socket in one private folder; `group_send` from any process
sends one datagram to each. Lossy, as the channel layer specification allows: Hone sends only "there is news" through
it, and every consumer also looks at the database every two seconds.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import tempfile
import uuid
import weakref
from pathlib import Path
from typing import Any

from channels.layers import InMemoryChannelLayer

RECEIVE_BUFFER_BYTES = 4 << 20
LARGEST_DATAGRAM_BYTES = 1 << 20
LONGEST_ADDRESS = 107  # bytes of a unix socket's path, set by the kernel
NAME_LENGTH = len("/4194304-12345678.sock")


class LocalSocketLayer(InMemoryChannelLayer):
    """`path` is the folder of the sockets; a path too long for a socket gets a short stand-in."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder = socket_folder(Path(path))
        self.own_address: Path | None = None
        self.sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sender.setblocking(False)
        self._listening_in: asyncio.AbstractEventLoop | None = None
        self._deliveries: set[asyncio.Future[None]] = set()  # under way; held so that they are not collected

    async def group_add(self, group: str, channel: str) -> None:
        self._listen()
        await super().group_add(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Also to this process itself by its socket: the sender may run in another thread than the consumers."""
        self.require_valid_group_name(group)
        datagram = json.dumps([group, message]).encode()
        for address in self.folder.glob("*.sock"):
            try:
                self.sender.sendto(datagram, str(address))
            except (ConnectionRefusedError, FileNotFoundError):
                address.unlink(missing_ok=True)  # its process is dead
            except OSError:
                pass  # its buffer is full: a lost ping costs at most one poll interval

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        if self._listening_in is loop:
            return
        address = self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.sock"
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        receiver.bind(str(address))
        if self.own_address:  # of an event loop that has ended
            self.own_address.unlink(missing_ok=True)
        weakref.finalize(self, _unlink_own, address, os.getpid())
        loop.add_reader(receiver.fileno(), self._receive, receiver)
        self.own_address, self._listening_in = address, loop

    def _receive(self, receiver: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                group, message = json.loads(receiver.recv(LARGEST_DATAGRAM_BYTES))
                delivery = asyncio.ensure_future(super().group_send(group, message))
                self._deliveries.add(delivery)
                delivery.add_done_callback(self._deliveries.discard)


def socket_folder(wanted: Path) -> Path:
    """The folder itself, or a private short one derived from its name, the same in every process."""
    if len(os.fsencode(wanted)) + NAME_LENGTH > LONGEST_ADDRESS:
        digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:16]
        wanted = Path(tempfile.gettempdir()) / f"hone-{os.getuid()}-{digest}"
    wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
    if wanted.stat().st_uid != os.getuid():
        raise PermissionError(f"{wanted} belongs to somebody else; remove it or set HONE_HOME to a shorter path")
    return wanted


def _unlink_own(address: Path, pid: int) -> None:
    """A forked child must not take its parent's socket away."""
    if os.getpid() == pid:
        address.unlink(missing_ok=True)
