"""The playground's websocket: one for a page, all columns stream over it at the same time.

The page says open, send, stop, retry (playground.forms). It hears:
    {"type": "states", "columns": [{"state", "words", "verified"}]}   of the models; blind: {"type": "waiting", ...}
    {"type": "started", "comparison", "address", "turn", "prompt"}    a message went to every column
    {"type": "text", "columns": {"0": "piece", ...}}                  at most 20 a second; never when blind
    {"type": "finished", "column", "figures", "error"}                one column; blind: {"type": "progress", ...}
    {"type": "settled", "turn"}                                       all columns: fetch how it looks now
    {"type": "error", "message", "param"}                             param: the field at fault, "setup.tools", or null
A page that goes away stops its answers; what had come is stored, and the page that comes back shows it.
"""

import asyncio
import json
import logging
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.urls import URLPattern, path

from accounts.errors import ApiError
from accounts.models import Membership, Project, User
from accounts.roles import Role, may, refusal, role_of
from playground import comparisons, contenders, deployments, figures, sheets, streams, views
from playground.comparisons import Answer
from playground.forms import Open, Retry, Send, Stop, parse_frame
from playground.models import Comparison, Deployment, Turn

logger = logging.getLogger(__name__)
FRAME_SECONDS = 0.05
LOOK_SECONDS = 1.0
SIGNED_OUT, NO_PROJECT = 4401, 4403


class PlaygroundConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.comparison: Comparison | None = None
        self.models: list[str] = []
        self.turn: Turn | None = None
        self.running: dict[int, asyncio.Task[None]] = {}  # from question to stored row; never cancelled
        self.streams: dict[int, asyncio.Task[Deployment | None]] = {}  # the part of it that a person can stop
        self.pieces: dict[int, str] = {}
        self.flushing: asyncio.Task[None] | None = None
        self.watching: asyncio.Task[None] | None = None
        self.user: User = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close(code=SIGNED_OUT)
            return
        chosen = self.scope["session"].get("project", "")
        membership = await database_sync_to_async(Membership.objects.current)(self.user.pk, chosen)
        if membership is None:
            await self.close(code=NO_PROJECT)
            return
        self.project = membership.project
        await self.accept()

    async def disconnect(self, code: int) -> None:
        """Nobody listens any more: stop everything, store what there is."""
        for task in (self.watching, self.flushing):
            if task:
                task.cancel()
        await self._stop(None)
        await asyncio.gather(*self.running.values(), return_exceptions=True)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        try:
            return json.loads(text_data)
        except ValueError:
            return None  # parse_frame answers it

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        role = await database_sync_to_async(role_of)(self.user, self.project)  # it may have changed meanwhile
        if role is None:
            await self.close(code=NO_PROJECT)
            return
        try:
            frame = parse_frame(content)
            if isinstance(frame, Open):
                await self._open(frame, wanting=may(role, Role.EVALUATOR))
            elif not may(role, Role.EVALUATOR):
                raise ApiError(refusal(role, Role.EVALUATOR, self.project), status=403)
            elif isinstance(frame, Send):
                await self._send_turn(frame)
            elif isinstance(frame, Stop):
                await self._stop(frame.column)
            elif isinstance(frame, Retry):
                await self._retry(frame)
        except ApiError as error:
            await self.send_json({"type": "error", "message": error.message, "param": error.param})

    # ---- what the page asks for ----

    async def _open(self, frame: Open, wanting: bool) -> None:
        """The page is there: have its models loaded, unless only a reader looks, and tell how far they are."""
        if frame.comparison:
            self.comparison = await database_sync_to_async(_comparison)(self.project, frame.comparison)
            self.models = [column["model"] for column in self.comparison.columns]
            self.turn = await self.comparison.turns.order_by("-position").afirst()
        else:
            self.models = frame.models
        if wanting:
            await database_sync_to_async(_want_all)(self.project, self.models)
        if self.watching is None:
            self.watching = asyncio.create_task(self._watch())

    async def _send_turn(self, frame: Send) -> None:
        if self.running:
            raise ApiError("The answers are still coming. Stop them first, or wait.", status=409)
        if self.comparison is None:
            if frame.setup is None:
                raise ApiError("Choose a model first.", param="setup")
            self.comparison = await database_sync_to_async(comparisons.start_comparison)(
                project=self.project, user=self.user, setup=frame.setup
            )
            self.models = [column["model"] for column in self.comparison.columns]
        self.turn = await database_sync_to_async(comparisons.add_turn)(
            comparison=self.comparison, prompt=frame.prompt, setup=frame.setup
        )
        address = await database_sync_to_async(views.address)(self.comparison)
        started = {"comparison": self.comparison.pk, "address": address, "turn": self.turn.position}
        await self.send_json({"type": "started", **started, "prompt": frame.prompt})
        self._run(range(len(self.comparison.columns)))

    async def _stop(self, column: int | None) -> None:
        for index, stream in self.streams.items():
            if column is None or column == index:
                stream.cancel()

    async def _retry(self, frame: Retry) -> None:
        """One column again, or every one that has no answer; a blind page can only ask for the latter."""
        if self.turn is None or self.comparison is None:
            raise ApiError("There is nothing to retry yet.")
        blind_only_failed = self.comparison.blind or frame.column is None
        wanted = await database_sync_to_async(_unanswered)(self.turn) if blind_only_failed else [frame.column]
        columns = [index for index in wanted if index is not None and index not in self.running]
        await database_sync_to_async(comparisons.check_can_be_replaced)(self.turn, columns)
        if any(not 0 <= index < len(self.comparison.columns) for index in columns):
            raise ApiError("There is no such column.", param="column")
        await database_sync_to_async(_want_all)(self.project, self.models)  # a model that failed is tried again
        self._run(columns)

    # ---- answering ----

    def _run(self, columns: Any) -> None:
        assert self.turn
        for index in columns:
            self.running[index] = asyncio.create_task(self._answer(self.turn, index))

    async def _answer(self, turn: Turn, column: int) -> None:
        """One column from question to stored row; stopped, it stores what has come."""
        answer, deployment = Answer(), None
        stream = asyncio.create_task(streams.answer_turn(turn, column, answer, lambda text: self._say(column, text)))
        self.streams[column] = stream
        try:
            deployment = await stream
        except asyncio.CancelledError:
            answer.stop_reason = "stopped"  # before it had begun
        if answer.stop_reason == "stopped" and not answer.text and not answer.tool_calls:
            answer.error = "Stopped before it answered."
        await self._store(turn, column, answer, deployment)
        await self._flush()
        del self.running[column], self.streams[column]
        await self._tell_finished(turn, column, answer)

    async def _store(self, turn: Turn, column: int, answer: Answer, deployment: Deployment | None) -> None:
        try:
            await database_sync_to_async(comparisons.record_response)(
                turn=turn, column=column, answer=answer, deployment=deployment
            )
        except ApiError as error:
            answer.error = error.message
        except Exception:
            logger.exception("could not store column %s of turn %s", column, turn.pk)
            answer.error = "The answer could not be stored. Is the disk full?"

    async def _tell_finished(self, turn: Turn, column: int, answer: Answer) -> None:
        assert self.comparison
        of = len(self.comparison.columns)
        if self.comparison.blind:
            await self._tell({"type": "progress", "finished": of - len(self.running), "of": of})
        else:
            said = figures.line(answer)
            await self._tell({"type": "finished", "column": column, "figures": said, "error": answer.error})
        if not self.running:
            await self._tell({"type": "settled", "turn": turn.position})

    def _say(self, column: int, text: str) -> None:
        """Text is gathered and sent 20 times a second; a blind page hears nothing before all is there."""
        if self.comparison is None or self.comparison.blind:
            return
        self.pieces[column] = self.pieces.get(column, "") + text
        if self.flushing is None or self.flushing.done():
            self.flushing = asyncio.create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        await asyncio.sleep(FRAME_SECONDS)
        await self._flush()

    async def _flush(self) -> None:
        pieces, self.pieces = self.pieces, {}
        if pieces:
            await self._tell({"type": "text", "columns": {str(index): text for index, text in pieces.items()}})

    async def _tell(self, message: dict[str, Any]) -> None:
        """To the page if it is still there."""
        try:
            await self.send_json(message)
        except Exception:
            logger.debug("the page is gone", exc_info=True)

    # ---- the models' states ----

    async def _watch(self) -> None:
        """Tells what changes about the models while the page is open."""
        told: Any = None
        while True:
            try:
                blind = bool(self.comparison and self.comparison.blind)
                message = await database_sync_to_async(_states)(self.project, self.models, blind)
                if message != told:
                    told = message
                    await self._tell(message)
            except Exception:
                logger.exception("could not look at the states of %s", self.models)
            await asyncio.sleep(LOOK_SECONDS)


def _comparison(project: Project, comparison_id: str) -> Comparison:
    found = Comparison.objects.of(project).filter(pk=comparison_id).select_related("project").first()
    if found is None:
        raise ApiError("This comparison does not exist.", status=404)
    return found


def _want_all(project: Project, models: list[str]) -> None:
    """Asks for every model that is there; one that has been deleted is told by its column."""
    for contender in contenders.named(project, models):
        target = contender.checkpoint or contender.base
        if target:
            deployments.want_target(target)


def _unanswered(turn: Turn) -> list[int]:
    answered = {response.column for response in turn.responses.all() if not response.error}
    return [index for index in range(len(turn.comparison.columns)) if index not in answered]


def _states(project: Project, models: list[str], blind: bool) -> dict[str, Any]:
    """Each column's state; blind only how many are ready, since a state can tell a base from its checkpoint."""
    found = contenders.named(project, models)
    if blind:
        ready = sum(one.external is not None or _is_ready(one.deployment) for one in found)
        return {"type": "waiting", "ready": ready, "of": len(found)}
    return {"type": "states", "columns": [_state(one) for one in found]}


def _is_ready(deployment: Deployment | None) -> bool:
    return bool(deployment and deployment.state == Deployment.State.READY)


def _state(contender: contenders.Contender) -> dict[str, Any]:
    if contender.gone:
        return {"state": "failed", "words": contender.gone_words, "verified": False}
    if contender.external:
        return {"state": "external", "words": "", "verified": False}
    deployment = contender.deployment
    state = deployment.state if deployment else Deployment.State.OFF
    return {"state": state, "words": sheets.state_words(deployment), "verified": contender.verified}


routes: list[URLPattern] = [path("ws/playground/", PlaygroundConsumer.as_asgi())]
