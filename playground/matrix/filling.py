"""A worker's side of a matrix: one contender after another, several prompts at once, each answer stored as it is there.

One after another, because two models that do not fit beside each other would put each other away with every prompt.
What a crash or a restart leaves unanswered is asked for again by whoever tends next.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any, Final

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from accounts.errors import ApiError
from playground import asking
from playground.asking import Ready
from playground.claims import done_while_held, held, is_claimed, lost
from playground.external.models import ExternalModel
from playground.film.answering import LATER, Growing
from playground.matrix import matrices
from playground.matrix.models import KeptAnswer, Matrix, Prompt, contender
from playground.models import Deployment
from training.models import Checkpoint
from training.notify import project_changed

logger = logging.getLogger(__name__)
MATRICES: Final = 2  # being filled at a time, so that a worker's other threads stay free for short work
AT_ONCE: Final = 8  # prompts that one model is asked at a time: vLLM batches them
TRIES: Final = 3  # of one prompt, where the server stopped under it
PAUSE_SECONDS: Final = 2.0
WAITS: Final = {"model_loading", "not_serving"}  # not the model's fault: its turn comes


def fill(matrix_id: str) -> None:
    """The missing answers of one matrix. A second delivery of the same message finds it claimed and leaves."""
    matrix = Matrix.objects.select_related("project", "prompt_set").filter(pk=matrix_id).first()
    if matrix is None or matrix.state != Matrix.State.ANSWERING:
        return
    if sum(map(is_claimed, Matrix.objects.exclude(claim="").exclude(pk=matrix.pk))) >= MATRICES:
        return  # told again when one of them is done
    with held(matrix) as ours:
        if ours:
            async_to_sync(_fill)(matrix)
    project_changed(matrix.project_id)


async def _fill(matrix: Matrix) -> None:
    if await done_while_held(matrix, Matrix.State.ANSWERING, _answer_columns(matrix)):
        await sync_to_async(_finish)(matrix)


def _finish(matrix: Matrix) -> None:
    """Done, unless somebody added a contender meanwhile: then whoever tends next goes on."""
    done = Matrix.objects.filter(pk=matrix.pk, claim=matrix.claim, columns=matrix.columns)
    done.filter(state=Matrix.State.ANSWERING).update(state=Matrix.State.DONE, finished_at=timezone.now())


async def _answer_columns(matrix: Matrix) -> None:
    for column in matrix.columns:
        key = contender(column, matrix.system_prompt, matrix.settings)
        missing = await sync_to_async(_missing)(matrix, key)
        if not missing:
            continue
        try:
            await _answer_column(matrix, column, key, missing)
        except ApiError as error:
            await sync_to_async(_note_trouble)(matrix, key, error.message)


def _missing(matrix: Matrix, key: str) -> list[Prompt]:
    kept = KeptAnswer.objects.filter(project=matrix.project, contender=key).values("prompt")
    return list(matrix.prompt_set.prompts.exclude(key__in=kept))


def _note_trouble(matrix: Matrix, key: str, reason: str) -> None:
    """Why this contender does not answer; empty when it does again."""
    matrix.refresh_from_db(fields=["troubles"])
    if matrix.troubles.get(key, "") == reason:
        return
    others = {name: why for name, why in matrix.troubles.items() if name != key}
    told = others | {key: reason} if reason else others
    Matrix.objects.filter(pk=matrix.pk, claim=matrix.claim).update(troubles=told)
    project_changed(matrix.project_id)


async def _answer_column(matrix: Matrix, column: dict[str, Any], key: str, missing: list[Prompt]) -> None:
    """Raises ApiError when the model cannot answer at all."""
    model = await _ready(matrix, column, key)  # once, apart from the answers: loading is no latency
    room = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for prompt in missing:
            group.create_task(_answer_one(matrix, column, key, model, prompt, room))


async def _ready(matrix: Matrix, column: dict[str, Any], key: str) -> Ready:
    """Waits for as long as it takes, while another job trains or nobody serves; the page says for what. Raises ApiError
    when the model itself cannot be served."""
    while True:
        try:
            model = await asking.ready(matrix.project, column["model"], user=matrix.created_by_id)
            break
        except ApiError as error:
            if error.code not in WAITS:
                raise
            await sync_to_async(_note_trouble)(matrix, key, error.message)
            await asyncio.sleep(PAUSE_SECONDS)
    await sync_to_async(_note_trouble)(matrix, key, "")
    return model


async def _answer_one(
    matrix: Matrix, column: dict[str, Any], key: str, model: Ready, prompt: Prompt, room: asyncio.Semaphore
) -> None:
    async with room:
        kept = KeptAnswer(project=matrix.project, contender=key, prompt=prompt.key, model=column["model"])
        for attempt in range(TRIES):
            try:
                await _ask(matrix, column, model, prompt, kept)
                break
            except ApiError as error:
                if error.code in LATER and attempt + 1 < TRIES:
                    await asyncio.sleep(PAUSE_SECONDS)
                    continue
                kept.error = error.message
                break
        await sync_to_async(_keep)(matrix, model, kept)


async def _ask(matrix: Matrix, column: dict[str, Any], model: Ready, prompt: Prompt, kept: KeptAnswer) -> None:
    growing, asked, first = Growing({}), time.monotonic(), 0.0
    body = body_for(matrix, column, prompt)
    if "prompt" in body and isinstance(model.target, ExternalModel):  # others' servers are asked as a chat
        body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
    async with contextlib.aclosing(model.stream(body)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            growing.take(chunk)
            if (growing.text or growing.calls) and not first:
                first = time.monotonic() - asked
            if usage := chunk.get("usage"):
                kept.prompt_tokens, kept.completion_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
    kept.text, kept.stop_reason = growing.text, growing.stop or "stop"
    kept.tool_calls = list(growing.calls.values())
    kept.first_token_seconds, kept.seconds = first or None, time.monotonic() - asked


def body_for(matrix: Matrix, column: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """What is asked: the prompt under this contender's system prompt and settings."""
    own = {name: value for name, value in (column.get("settings") or {}).items() if value is not None}
    body = {name: value for name, value in {**matrix.settings, **own}.items() if value is not None}
    body |= prompt.ask
    system = column.get("system", matrix.system_prompt or None)
    if system is not None and "messages" in body:
        others = [message for message in body["messages"] if message.get("role") not in ("system", "developer")]
        body["messages"] = [*([{"role": "system", "content": system}] if system.strip() else []), *others]
    return body


def _keep(matrix: Matrix, model: Ready, kept: KeptAnswer) -> None:
    """The first to answer is the one that is kept: another matrix may have asked the same at the same time."""
    row = Deployment.objects.filter(pk=model.deployment.pk).first() if model.deployment else None
    kept.checkpoint = model.target if isinstance(model.target, Checkpoint) else None
    kept.proof = {"state": row.proof, **(row.proof_json or {})} if row else None
    KeptAnswer.objects.bulk_create([kept], ignore_conflicts=True)
    project_changed(matrix.project_id)


# ---- now and then, from `manage.py serve` ----


def tend() -> None:
    """Tells a worker again of what nobody answers: its message was lost, or its worker."""
    for matrix in lost(Matrix.objects.filter(state=Matrix.State.ANSWERING)):
        matrices.wake_for(matrix)
