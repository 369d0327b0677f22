"""http to Django, websockets to the consumers; a socket needs a page of our own and a signed-in person."""

import os
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.core.asgi import get_asgi_application

http = get_asgi_application()

from dashboard.sockets import routes  # noqa: E402 - needs the app registry


class OwnPagesOnly:
    """Refuses a websocket that a page of another site opened; browsers send cookies along and tell the Origin."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        own = urlsplit(origin).netloc == headers.get(b"host", b"").decode("latin-1")
        allowed = own or origin in settings.CSRF_TRUSTED_ORIGINS
        return await (self.application if allowed else WebsocketDenier())(scope, receive, send)


application = ProtocolTypeRouter({"http": http, "websocket": OwnPagesOnly(AuthMiddlewareStack(URLRouter(routes)))})
