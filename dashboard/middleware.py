"""The borders: every answer under /v1 has OpenAI's headers, every error OpenAI's shape; a full disk has a page."""

import logging
import time
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.urls import resolve

from accounts.errors import ApiError, is_disk_full
from accounts.ids import new_id
from dashboard import not_served

logger = logging.getLogger(__name__)
API_VERSION = "2020-10-01"


class ApiAnswers:
    """Stands first, so that it also sees what other middleware and Django itself answer. Sync and async."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._answer(request)
        if not request.path.startswith("/v1/"):
            return without_v1(request) or self.get_response(request)
        _begin(request)
        return _finished(request, self.get_response(request))

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith("/v1/"):
            return without_v1(request) or await self.get_response(request)
        _begin(request)
        return _finished(request, await self.get_response(request))


def without_v1(request: HttpRequest) -> JsonResponse | None:
    """To a caller with a key who left /v1 out of the address: an SDK would take the sign-in page for an answer."""
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        return None
    if resolve(f"/v1{request.path_info}").url_name == "unknown-url":
        return None
    message = f"The API is at {request.scheme}://{request.get_host()}/v1: set base_url to that. This is {request.path}."
    return JsonResponse(ApiError(message, status=404, code="unknown_url").body(), status=404)


def _begin(request: HttpRequest) -> None:
    request.request_id = new_id("req_")  # type: ignore[attr-defined]
    request.came_at = time.monotonic()  # type: ignore[attr-defined]


def _finished(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    response = in_shape(request, response)
    response["x-request-id"] = request.request_id  # type: ignore[attr-defined]
    response["openai-version"] = API_VERSION
    response["openai-organization"] = settings.HONE_ORG
    response["openai-processing-ms"] = str(round((time.monotonic() - request.came_at) * 1000))  # type: ignore[attr-defined]
    response.setdefault("X-Content-Type-Options", "nosniff")
    if not response.streaming and not response.has_header("Content-Length"):
        response["Content-Length"] = str(len(response.content))
    return response


class DiskFullPage:
    """What no view foresaw: the database cannot write because the disk is full."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if request.path.startswith("/v1/") or not is_disk_full(error):
            return None
        logger.error("%s %s: the disk is full: %s", request.method, request.path, error)
        return HttpResponse(render_to_string("507.html"), status=507)


def in_shape(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Replaces an error page (Django's own 400, 404, 405, 500) by the error object."""
    if response.status_code < 400 or response.get("Content-Type", "").startswith("application/json"):
        return response
    error = error_for(request, response)
    kept = {"Allow": response["Allow"]} if "Allow" in response else {}
    return JsonResponse(error.body(), status=error.status, headers=kept)


def error_for(request: HttpRequest, response: HttpResponse) -> ApiError:
    status = response.status_code
    if status == 404:
        return ApiError(f"Invalid URL ({request.method} {request.path})", status=404, code="unknown_url")
    if status == 405 and request.method == "GET" and (absent := not_served.refusal(request.path.removeprefix("/v1/"))):
        return absent  # the list of stored completions has the address of chat itself
    if status == 405:
        allowed = response.get("Allow", "")
        return ApiError(
            f"Not allowed to {request.method} on {request.path}. Allowed: {allowed}.",
            status=405,
            code="method_not_supported",
        )
    if status >= 500:
        request_id = getattr(request, "request_id", "")
        message = f"The server had an error while processing your request. Its log tells more under {request_id}."
        return ApiError(message, status=status, type="server_error", code="internal_error")
    return ApiError("The server cannot read this request.", status=status)
