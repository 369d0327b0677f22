"""`manage.py up`: everything with one command."""

import errno
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any, TextIO

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from accounts import first_start, running
from accounts.errors import ApiError
from dashboard.owned import erasing
from dashboard.supervisor import Child, Supervisor
from playground import deployments, vllm
from training import files, starter
from training.home import home, log_folder
from training.launcher import worker_processes
from training.models import BaseModel

READY_WITHIN_SECONDS = 60
LOOK_SECONDS = 0.5


class Command(BaseCommand):
    help = "Migrate, prepare the first start and run web, workers and serving until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HONE_HOST)
        parser.add_argument("--port", type=int, default=settings.HONE_PORT)
        parser.add_argument("--no-serve", action="store_true", help="do not start vLLM: no playground, less memory")

    def handle(self, *args: Any, host: str, port: int, no_serve: bool, **options: Any) -> None:
        self.began = time.monotonic()
        lock = self._lock_home(running.address_of(host, port))  # held until the process ends
        self._refuse_a_taken_port(host, port)
        self._prepare(no_serve)
        supervisor = Supervisor(
            self._children(host, port, no_serve),
            log_folder=log_folder(),
            state_path=home() / "processes.json",
            say=self.say,
            grace_seconds=settings.HONE_GRACE_SECONDS + 20,  # a trainer finishes its step and writes its resume point
        )
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: setattr(supervisor, "stopping", True))
        supervisor.start()
        try:
            self._greet(supervisor, host, port)
            if settings.HONE_STARTER:
                threading.Thread(target=self._bring_starter, args=(supervisor, no_serve), daemon=True).start()
            supervisor.watch()
        finally:
            self.say("Stopping; a running job writes its resume point first ...")
            supervisor.stop()
            self.say("Stopped. No process is left.")
            lock.close()

    def say(self, text: str) -> None:
        self.stdout.write(f"hone: {text}")
        self.stdout.flush()

    def _lock_home(self, address: str) -> TextIO:
        try:
            return running.hold(address)
        except running.AlreadyRuns as error:
            raise CommandError(
                f"Hone already runs on {home()}. Stop it first, or set HONE_HOME to another folder."
            ) from error

    def _refuse_a_taken_port(self, host: str, port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise CommandError(
                        f"Port {port} is in use. Start with another one: HONE_PORT={port + 1} make run"
                    ) from error
                raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}") from error

    def _prepare(self, no_serve: bool) -> None:
        self.warming = ""
        self.say(f"Data lies in {home()}")
        call_command("migrate", verbosity=0)
        self.project, self.token = first_start.ensure_first_owner()
        self.key_path = first_start.ensure_local_key(self.project)
        starter.settle_interrupted()
        erasing.finish()
        python = vllm.interpreter(settings.HONE_VLLM_PYTHON)
        if not no_serve and vllm.find_build(python) is None:
            self.warming = vllm.NOT_INSTALLED.format(python=python)
        try:
            files.ensure_samples(self.project)
        except ApiError as refused:  # its disk is used up: no reason for nobody to get in
            self.say(refused.message)

    def _children(self, host: str, port: int, no_serve: bool) -> list[Child]:
        python = sys.executable
        web = [python, "-m", "dashboard.serve_web", "-b", host, "-p", str(port), "dashboard.asgi:application"]
        children = [Child("web", web)]
        children += [Child(name, *worker) for name, worker in worker_processes().items()]
        if not no_serve:
            children.append(Child("serve", [python, "manage.py", "serve"]))
        for child in children:
            child.env["DJANGO_SETTINGS_MODULE"] = os.environ["DJANGO_SETTINGS_MODULE"]
        return children

    def _greet(self, supervisor: Supervisor, host: str, port: int) -> None:
        """Waits until the site answers, then says where it is."""
        address = running.address_of(host, port)
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while not supervisor.stopping and not _answers(f"{address}/healthz"):
            if time.monotonic() > deadline:
                self.say(f"The site does not answer yet; its log is {log_folder() / 'web.log'}")
                break
            time.sleep(0.1)
        if supervisor.stopping:
            return
        self.say(f"Ready after {_words(timedelta(seconds=time.monotonic() - self.began))}.")
        self.say(f"Address:          {address}/")
        if self.token:
            self.say(f"Sign in (once):   {address}/link/{self.token}/")
        else:
            where = f"HONE_HOME={home()} " if "HONE_HOME" in os.environ else ""
            way = "with your password, or by" if first_start.somebody_has_a_password() else "by"
            self.say(f"Sign in:          {way} a new one-time link:")
            self.say(f"                  {where}.venv/bin/python manage.py sign_in_link")
        self.say(f"API:              {address}/v1   key in {self.key_path}")
        self.say(f"{self.warming} Ctrl-C stops everything.".strip())

    def _bring_starter(self, supervisor: Supervisor, no_serve: bool) -> None:
        """A worker brings it; here is told how far it is, and once it is there it is loaded before the first visit to
        the playground."""
        said = ""
        try:
            model = starter.begin()
            while model.status == BaseModel.Status.DOWNLOADING and not supervisor.stopping:
                if model.status_text != said:
                    said = model.status_text
                    self.say(f"Starter model: {said}")
                time.sleep(LOOK_SECONDS)
                model.refresh_from_db()
            if model.status == BaseModel.Status.FAILED:
                reason = model.status_text.rstrip(".")
                self.say(f"Starter model: {reason}. Hone works without it; try again on the Models page.")
            elif model.status == BaseModel.Status.READY:
                self.say(f"Starter model: on disk. {model.source_note}" if said else "Starter model: on disk.")
                if not no_serve:
                    deployments.want(base_model=model)
        except Exception as error:  # a thread of its own: without a word nobody would know
            self.say(f"Starter model: {error!r}")
        finally:
            connections.close_all()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _words(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
