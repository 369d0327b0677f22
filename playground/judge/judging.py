"""A worker's side of a judge run: several questions at once, each verdict stored as it is there.

What a crash or a restart leaves unasked is asked by whoever tends next; nothing is asked twice.
"""

import asyncio
import contextlib
import logging
from typing import Final

from asgiref.sync import async_to_sync, sync_to_async
from django.utils import timezone

from accounts.errors import ApiError
from playground import asking
from playground.claims import done_while_held, held, lost
from playground.film.answering import LATER, Growing
from playground.judge import runs
from playground.judge.models import JudgeRun, JudgeVerdict
from playground.judge.questions import MOST_REPLY_TOKENS, question, read
from playground.judge.runs import Question
from playground.matrix.models import KeptAnswer
from training.notify import project_changed

logger = logging.getLogger(__name__)
AT_ONCE: Final = 8  # questions that the judge is asked at a time
TRIES: Final = 3
PAUSE_SECONDS: Final = 2.0
MOST_REPLY: Final = 2000  # characters of a reply that are kept


def judge(run_id: str) -> None:
    """The missing verdicts of one run. A second delivery of the same message finds it claimed and leaves."""
    run = JudgeRun.objects.select_related("project", "matrix__prompt_set", "campaign").filter(pk=run_id).first()
    if run is None or run.state != JudgeRun.State.RUNNING:
        return
    with held(run) as ours:
        if ours:
            async_to_sync(_judge)(run)
    project_changed(run.project_id)


async def _judge(run: JudgeRun) -> None:
    try:
        done = await done_while_held(run, JudgeRun.State.RUNNING, _ask_all(run))
    except Exception as problem:  # of the judge's model, or ours: the run ends and says so
        await sync_to_async(_finish)(run, problem)
    else:
        if done:
            await sync_to_async(_finish)(run, None)


def _finish(run: JudgeRun, problem: Exception | None) -> None:
    if isinstance(problem, ExceptionGroup):
        problem = problem.exceptions[0]
    if problem and not isinstance(problem, ApiError):
        logger.error("the judge run %s broke", run.pk, exc_info=problem)
    trouble = "" if problem is None else getattr(problem, "message", "") or "It broke; the worker's log says where."
    ours = JudgeRun.objects.filter(pk=run.pk, claim=run.claim, state=JudgeRun.State.RUNNING)
    state = JudgeRun.State.FAILED if problem else JudgeRun.State.DONE
    ours.update(state=state, trouble=trouble, finished_at=timezone.now())


async def _ask_all(run: JudgeRun) -> None:
    """Raises ApiError, alone or in a group, when the model cannot answer."""
    wanted = await sync_to_async(runs.missing)(run)
    if not wanted:
        return
    prompts = {prompt.key: prompt.ask async for prompt in run.matrix.prompt_set.prompts.all()}
    kept = KeptAnswer.objects.filter(project=run.project, contender__in=run.matrix.contenders, error="")
    texts = {(answer.prompt, answer.contender): _shown(answer) async for answer in kept}
    one = await asking.ready(run.project, run.model, user=run.created_by_id)
    room = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for each in wanted:
            left, right = texts[each.prompt, each.left], texts[each.prompt, each.right]
            messages = question(run.rubric, prompts[each.prompt], left, right)
            group.create_task(_ask_one(run, one, each, messages, room))


def _shown(answer: KeptAnswer) -> str:
    """The text, with the calls of functions behind it."""
    calls = [f"{call.get('name')}({call.get('arguments')})" for call in answer.tool_calls]
    return "\n".join([*([answer.text] if answer.text else []), *calls])


async def _ask_one(
    run: JudgeRun, one: asking.Ready, asked: Question, messages: list[dict[str, str]], room: asyncio.Semaphore
) -> None:
    body = {"messages": messages, "temperature": 0, "max_tokens": MOST_REPLY_TOKENS}
    async with room:
        for attempt in range(TRIES):
            growing = Growing({})
            try:
                async with contextlib.aclosing(one.stream(body)) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        growing.take(chunk)
                break
            except ApiError as error:
                if error.code not in LATER or attempt + 1 == TRIES:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
    await sync_to_async(_keep)(run, asked, growing.text)


def _keep(run: JudgeRun, asked: Question, reply: str) -> None:
    said = JudgeVerdict(
        project=run.project,
        model=run.model,
        rubric=run.rubric_key,
        prompt=asked.prompt,
        left=asked.left,
        right=asked.right,
        choice=read(reply),
        reply=reply[:MOST_REPLY],
    )
    JudgeVerdict.objects.bulk_create([said], ignore_conflicts=True)
    project_changed(run.project_id)


# ---- now and then, from `manage.py serve` ----


def tend() -> None:
    """Tells a worker again of what nobody judges: its message was lost, or its worker."""
    for run in lost(JudgeRun.objects.filter(state=JudgeRun.State.RUNNING)):
        runs.wake_for(run)
