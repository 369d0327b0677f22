"""A whole Hone for browser tests: `manage.py up` as a person would start it, in a folder of its own."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Page

from tests import factories

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = "/usr/bin/chromium"
HARMLESS = ("favicon",)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip("no chromium (Debian: apt install chromium)")
    switches = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"]
    switches += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": switches}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}


@dataclass
class Site:
    """A running Hone. `base_model` is the tiny one that was added to its catalogue."""

    url: str
    home: Path
    link: str  # the one-time sign-in link that was printed
    base_model: str
    process: subprocess.Popen[str]

    def manage(self, *arguments: str) -> str:
        """Output of a management command on this site's data."""
        command = [sys.executable, "manage.py", *arguments]
        env = site_environment(self.home)
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    def sign_in(self, page: Page) -> None:
        """A fresh one-time link, as `manage.py sign_in_link` prints it."""
        token = re.search(r"/link/([\w-]+)/", self.manage("sign_in_link"))
        assert token, "no link was printed"
        page.goto(f"{self.url}/link/{token[1]}/")


def site_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HONE_") or name.endswith("_URL")}
    return {**kept, "HONE_HOME": str(home), "DJANGO_SETTINGS_MODULE": "dashboard.settings", "HONE_OFFLINE": "1"}


@contextlib.contextmanager
def running_site(home: Path, *options: str) -> Iterator[Site]:
    """`manage.py up` on a free port with the tiny model in its catalogue."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    model = home / "tiny-llama"
    factories.tiny_model(model)
    env = {**site_environment(home), "HONE_STARTER": "0"}  # the real starter model is the proofs' business
    log = (home / "up.log").open("w")
    command = [sys.executable, "manage.py", "up", "--port", str(port), *options]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, text=True)
    try:
        printed = _until_ready(process, home / "up.log")
        link = re.search(r"(http\S+/link/[\w-]+/)", printed)
        site = Site(f"http://127.0.0.1:{port}", home, link[1] if link else "", "tiny-llama", process)
        site.manage("add_model", str(model))
        yield site
    finally:
        tree = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGINT)
        process.wait(timeout=90)
        left = [child for child in tree if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        for child in left:
            child.kill()
        assert not left, f"Ctrl-C left {left}"


def _until_ready(process: subprocess.Popen[str], log: Path, seconds: float = 120) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        printed = log.read_text()
        if "Ready after" in printed and "Ctrl-C stops" in printed:
            return printed
        assert process.poll() is None, f"manage.py up ended:\n{printed}"
        time.sleep(0.2)
    raise AssertionError(f"not ready after {seconds:.0f} s:\n{log.read_text()}")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_console_errors(request: pytest.FixtureRequest) -> Iterator[None]:
    """A page that logs an error or breaks the Content-Security-Policy fails its test."""
    if "page" not in request.fixturenames:
        yield
        return
    page: Page = request.getfixturevalue("page")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield
    faults = [text for text in said if not any(word in text for word in HARMLESS)]
    assert not faults, json.dumps(faults, indent=1)
