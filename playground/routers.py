"""/v1/chat/completions and /v1/completions: passed through to the vLLM that holds the model, streaming and not."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from accounts.models import ApiKey, Project
from playground import asked, fairness, gateway
from playground.deployments import Target, base_of
from playground.limits.reserving import estimate, reserve
from playground.limits.tally import Tally
from playground.models import Deployment
from training.usage.book import Account
from training.usage.models import Usage

Words = Callable[[dict[str, Any], Target], dict[str, Any]]
router = Router()
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy may hold tokens back


@router.post("/chat/completions")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer a conversation with a base model or a fine-tuned one."""
    return await pass_through(request, "/v1/chat/completions", asked.AskChat, gateway.chat_body)


@router.post("/completions")
async def completions(request: HttpRequest) -> HttpResponseBase:
    """Continue a text with a base model or a fine-tuned one."""
    return await pass_through(request, "/v1/completions", asked.AskCompletion, gateway.completion_body)


async def pass_through(request: HttpRequest, path: str, ask: type[asked.Asked], words: Words) -> HttpResponseBase:
    payload = gateway.parse(request.body)
    asked.check(ask, payload)
    name = payload["model"]
    target, payload, deployment, tally = await sync_to_async(admit)(request, payload, words)
    with tally.failing(), ExitStack() as ends:
        deployment = deployment or await gateway.ready(target)
        body = gateway.prepare(payload, deployment.served_name)
        place = await fairness.enter(deployment.url, request.project.pk)  # type: ignore[attr-defined]
        ends.callback(place.close)
        upstream = await gateway.send(deployment, path, body, name)
        upstream.content.on_eof(place.close)  # vLLM has said all of it, however slowly its caller reads
        if not body.get("stream"):
            content = await gateway.whole(upstream, name, tally)
            tally.close()
            return HttpResponse(content, content_type="application/json", headers=tally.headers)
        ends.pop_all()
    response = StreamingHttpResponse(
        gateway.relay(upstream, deployment, name, tally),
        content_type="text/event-stream",
        headers=STREAM_HEADERS | tally.headers,
    )
    # also of a caller who left before the first token
    response._resource_closers += [upstream.close, place.close, tally.close]
    return response


def admit(
    request: HttpRequest, payload: dict[str, Any], words: Words
) -> tuple[Target, dict[str, Any], Deployment | None, Tally]:
    """What `gateway.first_look` finds, once this project may ask it now: in one go with it. Raises ApiError."""
    project: Project = request.project  # type: ignore[attr-defined]
    target, body, deployment = gateway.first_look(project, payload, words)
    grant = reserve(project, base_of(target).name, payload["model"], estimate(body))
    key: ApiKey = request.api_key  # type: ignore[attr-defined]
    kind = Usage.Kind.CHAT if "messages" in body else Usage.Kind.COMPLETION
    account = Account(project.pk, kind, target.name, base_of(target).name, key.pk, key.user_id)
    return target, body, deployment, Tally(grant, body, account)
