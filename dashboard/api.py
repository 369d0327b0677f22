"""The `/v1` API: who may call, the error shape, all routers. OpenAI's words; docs/api.md names the differences."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DatabaseError, transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from ninja.security import HttpBearer

from accounts.errors import ApiError, disk_full, is_disk_full
from accounts.models import ApiKey, hashed
from accounts.read_once import ReadOnce
from dashboard import not_served, openapi, walls
from dashboard.routers import chains, exports, files, jobs, models, moderations, permissions, uploads, webhooks
from dashboard.wording import explain
from playground.routers import admit
from playground.routers import router as chat_router

logger = logging.getLogger(__name__)

USED_AT_PRECISION = timedelta(minutes=1)  # a busy key must not write a row for each request


class BearerKey(HttpBearer):
    """A live API key that may do this (dashboard.walls says what). Sets `request.api_key`, `.project`, `.auth_user`.

    `admit`, for async views: what they need of the database once the key may pass, as `request.admitted`. It is looked
    up in the same change of thread, since each of these delays the first token; and the key once for all who wait.
    """

    def __init__(self, admit: Callable[[HttpRequest], Any] | None = None) -> None:
        super().__init__()
        self.admit, self.is_async = admit, admit is not None
        self.keys: ReadOnce[ApiKey | None] = ReadOnce()

    def __call__(self, request: HttpRequest) -> Any:
        return sync_to_async(self._let_in)(request) if self.is_async else super().__call__(request)

    def _let_in(self, request: HttpRequest) -> Any:
        key = super().__call__(request)
        if key and self.admit:
            request.admitted = self.admit(request)  # type: ignore[attr-defined]
        return key

    def authenticate(self, request: HttpRequest, token: str) -> ApiKey | None:
        key = self._key(request, token)
        if key is None or key.role is None or not key.user.is_active:
            return None
        # before the check: the audit log names whose key was refused
        request.api_key, request.project, request.auth_user = key, key.project, key.user  # type: ignore[attr-defined]
        walls.check_key(request, key)
        remember_use(key)
        return key

    def _key(self, request: HttpRequest, token: str) -> ApiKey | None:
        if not self.admit:  # these requests do not take turns
            return ApiKey.objects.for_secret(token)
        came_at: float = request.came_at  # type: ignore[attr-defined]
        return self.keys.since(came_at, hashed(token), lambda: ApiKey.objects.for_secret(token))


def remember_use(key: ApiKey) -> None:
    now = timezone.now()
    if key.last_used_at is None or key.last_used_at < now - USED_AT_PRECISION:
        with suppress(DatabaseError), transaction.atomic():  # on a full disk reading must go on
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
            key.last_used_at = now


class HoneAPI(NinjaAPI):
    """Describes all that is served: docs/api.md, "Machine-readable"."""

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        described = super().get_openapi_schema(**options)
        openapi.complete(described)
        return described

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__


api = HoneAPI(
    title="Hone",
    version="1",
    description="Fine-tuning and chat in the words of OpenAI's API: point the official SDK at this address.",
    urls_namespace="api",
    docs_url=None,  # its page loads scripts from elsewhere
    auth=BearerKey(),
)
api.add_router("", files.router, tags=["files"])
api.add_router("", uploads.router, tags=["uploads"])
api.add_router("", jobs.router, tags=["fine-tuning"])
api.add_router("", chains.router, tags=["recipes"])
api.add_router("", models.router, tags=["models"])
api.add_router("", permissions.router, tags=["checkpoint permissions"])
api.add_router("", exports.router, tags=["exports"])
api.add_router("", moderations.router, tags=["moderations"])
api.add_router("", webhooks.router, tags=["webhooks"])
api.add_router("", chat_router, tags=["chat"], auth=BearerKey(admit))


def answer(error: ApiError) -> JsonResponse:
    """The one way in which an error leaves the API."""
    headers = dict(error.headers)
    if error.status in {409, 507}:
        headers.setdefault("x-should-retry", "false")  # the SDK would try again by itself; it cannot help
    return JsonResponse(error.body(), status=error.status, headers=headers)


@api.exception_handler(ApiError)
def on_api_error(request: HttpRequest, error: ApiError) -> JsonResponse:
    return answer(error)


@api.exception_handler(ValidationError)
def on_invalid(request: HttpRequest, error: ValidationError) -> JsonResponse:
    return answer(explain(error.errors, request))


@api.exception_handler(AuthenticationError)
def on_no_key(request: HttpRequest, error: AuthenticationError) -> JsonResponse:
    given = request.headers.get("Authorization", "").removeprefix("Bearer").strip()
    if given:
        shown = f"{given[:7]}…{given[-4:]}" if len(given) > 16 else "…"
        message = f"Incorrect API key provided: {shown}. You can make a key under Settings in Hone."
    else:
        message = (
            "You didn't provide an API key. Send it in an Authorization header: Authorization: Bearer YOUR_KEY."
            " You can make a key under Settings in Hone."
        )
    return answer(ApiError(message, status=401, code="invalid_api_key"))


@api.exception_handler(HttpError)
def on_http_error(request: HttpRequest, error: HttpError) -> JsonResponse:
    if error.status_code == 400:  # ninja raises it for one reason only
        return answer(ApiError("We could not parse the JSON body of your request.", code="invalid_json"))
    return answer(ApiError(str(error), status=error.status_code))


@api.exception_handler(Http404)
def on_missing(request: HttpRequest, error: Http404) -> JsonResponse:
    return answer(ApiError("There is no such thing, or it is not yours to see.", status=404))


@api.exception_handler(RequestDataTooBig)
def on_too_big(request: HttpRequest, error: RequestDataTooBig) -> JsonResponse:
    return answer(too_big())


def too_big() -> ApiError:
    limit = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) >> 20
    message = f"The request body is larger than {limit} MiB. Files go to POST /v1/files as multipart/form-data."
    return ApiError(message, status=413, code="request_too_large")


@api.exception_handler(SuspiciousOperation)
@api.exception_handler(MultiPartParserError)
def on_malformed(request: HttpRequest, error: Exception) -> JsonResponse:
    return answer(ApiError(f"The request cannot be read: {error}"))


@api.exception_handler(Exception)
def on_unexpected(request: HttpRequest, error: Exception) -> JsonResponse:
    """The caller gets a number to quote; the log gets the rest."""
    request_id = getattr(request, "request_id", "")
    if is_disk_full(error):
        return answer(disk_full())
    logger.exception("%s %s failed (%s)", request.method, request.path, request_id)
    message = f"The server had an error while processing your request. Its log tells more under {request_id}."
    return answer(ApiError(message, status=500, type="server_error", code="internal_error"))


@csrf_exempt
def unknown_url(request: HttpRequest, rest: str = "") -> JsonResponse:
    """Whatever no router knows: a part of OpenAI's API that Hone does not serve, or a typing error."""
    if error := not_served.refusal(rest):
        return answer(error)
    return answer(ApiError(f"Invalid URL ({request.method} {request.path})", status=404, code="unknown_url"))
