"""http to Django, websockets to the consumers; a socket needs a page of our own and a signed-in person."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

from asgiref.sync import ThreadSensitiveContext
from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import close_old_connections, connections
from django.urls import re_path, set_script_prefix

pages = get_asgi_application()


PASSED_THROUGH = {"/v1/chat/completions", "/v1/completions"}
IDLE_THREADS: Final = 16


class RequestThread(ThreadPoolExecutor):
    """One thread for one request at a time."""

    def __init__(self) -> None:
        super().__init__(1, "request")
        self.last: Future[Any] | None = None

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        self.last = super().submit(work, *args, **options)
        return self.last

    @property
    def is_idle(self) -> bool:
        """False where its caller left and the work goes on."""
        return self.last is None or self.last.done()


class RequestThreads:
    """Threads that requests take turns in, the last one first, with their database connections (CONN_MAX_AGE).

    Django gives each request a thread and a connection of its own, and making them takes longer than most of what is
    asked of the database.
    """

    def __init__(self) -> None:
        self.idle: list[RequestThread] = []

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        thread = self.idle.pop() if self.idle else RequestThread()
        try:
            async with ThreadSensitiveContext(executor=thread):
                yield
        finally:
            if thread.is_idle and len(self.idle) < IDLE_THREADS:
                self.idle.append(thread)
            else:
                thread.shutdown(wait=False)


request_threads = RequestThreads()


class ModelsThread(ThreadPoolExecutor):
    """One thread that many requests share: what it knows of the database stays open from one to the next."""

    def __init__(self) -> None:
        super().__init__(1, "models", self._keep_connections)

    @staticmethod
    def _keep_connections() -> None:
        for connection in connections.all():
            connection.settings_dict = connection.settings_dict | {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}

    def submit(self, work: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        return super().submit(self._with_sound_connections, work, *args, **options)

    @staticmethod
    def _with_sound_connections(work: Callable[..., Any], *args: Any, **options: Any) -> Any:
        close_old_connections()
        return work(*args, **options)


class ApiHandler(ASGIHandler):
    """/v1 with its own middleware: a key needs no session, cookie or form, each changes the thread twice.

    Questions to models share one thread: a token waits for what they look up, and several threads that look things up
    at once only wait for each other (docs/experiments.md).
    """

    def __init__(self) -> None:
        super().__init__()
        self.thread = ModelsThread()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] not in PASSED_THROUGH:
            async with request_threads.one():
                return await super().__call__(scope, receive, send)
        async with ThreadSensitiveContext(executor=self.thread):
            await self.pass_through(scope, receive, send)

    async def pass_through(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """What Django's `handle` does, without the signals before and after, for which it changes the thread."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            set_script_prefix(get_script_prefix(scope))
            tasks = [self.answer(scope, body, send), self.listen_for_disconnect(receive)]
            answering, leaving = [asyncio.create_task(each) for each in tasks]
            try:
                await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            finally:
                answering.cancel()
                leaving.cancel()
                failed, _ = await asyncio.gather(answering, leaving, return_exceptions=True)
        if isinstance(failed, Exception):
            raise failed

    async def answer(self, scope: dict[str, Any], body: Any, send: Any) -> None:
        request, refusal = self.create_request(scope, body)
        response: Any = refusal if request is None else await self.run_get_response(request)
        try:
            await self.send_response(response, send)
        finally:
            for close in response._resource_closers:  # here, not in a thread: these are the event loop's own
                close()

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
    if scope["path"].startswith("/v1/"):
        return await api(scope, receive, send)
    async with request_threads.one():
        return await pages(scope, receive, send)


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
