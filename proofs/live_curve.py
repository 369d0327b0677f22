"""How soon a training step is on screen, whether any is lost, and how a long run opens.

    python -m proofs.live_curve [--points 500] [--rate 20] [--burst 10000] [--long 100000] [--busy 0] [--tabs 1]

Real parts: the trainer's EventWriter in a process of its own, the worker's EventReader and record_events in another,
the database, the channel layer, daphne and Chromium. Only the numbers are made up, so nothing waits for a model.
Latency is from the time in the trainer's event to the draw hook of the chart (`window.hone.drawn`), on one clock.
`--busy N` keeps N processes beside it busy, as a training does; `--tabs` opens the page so often, the last one is read.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proofs.screen import Screen, table
from training.leash import BEHIND_THE_SITE

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"]
START_SECONDS = 60
LOADS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("points", 500), ("rate", 20), ("burst", 10_000), ("long", 100_000), ("busy", 0), ("tabs", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("child", nargs="*")
    wanted = parser.parse_args()
    if wanted.child:
        CHILDREN[wanted.child[0]](*wanted.child[1:])
        return
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="hone-proof-") as home:
        env = {**os.environ, "HONE_HOME": home, "DJANGO_SETTINGS_MODULE": "dashboard.settings"}
        made = json.loads(_run(env, "prepare", str(wanted.points), str(wanted.burst), str(wanted.long)))
        screen.line("database, three jobs and a signed-in person are there")
        with daphne(env) as address, browser(address, made["session"]) as page:
            rows = [*live(screen, env, page, f"{address}/jobs/{made['live']}/", made["live"], wanted)]
            rows += burst(screen, env, page, f"{address}/jobs/{made['burst']}/", made["burst"], wanted.burst)
            rows += long_run(screen, page, f"{address}/jobs/{made['long']}/", wanted.long)
        screen.table(table(["measured", "value", "aim"], rows))


# ---- the three measurements ----


def live(screen: Screen, env: dict[str, str], page: Any, address: str, job: str, wanted: Any) -> Iterator[list[str]]:
    others = [page.context.new_page() for _ in range(wanted.tabs - 1)]
    for each in (*others, page):
        each.goto(address)
        each.locator("#connection[data-state=live]").wait_for()
    with busy(wanted.busy), training(env, job, wanted.points, wanted.rate):
        drawn = until_drawn(page, wanted.points, wanted.points / wanted.rate + 60)
    for each in others:
        each.close()
    waits = sorted((point["drawnAt"] - point["time"]) * 1000 for point in drawn)
    screen.line(f"{len(waits)} points at {wanted.rate} a second drawn")
    yield ["step written to point drawn, p50", f"{statistics.median(waits):.0f} ms", ""]
    yield ["step written to point drawn, p95", f"{waits[int(0.95 * len(waits))]:.0f} ms", "300 ms"]
    yield ["step written to point drawn, longest", f"{waits[-1]:.0f} ms", ""]


def burst(screen: Screen, env: dict[str, str], page: Any, address: str, job: str, count: int) -> list[list[str]]:
    """As fast as the trainer can write, with a reload in the middle."""
    page.goto(address)
    page.locator("#connection[data-state=live]").wait_for()
    began = time.monotonic()
    with training(env, job, count, 0):
        page.wait_for_timeout(1500)
        page.reload()
        page.locator(f'#job[data-points="{count}"]').wait_for(timeout=180_000)
    seconds = time.monotonic() - began
    screen.line(f"{count:,} points pushed with a reload in the middle")
    return [
        [f"points on screen of {count:,} pushed", page.locator("#job").get_attribute("data-points"), f"{count}"],
        [f"seconds until all {count:,} were drawn", f"{seconds:.1f} s", ""],
    ]


def long_run(screen: Screen, page: Any, address: str, steps: int) -> list[list[str]]:
    drawn = []
    for _ in range(LOADS):
        page.goto(address)
        page.locator("#job[data-drawn]").wait_for()
        drawn.append(int(page.locator("#job").get_attribute("data-drawn")))
        page.wait_for_timeout(300)
    document, figures = (len(page.context.request.get(url).body()) for url in (address, f"{address}metrics.json"))
    screen.line(f"a finished job of {steps:,} steps opened {LOADS} times")
    return [
        [f"{steps:,} steps: page", f"{document / 1000:.0f} kB", ""],
        [f"{steps:,} steps: figures", f"{figures / 1000:.0f} kB", ""],
        [f"{steps:,} steps: page and figures", f"{(document + figures) / 1000:.0f} kB", "300 kB"],
        [f"{steps:,} steps: navigation to drawn chart, median", f"{statistics.median(drawn):.0f} ms", "1000 ms"],
    ]


def until_drawn(page: Any, count: int, limit_seconds: float) -> list[dict[str, float]]:
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        page.wait_for_timeout(500)
        drawn: list[dict[str, float]] = page.evaluate("() => window.hone.drawn")
        if len(drawn) >= count:
            return drawn
    raise SystemExit(f"only {len(drawn)} of {count} points were drawn")


# ---- the processes ----


def _run(env: dict[str, str], *words: str) -> str:
    command = [sys.executable, "-m", "proofs.live_curve", *words]
    return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


@contextmanager
def daphne(env: dict[str, str]) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["dashboard.serve_web", "-b", "127.0.0.1", "-p", str(port), "dashboard.asgi:application"]
    address = f"http://127.0.0.1:{port}"
    log = (Path(env["HONE_HOME"]) / "web.log").open("w")
    process = subprocess.Popen([sys.executable, "-m", *words], cwd=ROOT, env=env, stdout=log, stderr=log)
    try:
        wait_for(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(address, timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"nothing answered at {address} within {START_SECONDS} s")


@contextmanager
def browser(address: str, session: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        chromium = tools.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        context = chromium.new_context(viewport={"width": 1440, "height": 900})
        context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
        yield context.new_page()
        chromium.close()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing but use a core each, as far behind the site as a trainer."""
    command = ["nice", "-n", str(BEHIND_THE_SITE), sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@contextmanager
def training(env: dict[str, str], job: str, count: int, rate: int) -> Iterator[None]:
    """A process that writes steps as the trainer does, and one that records them as the worker does."""
    command, ready = [sys.executable, "-m", "proofs.live_curve"], Path(env["HONE_HOME"]) / f"{job}.followed"
    processes = [subprocess.Popen([*command, "follow", job, str(count)], cwd=ROOT, env=env)]
    try:
        while not ready.exists():  # its start is no part of a step's way
            if processes[0].poll() is not None:
                raise SystemExit(f"{processes[0].args} ended with {processes[0].returncode}")
            time.sleep(0.1)
        processes.append(subprocess.Popen([*command, "write", job, str(count), str(rate)], cwd=ROOT, env=env))
        yield
        for process in processes:
            if process.wait(timeout=120):
                raise SystemExit(f"{process.args} ended with {process.returncode}")
    finally:
        for process in processes:
            process.kill()


# ---- what the child processes do; only they load Django ----


def prepare(points: str, burst_points: str, long_steps: str) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client

    from accounts.models import Membership, Project, User
    from tests import makers

    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="Proof")
    user = User.objects.create_user("proof@example.com", "a long password")
    Membership.objects.create(user=user, project=project, role="owner")
    client = Client()
    client.force_login(user)
    ids = {
        "live": makers.make_job(project, total_steps=int(points), label="live").id,
        "burst": makers.make_job(project, total_steps=int(burst_points), label="burst").id,
        "long": makers.make_job(project, steps=int(long_steps), status="succeeded", label="long").id,
    }
    print(json.dumps(ids | {"session": client.cookies["sessionid"].value}))


def write(job: str, count: str, rate: str) -> None:
    """Steps of a falling loss, `rate` a second; 0 for as fast as it goes."""
    from training.engine.emit import EventWriter
    from training.engine.spec import Step

    folder = Path(os.environ["HONE_HOME"]) / "runs" / job
    folder.mkdir(parents=True, exist_ok=True)
    writer, began = EventWriter(folder / "events.jsonl"), time.monotonic()
    for step in range(1, int(count) + 1):
        if int(rate):
            time.sleep(max(0.0, began + step / int(rate) - time.monotonic()))
        loss = 0.4 + 2 / (1 + step / 60) + 0.05 * (step % 7)
        writer.write(
            Step, step=step, epoch=4 * step / int(count), train_loss=loss, train_accuracy=1 / (1 + loss),
            learning_rate=3e-4 * (1 - step / int(count)), grad_norm=loss / 2, trained_tokens=80 * step,
            tokens_per_second=1500, memory_bytes=900_000_000,
        )  # fmt: skip
    writer.close()


def follow(job_id: str, count: str) -> None:
    """The worker's loop: look at the file, store what is new, wait."""
    import django

    django.setup()
    from training import home
    from training.events import EventReader
    from training.models import TrainingJob
    from training.recording import record_events
    from training.supervisor import POLL_SECONDS

    job, reader = TrainingJob.objects.get(pk=job_id), EventReader(home.run_folder(job_id) / "events.jsonl")
    (home.home() / f"{job_id}.followed").touch()
    while job.metrics.count() < int(count):
        time.sleep(POLL_SECONDS)
        events = reader.read()
        if events:
            record_events(job, events, offset=reader.offset)
    time.sleep(1)  # the last ping leaves from a thread


CHILDREN = {"prepare": prepare, "write": write, "follow": follow}

if __name__ == "__main__":
    main()
