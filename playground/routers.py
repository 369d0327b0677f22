"""/v1/chat/completions and /v1/completions: passed through to the vLLM that holds the model, streaming and not."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from accounts.models import ApiKey, Project
from playground import asked, bodies, fairness, gateway
from playground.answering import Answering
from playground.deployments import Target, base_of
from playground.limits.reserving import estimate, reserve
from playground.limits.tally import Tally
from playground.models import Deployment
from training.usage.book import Account
from training.usage.models import Usage

Words = Callable[[dict[str, Any], Target], dict[str, Any]]
ASKED: dict[str, tuple[type[asked.Asked], Words]] = {
    "/v1/chat/completions": (asked.AskChat, bodies.chat_body),
    "/v1/completions": (asked.AskCompletion, bodies.completion_body),
}
router = Router()
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy may hold tokens back


@router.post("/chat/completions")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer a conversation with a base model or a fine-tuned one."""
    return await pass_through(request, "/v1/chat/completions")


@router.post("/completions")
async def completions(request: HttpRequest) -> HttpResponseBase:
    """Continue a text with a base model or a fine-tuned one."""
    return await pass_through(request, "/v1/completions")


@dataclass(frozen=True)
class Admitted:
    """What may be asked now: `body` in the model's words, `name` as the caller calls it; `deployment` where it answers
    already."""

    name: str
    target: Target
    body: dict[str, Any]
    deployment: Deployment | None
    tally: Tally


def admit(request: HttpRequest) -> Admitted:
    """All that a question needs of the database, for whoever checks its key: in one go, because each change of thread
    delays the first token. Raises ApiError, or ninja's ValidationError."""
    payload = bodies.parse(request.body)
    ask, words = ASKED[request.path_info]
    asked.check(ask, payload)
    project: Project = request.project  # type: ignore[attr-defined]
    target, body, deployment = gateway.first_look(project, payload, words, request.came_at)  # type: ignore[attr-defined]
    grant = reserve(project, base_of(target).name, payload["model"], estimate(body))
    key: ApiKey = request.api_key  # type: ignore[attr-defined]
    kind = Usage.Kind.CHAT if "messages" in body else Usage.Kind.COMPLETION
    account = Account(project.pk, kind, target.name, base_of(target).name, key.pk, key.user_id)
    return Admitted(payload["model"], target, body, deployment, Tally(grant, body, account))


async def pass_through(request: HttpRequest, path: str) -> HttpResponseBase:
    given: Admitted = request.admitted  # type: ignore[attr-defined]
    name, tally = given.name, given.tally
    with tally.failing(), ExitStack() as ends:
        deployment = given.deployment or await gateway.ready(given.target)
        body = bodies.prepare(given.body, deployment.served_name)
        place = await fairness.enter(deployment.url, request.project.pk)  # type: ignore[attr-defined]
        ends.callback(place.close)
        tally.is_asked = True
        answering = Answering(await gateway.send(deployment, path, body, name), place, tally)
        if not body.get("stream"):
            content = await gateway.whole(answering.upstream, name, tally)
            tally.close()
            return HttpResponse(content, content_type="application/json", headers=tally.headers)
        ends.pop_all()
    response = StreamingHttpResponse(
        gateway.relay(answering, deployment, name),
        content_type="text/event-stream",
        headers=STREAM_HEADERS | tally.headers,
    )
    response._resource_closers.append(answering.close)
    return response
