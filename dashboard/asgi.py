"""http to Django, websockets to the consumers; a socket needs a page of our own and a signed-in person."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

from asgiref.sync import ThreadSensitiveContext
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.db import connections
from django.urls import re_path

pages = get_asgi_application()


PASSED_THROUGH = {"/v1/chat/completions", "/v1/completions"}


def keep_connection() -> None:
    """In a thread that many requests share: what it knows of the database stays open from one to the next."""
    for connection in connections.all():
        connection.settings_dict = connection.settings_dict | {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}


class ApiHandler(ASGIHandler):
    """/v1 with its own middleware: a key needs no session, cookie or form, each changes the thread twice.

    Django gives each request a thread and with it a database connection of its own. Questions to models share one
    instead: what they look up takes less than the making of either, a token waits for it, and several threads that
    look things up at once only wait for each other (docs/experiments.md).
    """

    def __init__(self) -> None:
        super().__init__()
        self.thread = ThreadPoolExecutor(1, "models", keep_connection)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] not in PASSED_THROUGH:
            return await super().__call__(scope, receive, send)
        async with ThreadSensitiveContext(executor=self.thread):
            await self.handle(scope, receive, send)

    def load_middleware(self, is_async: bool = False) -> None:
        of_pages, settings.MIDDLEWARE = settings.MIDDLEWARE, settings.API_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = of_pages


api = ApiHandler()


async def http(scope: dict[str, Any], receive: Any, send: Any) -> Any:
    if scope["path"] == "/v1":
        scope = scope | {"path": "/v1/"}  # no such address either, said at once in the API's words
    return await (api if scope["path"].startswith("/v1/") else pages)(scope, receive, send)


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


anywhere_else = re_path("", WebsocketDenier.as_asgi())
sockets = URLRouter([*routes, anywhere_else])
application = ProtocolTypeRouter({"http": http, "websocket": OwnPagesOnly(AuthMiddlewareStack(sockets))})
