"""A worker's side of the film strip: one frame's missing answers, all asked at once, stored while they grow.

Greedy and bounded, through the same gateway as the playground. What a crash leaves unfinished is asked again.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any, Final

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from accounts.errors import ApiError
from playground import bodies, deployments, gateway
from playground.claims import is_claimed
from playground.deployments import Target
from playground.film import prompts
from playground.film.models import Frame
from playground.film.tending import row_of, target_of
from playground.limits.reserving import Grant
from playground.limits.tally import Tally
from playground.models import Deployment
from training.notify import job_changed
from training.recording import add_event
from training.usage.book import Account
from training.usage.models import Usage
from training.workers import new_claim, stopping

logger = logging.getLogger(__name__)
MOST_TOKENS: Final = 160
STORE_SECONDS: Final = 0.5
LATER: Final = {"server_stopped", "model_loading"}  # not the weights' fault: asked again when they are served again


@dataclass
class Growing:
    """One answer on its way."""

    ask: dict[str, Any]
    text: str = ""
    stop: str = ""
    error: str = ""
    calls: dict[int, dict[str, str]] = field(default_factory=dict)  # function calls, by their index

    def take(self, chunk: dict[str, Any]) -> None:
        for choice in chunk.get("choices") or []:
            delta = choice.get("delta") or {}
            self.text += delta.get("content") or choice.get("text") or ""
            for part in delta.get("tool_calls") or []:
                call = self.calls.setdefault(part.get("index", 0), {"name": "", "arguments": ""})
                for name, piece in (part.get("function") or {}).items():
                    if name in call:
                        call[name] += piece or ""
            self.stop = choice.get("finish_reason") or self.stop

    def stored(self) -> dict[str, str]:
        words = [*([self.text] if self.text else []), *(prompts.call_text(call) for call in self.calls.values())]
        return {"text": "\n".join(words), "stop": self.stop, **({"error": self.error} if self.error else {})}


def answer(frame_id: int) -> None:
    """The missing answers of one frame. A second delivery of the same message finds it claimed and leaves."""
    related = ("job__base_model", "job__start_checkpoint__base_model", "checkpoint__base_model")
    frame = Frame.objects.select_related(*related).filter(pk=frame_id).first()
    if frame is None or is_claimed(frame):
        return
    target, pinned = target_of(frame), prompts.of(frame.job)
    deployment = row_of(target)
    missing = {each.key: Growing(each.ask) for each in pinned if not frame.has_answered(each.key)}
    if deployment is None or deployment.state != Deployment.State.READY or not missing:
        return
    claim, ours = new_claim(), Frame.objects.filter(pk=frame.pk, claim=frame.claim, heartbeat_at=frame.heartbeat_at)
    if not ours.update(claim=claim, heartbeat_at=timezone.now(), failure=""):
        return
    frame.claim = claim
    only_ours = frame.asked_at is not None and deployment.used_at <= frame.asked_at
    try:
        async_to_sync(_answer_all)(frame, deployment, target, missing)
    except Exception as error:
        logger.exception("frame %s of %s", frame.pk, frame.job_id)
        Frame.objects.filter(pk=frame.pk, claim=claim).update(failure=f"The model server broke off: {error!r}")
    _leave(frame, deployment, only_ours)
    if all(one.stop for one in missing.values()):
        add_event(frame.job, f"Pinned prompts answered by {name_of(frame)}")
    job_changed(frame.job_id)


def name_of(frame: Frame) -> str:
    if frame.checkpoint is None:
        return target_of(frame).name
    return frame.checkpoint.label or f"the checkpoint of step {frame.checkpoint.step}"


def _leave(frame: Frame, deployment: Deployment, only_ours: bool) -> None:
    """Gives the claim back. Asking is use, too: what was loaded for us alone may still be put away afterwards."""
    fields: dict[str, Any] = {"claim": "", "changed_at": timezone.now(), "woken_at": None}
    if only_ours:
        deployment.refresh_from_db(fields=["used_at"])
        fields["asked_at"] = deployment.used_at
    Frame.objects.filter(pk=frame.pk, claim=frame.claim).update(**fields)


# ---- asking ----


async def _answer_all(frame: Frame, deployment: Deployment, target: Target, missing: dict[str, Growing]) -> None:
    base = deployments.base_of(target)
    account = Account(frame.job.project_id, Usage.Kind.CAMPAIGN, target.name, base.name, user=frame.job.created_by_id)
    tasks = [asyncio.create_task(_ask(deployment, target, account, one)) for one in missing.values()]
    everything = asyncio.gather(*tasks)
    try:
        while not everything.done():
            await asyncio.wait([everything], timeout=STORE_SECONDS)
            if stopping.is_set() or not await sync_to_async(_store)(frame, missing):
                break  # the worker ends, or another has taken over
        if everything.done():
            await everything
            await sync_to_async(_store)(frame, missing)
    finally:
        everything.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await everything
        await gateway.close()


async def _ask(deployment: Deployment, target: Target, account: Account, one: Growing) -> None:
    """Fills `one`; what these weights cannot answer stands in its `error`."""
    try:
        body = {**one.ask, "model": target.name, "temperature": 0, "max_tokens": MOST_TOKENS, "stream": True}
        chat = "messages" in body
        if chat:
            body = await sync_to_async(bodies.chat_body)(body, target)
        body = bodies.prepare(body, deployment.served_name)
        path = "/v1/chat/completions" if chat else "/v1/completions"
        upstream = await gateway.send(deployment, path, body, target.name)
        with Tally(Grant(), body, account) as tally:
            async with contextlib.aclosing(gateway.chunks(upstream, deployment)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    tally.see(chunk)
                    if "error" in chunk:
                        raise ApiError(chunk["error"]["message"], code=chunk["error"]["code"])
                    one.take(chunk)
        one.stop = one.stop or "stop"
    except ApiError as error:
        if error.code not in LATER:
            one.stop, one.error = "error", error.message


def _store(frame: Frame, growing: dict[str, Growing]) -> bool:
    """What has come so far, if it changed; False: the frame is another worker's now."""
    kept = dict(frame.answers)
    kept.update({key: one.stored() for key, one in growing.items() if one.text or one.calls or one.stop})
    now = timezone.now()
    ours = Frame.objects.filter(pk=frame.pk, claim=frame.claim)
    if kept == frame.answers:
        return bool(ours.update(heartbeat_at=now))
    frame.answers = kept
    if not ours.update(answers=kept, heartbeat_at=now, changed_at=now):
        return False
    job_changed(frame.job_id)
    return True
