"""`manage.py serve`: the loop that makes running vLLM servers agree with the wanted Deployments; it never ends."""

import logging
import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from playground import deployments, sharing
from playground.film import tending
from playground.fleet import Fleet
from playground.judge import judging
from playground.matrix import filling

logger = logging.getLogger(__name__)
TICK_SECONDS = 0.5
BEAT_SECONDS = 1.0
TEND_SECONDS = 1.0


class Command(BaseCommand):
    help = "Keep the wanted models answering: start, load, check, watch and stop vLLM servers."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        fleet = Fleet()
        fleet.begin()
        logger.info("serving: waiting for models that somebody wants")
        beaten_at = tended_at = 0.0
        try:
            while not stop.is_set():
                try:
                    close_old_connections()
                    sharing.tend()
                    fleet.tick()
                except Exception:  # the loop is a process border: a fault in one tick must not end serving
                    logger.exception("a tick failed")
                if time.monotonic() - tended_at >= TEND_SECONDS:
                    tended_at = time.monotonic()
                    self._tend_answers()
                if time.monotonic() - beaten_at >= BEAT_SECONDS:
                    beaten_at = time.monotonic()
                    deployments.beat(servers=fleet.figures())
                stop.wait(TICK_SECONDS)
        finally:
            logger.info("stopping the vLLM servers")
            fleet.end()
            deployments.heartbeat_path().unlink(missing_ok=True)

    def _tend_answers(self) -> None:
        try:
            tending.tend()
            filling.tend()
            judging.tend()
        except Exception:  # as above: what a film strip, a matrix or a judge lacks must not end serving
            logger.exception("the film strips, matrices and judges could not be looked at")
