"""/v1/chat/completions and /v1/completions: passed through to the vLLM that holds the model, streaming and not."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from playground import gateway
from playground.deployments import Target

router = Router()
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy may hold tokens back


@router.post("/chat/completions")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer a conversation with a base model or a fine-tuned one."""
    return await pass_through(request, "/v1/chat/completions", gateway.chat_body)


@router.post("/completions")
async def completions(request: HttpRequest) -> HttpResponseBase:
    """Continue a text with a base model or a fine-tuned one."""
    return await pass_through(request, "/v1/completions", gateway.completion_body)


async def pass_through(
    request: HttpRequest, path: str, words: Callable[[dict[str, Any], Target], dict[str, Any]]
) -> HttpResponseBase:
    payload = gateway.parse(request.body)
    asked = payload["model"]
    look = sync_to_async(gateway.first_look)
    target, payload, deployment = await look(request.project, payload, words)  # type: ignore[attr-defined]
    deployment = deployment or await gateway.ready(target)
    body = gateway.prepare(payload, deployment.served_name)
    upstream = await gateway.send(deployment, path, body, asked)
    if not body.get("stream"):
        return HttpResponse(await gateway.whole(upstream, asked), content_type="application/json")
    response = StreamingHttpResponse(
        gateway.relay(upstream, deployment, asked), content_type="text/event-stream", headers=STREAM_HEADERS
    )
    response._resource_closers.append(upstream.close)  # a caller who left before the first token
    return response
