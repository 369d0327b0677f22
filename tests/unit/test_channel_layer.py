import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dashboard.channel_layer import LONGEST_ADDRESS, LocalSocketLayer, socket_folder

ROOT = Path(__file__).parents[2]
SEND = """
import asyncio, sys
from dashboard.channel_layer import LocalSocketLayer
asyncio.run(LocalSocketLayer(sys.argv[1]).group_send("job.1", {"type": "news"}))
"""


async def listen(layer: LocalSocketLayer) -> str:
    channel = await layer.new_channel()
    await layer.group_add("job.1", channel)
    return channel


async def receive(layer: LocalSocketLayer, channel: str) -> dict:
    return await asyncio.wait_for(layer.receive(channel), 5)


async def test_a_ping_reaches_a_listener_in_this_process(tmp_path: Path):
    layer = LocalSocketLayer(str(tmp_path / "sockets"))
    channel = await listen(layer)
    await layer.group_send("job.1", {"type": "news"})
    assert await receive(layer, channel) == {"type": "news"}


async def test_a_ping_from_another_thread_wakes_the_listeners_loop(tmp_path: Path):
    layer = LocalSocketLayer(str(tmp_path / "sockets"))
    channel = await listen(layer)
    waiting = asyncio.ensure_future(receive(layer, channel))
    threading.Thread(target=lambda: asyncio.run(layer.group_send("job.1", {"type": "news"}))).start()
    assert await waiting == {"type": "news"}


async def test_a_ping_from_another_process_arrives(tmp_path: Path):
    layer = LocalSocketLayer(str(tmp_path / "sockets"))
    channel = await listen(layer)
    command = [sys.executable, "-c", SEND, str(tmp_path / "sockets")]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=True)
    assert await receive(layer, channel) == {"type": "news"}


async def test_other_groups_hear_nothing(tmp_path: Path):
    layer = LocalSocketLayer(str(tmp_path / "sockets"))
    channel = await listen(layer)
    await layer.group_send("job.2", {"type": "news"})
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(layer.receive(channel), 0.3)


async def test_the_socket_of_a_dead_process_is_removed(tmp_path: Path):
    layer = LocalSocketLayer(str(tmp_path))
    dead = tmp_path / "1-dead.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left:
        left.bind(str(dead))
    await layer.group_send("job.1", {"type": "news"})
    assert not dead.exists()


async def test_a_home_with_a_very_long_path_works(tmp_path: Path):
    long = tmp_path / ("x" * 90) / ("y" * 90) / "sockets"
    layer, sender = LocalSocketLayer(str(long)), LocalSocketLayer(str(long))
    channel = await listen(layer)
    assert layer.own_address and len(os.fsencode(layer.own_address)) <= LONGEST_ADDRESS
    await sender.group_send("job.1", {"type": "news"})
    assert await receive(layer, channel) == {"type": "news"}
    layer.own_address.unlink()
    socket_folder(long).rmdir()


def test_the_stand_in_folder_is_private_and_depends_on_the_whole_path(tmp_path: Path):
    one, two = socket_folder(tmp_path / ("x" * 120)), socket_folder(tmp_path / ("x" * 121))
    assert one != two and one.stat().st_mode & 0o077 == 0
    one.rmdir()
    two.rmdir()


async def test_a_full_buffer_loses_pings_but_never_blocks_or_raises(tmp_path: Path):
    layer = LocalSocketLayer(str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "1-deaf.sock"))
        for _ in range(2000):
            await layer.group_send("job.1", {"type": "news", "text": "x" * 1000})


def test_a_layer_works_in_one_event_loop_after_another(tmp_path: Path):
    layer = LocalSocketLayer(str(tmp_path))

    async def round_trip() -> dict:
        channel = await listen(layer)
        await layer.group_send("job.1", {"type": "news"})
        return await receive(layer, channel)

    assert [json.dumps(asyncio.run(round_trip())) for _ in range(2)] == ['{"type": "news"}'] * 2
