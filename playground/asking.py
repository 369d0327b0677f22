"""Asking any model that can stand in a column: a base model, a checkpoint, an alias, or somebody else's server.

    async with contextlib.aclosing(ask(project, "ft:…", {"messages": [...], "temperature": 0})) as chunks:
        async for chunk in chunks: ...

`ready` first and `stream` then do the same in two steps, for callers that measure the time to the first token.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async

from accounts.errors import ApiError
from accounts.models import Project
from playground import bodies, deployments, gateway
from playground.deployments import Target
from playground.external import calling
from playground.external.models import PREFIX, ExternalModel
from playground.models import Deployment
from training.usage.book import Account
from training.usage.models import Usage


@dataclass(frozen=True)
class Ready:
    """A model that can be asked now. An external one has no deployment and no proof."""

    target: Target | ExternalModel
    deployment: Deployment | None = None
    account: Account | None = None  # in whose usage its answers are recorded; somebody else's server counts itself

    def stream(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of one answer; see `ask`."""
        if isinstance(self.target, ExternalModel):
            return calling.stream(self.target, body)
        return gateway.stream_chat(self.target, _fitting(self.target, body), account=self.account)


def find(project: Project, model_name: str) -> Target | ExternalModel:
    """Raises ApiError 404."""
    if model_name.startswith(PREFIX):
        found = ExternalModel.objects.of(project).kept().filter(pk=model_name).first()
        if found:
            return found
    return deployments.find_target(project, model_name)


async def ready(
    project: Project,
    model_name: str,
    wait_seconds: float = gateway.PAGE_WAIT_SECONDS,
    on_progress: gateway.Progress | None = None,
    *,
    kind: str = Usage.Kind.CAMPAIGN,
    user: int | None = None,
) -> Ready:
    """Once it can answer: one of ours is loaded first, if it has to be. `kind`, `user`: for the usage. Raises
    ApiError."""
    target = await sync_to_async(find)(project, model_name)
    if isinstance(target, ExternalModel):
        return Ready(target)
    account = Account(project.pk, kind, target.name, deployments.base_of(target).name, user=user)
    return Ready(target, await gateway.ready(target, wait_seconds, on_progress), account)


async def ask(
    project: Project,
    model_name: str,
    body: dict[str, Any],
    *,
    wait_seconds: float = gateway.PAGE_WAIT_SECONDS,
    on_progress: gateway.Progress | None = None,
) -> AsyncIterator[dict[str, Any]]:
    """One answer as chunks of OpenAI's API, the last with `usage`. `body` is a chat body with `messages`; `model` and
    `stream` are set here. A base model without a chat template is given the bare text of the messages, and its chunks
    carry `text` instead of `delta`.

    Raises ApiError, in the middle of an answer, too. Closing the iterator stops the generation.
    """
    one = await ready(project, model_name, wait_seconds, on_progress)
    async with contextlib.aclosing(one.stream(body)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            yield chunk


def _fitting(target: Target, body: dict[str, Any]) -> dict[str, Any]:
    """As a chat, or for a base model without a chat template as bare text."""
    if "messages" not in body or bodies.has_chat_template(target):
        return body
    if body.get("tools"):
        raise ApiError("A base model without a chat template cannot be given tools. Remove them, or it.", param="tools")
    rest = {name: value for name, value in body.items() if name != "messages"}
    return rest | {"prompt": "\n\n".join(str(message.get("content") or "") for message in body["messages"])}
