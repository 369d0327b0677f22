"""Train one job from claim to end: start the trainer, store what it writes, pass on what people want, leave no child.

Only the job's row says who owns it. A worker takes a job by a conditional UPDATE, renews its claim about once a second,
and lets go the moment that fails; a job whose worker is silent for HONE_LEASE_SECONDS (or known to be dead) is taken
over and continues from the trainer's own resume point.
"""

import logging
import shutil
import time
from contextlib import suppress
from datetime import timedelta

from django import db
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce
from django.utils import timezone

from training import launcher, notify, preparation
from training.actions import drop_checkpoints, spec_for, wake_trainer
from training.claims import LostClaim
from training.endings import fail
from training.engine.spec import AnyEvent, End
from training.events import EventReader
from training.job_log import add_event, refresh_queue
from training.launcher import Slot, Trainer
from training.models import FINAL, TrainingJob
from training.quotas import limits, turns
from training.recording import record_events
from training.standing import GOES_ON
from training.usage import jobs as usage
from training.workers import holder_is_gone, new_claim, stopping

log = logging.getLogger(__name__)
Status = TrainingJob.Status

POLL_SECONDS = 0.1
HEARTBEAT_SECONDS = 1.0
LOOK_SECONDS = 0.3  # how soon a cancel or a pause is noticed
PROJECT_PING_SECONDS = 1.0
CANCEL_GRACE_SECONDS = 10.0
CRASHES = 3  # in a row without a new step: then the job fails
STARTS = 6  # in a row without a new step, whoever died: then the job fails


# ---- whose turn it is ----


def train_next() -> None:
    """Train the job whose turn it is on a free slot; nothing to do is fine, messages are only wake-ups."""
    slot = Slot.take()
    if slot is None:
        log.info("every training slot is taken; the job waits")
        return
    try:
        job = _claim_next()
        if job:
            Attempt(job, slot).run()
    finally:
        slot.free()
        if not stopping.is_set() and any(not place.blocked for place in turns.queue()):
            wake_trainer()


def waiting_jobs() -> list[TrainingJob]:
    """Jobs to train now, in order: those that lost their worker, then the queue without what its projects' limits
    hold back."""
    running = TrainingJob.objects.filter(status=Status.RUNNING).order_by("queued_at", "pk")
    abandoned = [job for job in running if is_abandoned(job)]
    return [*abandoned, *(place.job for place in turns.queue() if not place.blocked)]


def is_abandoned(job: TrainingJob) -> bool:
    """Its worker is silent for too long, or known to be dead."""
    expired = timezone.now() - timedelta(seconds=settings.HONE_LEASE_SECONDS)
    return not job.claim or not job.heartbeat_at or job.heartbeat_at < expired or holder_is_gone(job.claim)


def _claim_next() -> TrainingJob | None:
    for job in waiting_jobs():
        if _claim(job):
            if job.status == Status.QUEUED and job.started_at:
                add_event(job, GOES_ON)
            refresh_queue()
            job.refresh_from_db()
            return job
        log.info("%s: another worker was first", job.pk)
    return None


@transaction.atomic
def _claim(job: TrainingJob) -> bool:
    """False where another worker was first, or where its project may run no more by now."""
    if job.status == Status.QUEUED and not limits.may_run_another(job.project_id):
        return False
    now = timezone.now()
    as_it_was = TrainingJob.objects.filter(pk=job.pk, status=job.status, claim=job.claim, heartbeat_at=job.heartbeat_at)
    changed = as_it_was.update(
        status=Status.RUNNING,
        claim=new_claim(),
        heartbeat_at=now,
        started_at=Coalesce("started_at", now),
        status_text="Starting" if job.status == Status.QUEUED else "Continuing after its worker was lost",
    )
    return bool(changed)


def end_leftovers() -> None:
    """Jobs that ended while their worker was dead: end their trainers too."""
    for job in TrainingJob.objects.filter(status__in=[*FINAL, Status.PAUSED], claim__gt=""):
        if is_abandoned(job):
            launcher.end_processes(job.pk, grace_seconds=CANCEL_GRACE_SECONDS)
            TrainingJob.objects.filter(pk=job.pk, claim=job.claim).update(claim="", trainer_pid=None)
            if job.wanted == "drop":
                drop_checkpoints(job)


# ---- one claim of one job ----


class Attempt:
    """Owns a claimed job until it ends, is handed back, or is lost to another worker."""

    def __init__(self, job: TrainingJob, slot: Slot) -> None:
        self.job, self.slot, self.claim = job, slot, job.claim
        self.reader = EventReader(job.folder / "events.jsonl", job.events_offset)
        self.trainer: Trainer | None = None
        self.end: End | None = None  # the trainer's last line, once it is read
        self.asked = ""  # what the trainer was asked to do: "" | stop | pause | interrupt | leave
        self.terminated = False  # it was asked in vain, and got SIGTERM
        self.asked_at = self.beat_at = self.looked_at = self.pinged_at = 0.0
        self.counted_at = 0.0  # up to when the trainer's seconds are in the row

    def run(self) -> None:
        """Whatever happens, no process of the trainer is left when this returns."""
        log.info("%s: claimed, step %d of %d", self.job.pk, self.job.step, self.job.total_steps)
        notify.job_changed(self.job.pk)
        try:
            launcher.end_processes(self.job.pk, grace_seconds=settings.HONE_GRACE_SECONDS)
            self._record_all()  # what a former worker did not store, perhaps the end itself
            while self._goes_on():
                self.end = None
                self._start()
                self._follow()
                launcher.end_processes(self.job.pk, grace_seconds=settings.HONE_GRACE_SECONDS)  # what it left behind
                self._record_all()
                self._hear_last_words()
                if self.end is None or self.end.status == "interrupted":
                    self._ended_early()
        except LostClaim:
            log.warning("%s: owned by another worker now, or deleted", self.job.pk)
        except (db.OperationalError, db.InterfaceError):
            log.exception("%s: the database is away; the job goes on when it is back", self.job.pk)
            db.close_old_connections()
        except Exception as error:
            log.exception("%s: supervising failed", self.job.pk)
            self._kill()
            with suppress(db.Error):
                fail(self.job, f"Hone itself failed: {type(error).__name__}: {error}", code="server_error")
        finally:
            self._kill()
            self._let_go()

    def _goes_on(self) -> bool:
        self.job.refresh_from_db()
        if self.job.claim != self.claim:
            raise LostClaim(self.job.pk)
        if self.job.status != Status.RUNNING:
            return False
        if stopping.is_set():
            self._hand_back()
            return False
        if self.job.stalls >= STARTS:
            text = f"The job was started {STARTS} times without getting further."
            fail(self.job, self._with_log(text), code="server_error")
            return False
        return True

    # -- while it runs --

    def _start(self) -> None:
        changed = TrainingJob.objects.filter(pk=self.job.pk, claim=self.claim).update(
            attempt=F("attempt") + 1,
            stalls=F("stalls") + 1,
            heartbeat_at=timezone.now(),
            phase=preparation.STARTING,
            preparation=preparation.begun(time.time()),
        )
        if not changed:
            raise LostClaim(self.job.pk)
        self.asked, self.terminated = "", False
        self.trainer, self.counted_at = launcher.start(spec_for(self.job), self.slot), time.monotonic()
        TrainingJob.objects.filter(pk=self.job.pk, claim=self.claim).update(
            trainer_pid=self.trainer.pid, trainer_started=self.trainer.started
        )

    def _follow(self) -> None:
        """Until the trainer is gone."""
        assert self.trainer
        while self.trainer.is_alive():
            time.sleep(POLL_SECONDS)
            try:
                self._record()
                self._heartbeat()
                self._look_at_wishes()
            except (db.OperationalError, db.InterfaceError):
                log.warning("%s: the database is away; trying again", self.job.pk, exc_info=True)
                db.close_old_connections()
                self.reader.offset = self.job.events_offset  # nothing of the failed batch was stored
                time.sleep(1)
            self._lose_patience()
        self._count_seconds()

    def _record(self) -> bool:
        """Store what is new; False when there was nothing."""
        before = self.reader.offset
        events: list[AnyEvent] = self.reader.read()
        if not events:
            return self.reader.offset != before
        self.end = next((event for event in events if isinstance(event, End)), self.end)
        record_events(self.job, events, offset=self.reader.offset, claim=self.claim)
        if time.monotonic() - self.pinged_at > PROJECT_PING_SECONDS:
            self.pinged_at = time.monotonic()
            notify.project_changed(self.job.project_id)
        return True

    def _record_all(self) -> None:
        while self._record():
            pass

    def _hear_last_words(self) -> None:
        """Of a process that failed beside the one that writes the events."""
        assert self.trainer
        told = self.trainer.last_words() if self.end is None else None
        if told:
            self.end = told
            record_events(self.job, [told], claim=self.claim)

    def _heartbeat(self) -> None:
        if time.monotonic() - self.beat_at < HEARTBEAT_SECONDS:
            return
        if not self._count_seconds():
            raise LostClaim(self.job.pk)
        self.beat_at = time.monotonic()

    def _count_seconds(self) -> int:
        """The trainer's time since it was counted last, and a sign of life; 0: the job is not ours any more."""
        now, before = time.monotonic(), self.counted_at
        changed = TrainingJob.objects.filter(pk=self.job.pk, claim=self.claim).update(
            heartbeat_at=timezone.now(), trainer_seconds=F("trainer_seconds") + (now - before)
        )
        self.counted_at = now  # only now: while the database is away the seconds are still to be counted
        return changed

    def _look_at_wishes(self) -> None:
        """A cancelled job's trainer is told to stop, a paused one's to pause, any one's to save when we must end."""
        if self.asked == "stop" or time.monotonic() - self.looked_at < LOOK_SECONDS:
            return
        self.looked_at = time.monotonic()
        wish = TrainingJob.objects.filter(pk=self.job.pk).values_list("status", "wanted").first()
        if wish is None:
            raise LostClaim(self.job.pk)
        status, wanted = wish
        if status == Status.CANCELLED and wanted == "drop":
            self._kill()
        elif status == Status.CANCELLED:
            self._ask("stop")
        elif stopping.is_set():
            self._ask("interrupt")
        elif wanted == "pause":
            self._ask("pause")

    def _ask(self, what: str) -> None:
        assert self.trainer
        if self.asked == what:
            return
        self.asked, self.asked_at = what, time.monotonic()
        if what == "interrupt":
            self.trainer.terminate()
        else:
            self.trainer.ask(what)

    def _lose_patience(self) -> None:
        """A trainer that does not do what it was asked is terminated, then killed."""
        assert self.trainer
        if not self.asked and self.end is None:
            return
        if not self.asked:  # it said that it is done; give it time to leave
            self.asked, self.asked_at = "leave", time.monotonic()
        waited = time.monotonic() - self.asked_at
        patience = CANCEL_GRACE_SECONDS if self.asked in ("stop", "leave") else settings.HONE_GRACE_SECONDS
        if waited > patience + 5:
            self.trainer.kill()
        elif waited > patience and not self.terminated:
            self.terminated = True
            self.trainer.terminate()

    # -- when it is gone --

    def _ended_early(self) -> None:
        """Interrupted on purpose, killed or crashed: pause, hand back, try again or give up."""
        assert self.trainer
        self.job.refresh_from_db()
        if self.job.status != Status.RUNNING or self.job.claim != self.claim:
            return
        if self.asked == "pause" and self.job.wanted == "pause":
            record_events(self.job, [End(time=time.time(), status="paused")], claim=self.claim)
        elif stopping.is_set():
            self._hand_back()
        elif self.job.stalls >= CRASHES:
            text = f"The trainer stopped {CRASHES} times without getting further: {self.trainer.exit_reason()}."
            fail(self.job, self._with_log(text), code="server_error")
        elif self.asked != "pause":  # a pause that was taken back simply goes on
            text = f"The trainer stopped: {self.trainer.exit_reason()}. It continues from where it last saved."
            add_event(self.job, text, level="warn")
            TrainingJob.objects.filter(pk=self.job.pk, claim=self.claim).update(status_text="Continuing")

    @transaction.atomic
    def _hand_back(self) -> None:
        """This worker ends: the job keeps its place at the head of the queue."""
        changed = TrainingJob.objects.filter(pk=self.job.pk, claim=self.claim, status=Status.RUNNING).update(
            status=Status.QUEUED, claim="", stalls=0, phase="", status_text="Waiting for a worker to continue"
        )
        if changed:
            add_event(self.job, f"Training interrupted after step {self.job.step}; it will continue by itself")
            wake_trainer()

    def _with_log(self, text: str) -> str:
        tail = launcher.log_tail(self.job.folder)
        return f"{text} Its last words:\n{tail}" if tail else text

    def _kill(self) -> None:
        if self.trainer:
            self.trainer.kill()

    def _let_go(self) -> None:
        with suppress(db.Error):
            if not TrainingJob.objects.filter(pk=self.job.pk).exists():  # deleted meanwhile
                shutil.rmtree(self.job.folder, ignore_errors=True)
                return
            limits.measure(self.job)
            mine = TrainingJob.objects.filter(pk=self.job.pk, claim=self.claim)
            if mine.exclude(status=Status.RUNNING).exists():
                usage.write(self.job.pk)  # with the seconds that passed since its end was told
            if mine.filter(status=Status.CANCELLED, wanted="drop").exists():
                drop_checkpoints(self.job)
            mine.exclude(status=Status.RUNNING).update(claim="", trainer_pid=None)
            mine.filter(status=Status.RUNNING).update(heartbeat_at=None, trainer_pid=None)  # free to be taken at once
            TrainingJob.objects.filter(pk=self.job.pk, claim="").update(trainer_pid=None)
        notify.job_changed(self.job.pk)
        notify.project_changed(self.job.project_id)
