"""The running vLLM servers and what is loaded in them, made to agree with the wanted Deployments, tick by tick.

One server for each base model, with its adapters; one of its own for each full-weight checkpoint. Slow work (asking
for health, loading, the parity gate) runs in threads, one piece at a time for each server; rows are changed only by
conditional updates, and only `tick` starts servers, because a server lives as long as the thread that started it.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import close_old_connections
from django.utils import timezone

from playground import deployments, needs, processes, room, sharing, tool_calls, vllm
from playground.bringing_up import bring_up, unload
from playground.load_times import STARTING
from playground.members import Member, Trouble, folder_of, key_of
from playground.models import Deployment
from training.engine.facts import read_model_facts
from training.home import home, server_log
from training.models import Checkpoint
from training.ranks import VLLM_RANKS, rank_of

logger = logging.getLogger(__name__)

State, Proof = Deployment.State, Deployment.Proof
SMALLEST_RANK = 16
IDLE_SECONDS = 20.0  # one that answered within this time is not put away
HEALTH_EVERY_SECONDS = 5.0
DEAF_SECONDS = 90.0  # alive but not answering for this long: it is started anew
STEADY_SECONDS = 120.0  # up for this long: earlier failures are forgotten
TRIES = 3
LONGEST_PAUSE_SECONDS = 60.0


class Threads(ThreadPoolExecutor):
    """Gives the database connection back after each piece of work."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(self._do, work, args, kwargs)

    @staticmethod
    def _do(work: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return work(*args, **kwargs)
        finally:
            close_old_connections()


class Fleet:
    def __init__(self, executor: Executor | None = None, python: str | None = None) -> None:
        self.python = python or vllm.interpreter(settings.HONE_VLLM_PYTHON)
        self.executor = executor or Threads(8, thread_name_prefix="fleet")
        self.members: dict[str, Member] = {}
        self.troubles: dict[str, Trouble] = {}
        self.noted: list[int] = []

    # ---- life ----

    def begin(self) -> None:
        """Nothing runs yet: ends what a killed predecessor left and queues what was wanted."""
        ended = processes.end_left_over(self._notes())
        if ended:
            logger.warning("ended %d processes that an earlier serving process left", ended)
        for row in self._rows(Deployment.objects.exclude(state__in=[State.OFF, State.QUEUED])):
            deployments.take_down(row, State.QUEUED if row.wanted else State.OFF, "")

    def tick(self) -> None:
        for member in list(self.members.values()):
            self._watch(member)
        self._let_go()
        reason = sharing.serving_waits_for()
        if reason:
            self._stand_aside(reason)
            return
        rows = self._rows(Deployment.objects.wanted().exclude(state=State.FAILED))
        by_key: dict[str, list[Deployment]] = {}
        for row in sorted(rows, key=lambda row: row.used_at, reverse=True):
            if self._is_possible(row):
                by_key.setdefault(key_of(row), []).append(row)
        for key, group in by_key.items():
            running = self.members.get(key)
            if running is None:
                self._start(key, group)
            elif running.is_up and not running.is_busy:
                self._bring_up_next(running, group)
        self._note_processes()

    def end(self) -> None:
        """Stops every server, all at once, and queues their rows for the next start."""
        stops = [self.executor.submit(member.server.stop) for member in self.members.values()]
        for stop in stops:
            with contextlib.suppress(Exception):
                stop.result(30)
        self.members.clear()
        self._notes().unlink(missing_ok=True)
        for row in self._rows(Deployment.objects.exclude(state__in=[State.OFF, State.FAILED, State.QUEUED])):
            deployments.take_down(row, State.QUEUED if row.wanted else State.OFF, "")
        self.executor.shutdown(wait=False, cancel_futures=True)

    def figures(self) -> list[dict[str, Any]]:
        """For the heartbeat."""
        return [
            {
                "model": member.server.plan.name,
                "url": member.server.url,
                "pid": member.server.pid,
                "up": member.is_up,
                "adapters": len(member.loaded),
                "claim_bytes": member.claim_bytes,
            }
            for member in self.members.values()
        ]

    # ---- watching ----

    def _watch(self, member: Member) -> None:
        if member.stopping:
            if member.stopping.done():
                self.members.pop(member.key, None)
            return
        if not member.server.is_alive():
            self._lost(member, member.server.death_reason())
            return
        now = time.monotonic()
        if member.health and member.health.done():
            if member.health.result():
                member.heard_at = now
                if member.up_at is None:
                    member.up_at = now
                    logger.info("vLLM for %s is up after %.1f s", member.server.plan.name, member.server.ready_seconds)
            member.health = None
        if member.up_at and now - member.up_at > STEADY_SECONDS:
            self.troubles.pop(member.key, None)
        limit = DEAF_SECONDS if member.up_at else vllm.START_LIMIT_SECONDS
        if member.asked_at > member.heard_at and now - member.heard_at > limit:  # asked in vain, not just not asked
            self._lost(member, f"vLLM did not answer for {limit:.0f} s (log: {member.server.plan.log})")
        elif member.health is None and now - member.asked_at > (HEALTH_EVERY_SECONDS if member.up_at else 0.2):
            member.asked_at = now
            member.health = self.executor.submit(member.server.is_healthy, 30.0 if member.up_at else 2.0)

    def _lost(self, member: Member, reason: str) -> None:
        """Its server is gone or deaf: its rows wait for the next try, or fail after several."""
        logger.error("%s: %s", member.server.plan.name, reason)
        trouble = self.troubles.setdefault(member.key, Trouble())
        trouble.failures += 1
        pause = min(2.0 ** (trouble.failures - 1), LONGEST_PAUSE_SECONDS)
        trouble.not_before = time.monotonic() + pause
        member.stopping = self.executor.submit(member.server.stop)
        gives_up = trouble.failures >= TRIES
        for row in self._rows_of(member.key):
            if row.state == State.FAILED:
                continue
            if gives_up:
                deployments.take_down(row, State.FAILED, reason)
            else:
                deployments.take_down(row, State.QUEUED, f"{reason}. Starting it again in {pause:.0f} s.")

    def _let_go(self) -> None:
        """Unloads what nobody wants any more and stops servers that hold nothing wanted."""
        for row in self._rows(Deployment.objects.filter(wanted=False).exclude(state=State.OFF)):
            deployments.take_down(row, State.OFF, "")
        wanted = self._rows(Deployment.objects.wanted())
        ids, keys = {row.pk for row in wanted}, {key_of(row) for row in wanted if row.state != State.FAILED}
        for member in self.members.values():
            if member.stopping:
                continue
            if member.key not in keys and not member.is_busy:
                logger.info("stopping vLLM for %s: nobody wants it", member.server.plan.name)
                member.stopping = self.executor.submit(member.server.stop)
            elif member.is_up and not member.is_busy:
                gone = [name for name, pk in member.loaded.items() if pk not in ids]
                if gone:
                    member.work = self.executor.submit(unload, member, gone)

    def _stand_aside(self, reason: str) -> None:
        """Gives the device to training: every server stops, what is wanted waits and says why."""
        for member in self.members.values():
            if not member.stopping and not member.is_busy:
                logger.info("stopping vLLM for %s: %s", member.server.plan.name, reason)
                member.stopping = self.executor.submit(member.server.stop)
        self._set(self._rows(Deployment.objects.wanted().exclude(state=State.FAILED)), State.QUEUED, reason, force=True)

    # ---- starting ----

    def _is_possible(self, row: Deployment) -> bool:
        """False, with the reason in the row, when it cannot be served at all."""
        reason = ""
        if vllm.find_build(self.python) is None:
            reason = vllm.NOT_INSTALLED.format(python=self.python)
        elif not row.checkpoint and not row.family.is_present:
            where = row.family.path if row.family.folder else "never downloaded"
            reason = f"Its files are not on disk ({where}). Add the model again."
        elif row.checkpoint and not row.checkpoint.path.is_dir():
            reason = f"Its folder is gone: {row.checkpoint.path}. Restore it, or train again."
        elif row.checkpoint and row.checkpoint.kind == Checkpoint.Kind.LORA and not row.family.is_present:
            reason = f"The files of its base model are not on disk ({row.family.path}). Add the model again."
        if reason:
            deployments.take_down(row, State.FAILED, reason)
        return not reason

    def _start(self, key: str, group: list[Deployment]) -> None:
        trouble = self.troubles.get(key)
        if trouble and time.monotonic() < trouble.not_before:
            return
        try:
            needed = needs.needed_bytes(folder_of(key, group[0]), self._kind())
            lora_rank = 0 if key.startswith("full:") else self._rank_for(group)
            place = self._place_for(group, needed)
            if place is None:
                return
            claim = room.claim_bytes(place, needed)
            plan = _plan(key, group[0], lora_rank, place, claim)
        except vllm.VllmError as error:
            self._set(group, State.FAILED, str(error))
            return
        server = vllm.VllmServer(plan, self.python)
        try:
            server.start()
        except OSError as error:
            self._set(group, State.FAILED, f"vLLM cannot be started with {self.python}: {error}")
            return
        logger.info("starting vLLM for %s on port %d", plan.name, server.port)
        self.members[key] = Member(key, server, claim)
        self._set(group, State.LOADING, STARTING)

    def _place_for(self, group: list[Deployment], needed: int) -> room.Place | None:
        """Where it can start now; else None, and the group's rows say what it waits for."""
        places = room.gpus() if self._kind() == "cuda" else [room.machine()]
        if not any(room.claim_bytes(place, needed) <= place.budget_bytes for place in places):
            self._set(group, State.FAILED, _never_fits(needed, places))
            return None
        starting = next((member for member in self.members.values() if not member.up_at and not member.stopping), None)
        if starting and not starting.server.plan.gpu:  # on a CPU two that start at once are both late
            self._set(group, State.QUEUED, f"Waiting until vLLM for {starting.server.plan.name} has started.")
            return None
        place = room.find_place(places, needed, self._claimed())
        if place is None:
            self._make_room(group[0], group, needed)
        return place

    def _rank_for(self, group: Iterable[Deployment]) -> int:
        return vllm.room_for_rank(max([SMALLEST_RANK, *(rank_of(row.checkpoint) for row in group if row.checkpoint)]))

    def _kind(self) -> str:
        build = vllm.find_build(self.python)
        return build.kind if build else "cpu"

    def _claimed(self) -> dict[str, int]:
        claimed: dict[str, int] = {}
        for member in self.members.values():
            gpu = member.server.plan.gpu
            claimed[gpu] = claimed.get(gpu, 0) + member.claim_bytes
        return claimed

    def _make_room(self, asking: Deployment, group: list[Deployment], needed: int) -> None:
        """Puts the least recently used idle server away; without one the group waits and says for what."""
        if any(member.stopping for member in self.members.values()):
            self._set(group, State.QUEUED, "Waiting for memory: another model is being put away.")
            return
        idle_since = timezone.now() - timedelta(seconds=IDLE_SECONDS)
        candidates = []
        for member in self.members.values():
            rows = self._rows_of(member.key)
            used_at = max((row.used_at for row in rows), default=timezone.now())
            may_go = not member.is_busy and not any(row.pinned for row in rows)
            if may_go and used_at < min(idle_since, asking.used_at):
                candidates.append((used_at, member, rows))
        if not candidates:
            others = ", ".join(member.server.plan.name for member in self.members.values()) or "other programs"
            self._set(
                group,
                State.QUEUED,
                f"Waiting for {_gb(needed)} of memory, used by {others}. It starts when there is room.",
            )
            return
        _, member, rows = min(candidates, key=lambda candidate: candidate[0])
        logger.info("putting %s away for %s", member.server.plan.name, asking.served_name)
        for row in rows:
            deployments.take_down(row, State.OFF, f"Put away to make room for {asking.served_name}.", wanted=False)
        member.stopping = self.executor.submit(member.server.stop)
        self._set(group, State.QUEUED, f"Waiting for memory: {member.server.plan.name} is being put away.")

    # ---- loading and the gate ----

    def _bring_up_next(self, member: Member, group: list[Deployment]) -> None:
        waiting = [row for row in group if row.state != State.READY]
        if not waiting:
            return
        waiting.sort(key=lambda row: (row.checkpoint is not None, row.used_at))  # the base at once, then first come
        row = waiting[0]
        checkpoint = row.checkpoint
        if checkpoint and member.server.plan.lora_rank:
            if rank_of(checkpoint) > VLLM_RANKS[-1]:
                self._set([row], State.FAILED, f"Its rank is above {VLLM_RANKS[-1]}, the most that vLLM serves.")
                return
            if rank_of(checkpoint) > vllm.room_for_rank(member.server.plan.lora_rank):
                self._restart_with_more_rank(member, row, group)
                return
            if row.served_name not in member.loaded and len(member.loaded) >= vllm.ADAPTER_SLOTS:
                self._free_a_slot(member, row, group)
                return
        self._set(waiting[1:], State.QUEUED, f"Next in line after {_title(row)}.")
        text = "Loading the checkpoint and comparing its answers with the trained weights."
        self._set([row], State.LOADING, text if checkpoint else "Comparing its chat template with the trainer's.")
        member.work = self.executor.submit(bring_up, member, row, self._version())

    def _restart_with_more_rank(self, member: Member, row: Deployment, group: list[Deployment]) -> None:
        idle_since = timezone.now() - timedelta(seconds=IDLE_SECONDS)
        if any(other.state == State.READY and other.used_at > idle_since for other in group):
            text = (
                f"Waiting until the others are idle: the server restarts with room for rank {rank_of(row.checkpoint)}."  # type: ignore[arg-type]
            )
            self._set([row], State.QUEUED, text)
            return
        self._set(group, State.QUEUED, "The server restarts with room for a higher LoRA rank.", force=True)
        member.stopping = self.executor.submit(member.server.stop)

    def _free_a_slot(self, member: Member, row: Deployment, group: list[Deployment]) -> None:
        idle_since = timezone.now() - timedelta(seconds=IDLE_SECONDS)
        loaded = [other for other in group if other.served_name in member.loaded and not other.pinned]
        idle = [other for other in loaded if other.used_at < min(idle_since, row.used_at)]
        if not idle:
            text = f"All {vllm.ADAPTER_SLOTS} places for checkpoints of this base model are in use. It waits its turn."
            self._set([row], State.QUEUED, text)
            return
        oldest = min(idle, key=lambda other: other.used_at)
        deployments.take_down(oldest, State.OFF, f"Put away to make room for {row.served_name}.", wanted=False)
        member.work = self.executor.submit(unload, member, [oldest.served_name])

    def _version(self) -> str:
        build = vllm.find_build(self.python)
        return build.version if build else ""

    # ---- rows ----

    def _rows(self, query: Any) -> list[Deployment]:
        return list(query.select_related("base_model", "checkpoint__base_model", "checkpoint__job__base_model"))

    def _rows_of(self, key: str) -> list[Deployment]:
        return [row for row in self._rows(Deployment.objects.wanted()) if key_of(row) == key]

    def _set(self, rows: Iterable[Deployment], state: str, reason: str, force: bool = False) -> None:
        for row in rows:
            if (row.state, row.reason) != (state, reason) and (force or row.state != State.READY):
                deployments.take_down(row, state, reason)

    def _notes(self) -> Path:
        return home() / "processes" / "vllm.json"

    def _note_processes(self) -> None:
        """Written again whenever a server has other processes than before, for `begin` after a kill -9."""
        running = [process for member in self.members.values() for process in member.server.tree()]
        pids = sorted(process.pid for process in running)
        if pids != self.noted:
            with contextlib.suppress(OSError):  # a full disk: noted at a later tick
                processes.remember(running, self._notes())
                self.noted = pids


def _plan(key: str, first: Deployment, lora_rank: int, place: room.Place, claim_bytes: int) -> vllm.Plan:
    full, folder = key.startswith("full:"), folder_of(key, first)
    name = first.served_name if full else first.family.name
    context_tokens = needs.context_of(folder)
    return vllm.Plan(
        name=name,
        folder=folder,
        log=server_log(name),
        lora_rank=lora_rank,
        lora_modules=() if full else tuple(read_model_facts(folder, name).linear_modules),
        context_tokens=context_tokens,
        cache_gib=needs.cache_gib(folder, context_tokens),
        tool_parser=tool_calls.parser_for(folder),
        gpu=place.gpu,
        gpu_fraction=claim_bytes / place.total_bytes,
    )


def _title(row: Deployment) -> str:
    """As people know it on the pages."""
    checkpoint = row.checkpoint
    return f"{checkpoint.job.display_name}, {checkpoint.when}" if checkpoint else row.served_name


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def _never_fits(needed: int, places: list[room.Place]) -> str:
    if not places:
        return "vLLM is built for GPUs, but none was found that it may use. Look at HONE_SERVE_GPUS and nvidia-smi."
    best = max(places, key=lambda place: place.budget_bytes)
    what = f"GPU {best.gpu}" if best.gpu else "this machine"
    setting = "HONE_SERVE_GPU_FRACTION" if best.gpu else "HONE_SERVE_MEMORY_GB"
    return (
        f"It needs about {_gb(needed)} of memory; serving may use {_gb(best.budget_bytes)} of {what}. "
        f"Raise {setting}, or choose a smaller model."
    )
