"""Websockets of a job and of a project.

The channel layer only says "there is news"; a lost word costs at most one look at the database, never a point.
"""

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.db.models import Count, F, Max, Sum
from django.urls import URLPattern, path

from accounts.models import Membership, Project
from dashboard import job_marks
from dashboard.curves import ROW_FIELDS, rows_after
from dashboard.job_marks import STATE_FIELDS, marks_of
from playground.matrix.models import KeptAnswer, Matrix
from playground.models import Deployment
from training.models import BaseModel, DatasetFile, TrainingJob

logger = logging.getLogger(__name__)
POLL_SECONDS: Final = 2.0
ALIVE_SECONDS: Final = 15.0  # a page that hears nothing for three times as long connects again
STATE_SECONDS: Final = 1.0  # the parts of the page are looked at no more often than this
STATE_SHARE: Final = 0.2  # of the time at most goes into looking at them: less often on a machine that is slow now
ROWS_A_MESSAGE: Final = 500
NOT_FOUND: Final = 4404  # for a stranger and for a deleted job alike


class NewsConsumer(AsyncJsonWebsocketConsumer):
    """Joins one group and runs `look` on every word of news, and now and then without one."""

    group: str
    arrived: asyncio.Event
    pump: asyncio.Task[None] | None = None
    spoke_at = 0.0

    async def say(self, message: dict[str, Any]) -> None:
        self.spoke_at = time.monotonic()
        await self.send_json(message)

    async def start(self, group: str) -> None:
        self.group, self.arrived, self.spoke_at = group, asyncio.Event(), time.monotonic()
        try:
            await self.channel_layer.group_add(self.group, self.channel_name)
        except Exception:  # a layer that is down delays the page, it does not break it
            logger.warning("no channel layer for %s; looking every %s s", group, POLL_SECONDS, exc_info=True)
        await self.accept()
        self.pump = asyncio.create_task(self._run())

    async def disconnect(self, code: int) -> None:
        if self.pump is None:
            return
        self.pump.cancel()
        with contextlib.suppress(Exception):
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Pages have nothing to say here; what a program sends is not read."""

    async def news(self, message: dict[str, Any]) -> None:
        """Handler of {"type": "news"} from training.notify."""
        self.arrived.set()

    async def _run(self) -> None:
        try:
            while True:
                self.arrived.clear()  # before the look, or a word that arrives meanwhile is lost
                pause = await self.look()
                if time.monotonic() - self.spoke_at > ALIVE_SECONDS:
                    await self.say({"alive": True})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.arrived.wait(), pause)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("socket of %s ends; the page connects again", self.group)
            await self.close(code=1011)

    async def look(self) -> float:
        """Sends what is new; returns for how many seconds to wait for news at most."""
        raise NotImplementedError


class JobConsumer(NewsConsumer):
    """/ws/jobs/<id>/?after=<revision>&seen=<digests of the parts that the page holds>

    Sends {"fields": [...], "rows": [[...], ...]} for metric rows after the page's revision,
    {"state": {...}} when the job's state changed, and {"changed": ["header", "checkpoints", "film", "events"]}
    for the parts of the page to fetch again. Points wait for neither: the parts are looked at by a task of its own.
    """

    telling: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self.job_id: str = self.scope["url_route"]["kwargs"]["job_id"]
        self.cursor = _revision(self.scope)
        self.seen = job_marks.read(_asked(self.scope, "seen"))
        self.stated: list[Any] | None = None
        self.state_at = 0.0  # when they may be looked at again
        if await marks_for(self.job_id, self.scope["user"].pk) is None:
            await self.close(code=NOT_FOUND)
            return
        await self.start(f"job.{self.job_id}")

    async def look(self) -> float:
        while rows := await after(self.job_id, self.cursor):
            self.cursor = rows[-1][0]
            await self.say({"fields": ROW_FIELDS, "rows": rows})
            if len(rows) < ROWS_A_MESSAGE:
                break
        if self.telling and self.telling.done():
            self.telling.result()  # what broke it ends this socket; the page connects again
            self.telling = None
        wait = self.state_at - time.monotonic()
        if self.telling or wait > 0:
            return max(wait, STATE_SECONDS / 4)
        self.telling = asyncio.create_task(self._send_changes())
        return POLL_SECONDS

    async def disconnect(self, code: int) -> None:
        if self.telling:
            self.telling.cancel()
        await super().disconnect(code)

    async def _send_changes(self) -> None:
        began = time.monotonic()
        marks = await marks_for(self.job_id, self.scope["user"].pk)
        self.state_at = _next_look(began)
        if marks is None:
            await self.say({"gone": True})
            await self.close(code=NOT_FOUND)
            return
        before, self.seen = self.seen, job_marks.digests(marks)
        if self.stated != marks["header"]:
            self.stated = marks["header"]
            await self.say({"state": dict(zip(STATE_FIELDS, self.stated, strict=True))})
        changed = [part for part, digest in self.seen.items() if before and before.get(part) != digest]
        if changed:
            await self.say({"changed": changed})


class ProjectConsumer(NewsConsumer):
    """/ws/project/ sends {"changed": ["jobs", "matrices", ...]}: keys of `project_marks`; pages fetch them again."""

    async def connect(self) -> None:
        self.seen: dict[str, Any] | None = None
        self.rests_until = 0.0
        chosen = self.scope["session"].get("project", "")
        membership = await database_sync_to_async(Membership.objects.current)(self.scope["user"].pk, chosen)
        if membership is None:
            await self.close(code=NOT_FOUND)
            return
        self.membership = membership
        await self.start(f"project.{membership.project_id}")

    async def look(self) -> float:
        wait = self.rests_until - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)  # news in a burst is told once
        began = time.monotonic()
        marks = await project_marks(self.membership)
        self.rests_until = _next_look(began)
        if marks is None:
            await self.close(code=NOT_FOUND)
            return POLL_SECONDS
        before, self.seen = self.seen, marks
        changed = [part for part in marks if before is not None and before[part] != marks[part]]
        if changed:
            await self.say({"changed": changed})
        return POLL_SECONDS


def _next_look(began: float) -> float:
    """When what was looked at since `began` (monotonic seconds) may be looked at again."""
    took = time.monotonic() - began
    return began + max(STATE_SECONDS, took / STATE_SHARE)


def _revision(scope: dict[str, Any]) -> int:
    given = _asked(scope, "after")
    return int(given) if given.isdecimal() else 0


def _asked(scope: dict[str, Any], name: str) -> str:
    return parse_qs(scope["query_string"].decode()).get(name, [""])[0]


def _after(job_id: str, revision: int) -> list[list[Any]]:
    return rows_after(job_id, revision, ROWS_A_MESSAGE)


# In threads of their own: the usual one is shared by all sockets and what asks who is signed in, and points would wait
# for all their looks. Points have theirs to themselves.
after = database_sync_to_async(_after, thread_sensitive=False, executor=ThreadPoolExecutor(4, "points"))


@partial(database_sync_to_async, thread_sensitive=False)
def marks_for(job_id: str, user_id: int | None) -> dict[str, Any] | None:
    """A mark for each part of the page that changes when the part changes; None: not this person's job."""
    mine = Project.objects.filter(memberships__user=user_id or 0)  # None would ask for projects without members
    job = TrainingJob.objects.filter(pk=job_id, project__in=mine).first()
    if job is None:
        return None
    return marks_of(job)


@partial(database_sync_to_async, thread_sensitive=False)
def project_marks(membership: Membership) -> dict[str, Any] | None:
    """Cheap sums over the project's rows that move when anything the lists show moves; None: removed meanwhile."""
    if not Membership.objects.filter(pk=membership.pk).exists():
        return None
    project_id = membership.project_id
    jobs = TrainingJob.objects.filter(project=project_id)
    files = DatasetFile.objects.filter(project=project_id)
    served = Deployment.objects.filter(checkpoint=None) | Deployment.objects.filter(checkpoint__project=project_id)
    return {
        "jobs": [
            list(jobs.values_list("status").annotate(Count("pk")).order_by("status")),
            jobs.filter(archived_at=None).count(),
            list(jobs.unfinished().values_list("pk", "step", "status_text", "phase", "wanted").order_by("pk")),
            jobs.aggregate(kept=Count("checkpoints"), latest=Max("checkpoints__created_at")),
        ],
        "files": [
            list(files.values_list("status").annotate(Count("pk")).order_by("status")),
            list(files.exclude(status="processed").values_list("pk", "check_share").order_by("pk")[:100]),
            files.exclude(token_facts={}).count(),
        ],
        "deployments": list(served.values_list("pk", "state", "proof", "wanted", "reason").order_by("pk")),
        "models": [
            list(BaseModel.objects.values_list("pk", "status").order_by("pk")),
            BaseModel.objects.aggregate(bytes=Sum(F("bytes_done"))),
        ],
        "matrices": [
            list(Matrix.objects.filter(project=project_id).values_list("pk", "state", "troubles").order_by("pk")),
            KeptAnswer.objects.filter(project=project_id).aggregate(latest=Max("pk")),
        ],
    }


routes: list[URLPattern] = [
    path("ws/jobs/<str:job_id>/", JobConsumer.as_asgi()),
    path("ws/project/", ProjectConsumer.as_asgi()),
]
