"""Who may open a websocket."""

import pytest
from channels.testing import WebsocketCommunicator

from dashboard.asgi import OwnPagesOnly


async def accepts(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})


async def opened(origin: str | None) -> bool:
    headers = [(b"host", b"hone.example.com:8000")]
    headers += [(b"origin", origin.encode())] if origin else []
    communicator = WebsocketCommunicator(OwnPagesOnly(accepts), "/ws/project/", headers=headers)
    connected, _ = await communicator.connect()
    return connected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://hone.example.com:8000", True),
        ("https://hone.example.com:8000", True),
        ("http://evil.example.com:8000", False),
        ("http://hone.example.com:8001", False),
        ("null", False),
        (None, False),
    ],
)
async def test_only_pages_of_this_site_open_a_socket(origin, expected):
    assert await opened(origin) is expected


async def test_a_trusted_origin_of_a_proxy_may(settings):
    settings.CSRF_TRUSTED_ORIGINS = ["https://tune.example.com"]
    assert await opened("https://tune.example.com")
