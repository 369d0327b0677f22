"""How long the API and the pages take in a database of 100,000 jobs, 10 million metric points and their event log.

    python -m benchmarks.load [--databases sqlite postgres] [--jobs 100000] [--points 10000000] [--asks 60] [--keep DIR]

Each database is new and is filled in SQL (benchmarks/load_rows.py): five projects, of which the largest, the one that
is asked, has half of the jobs; a metric row and a line of the event log each step. Then the real web process is asked,
one request after the other, with a key or a session; each address `--asks` times, of another job each time where it
names one.
Printed are the first answer, with nothing remembered, and p50 and p95 of all in milliseconds. Postgres has the settings
it is installed with and does not wait for its disk (fsync off). With --keep the filled databases stay in that folder,
and the next run migrates them and asks the same ones; remove the folder by hand.
"""

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from benchmarks.load_rows import fill
from proofs.live_curve import daphne
from proofs.screen import Screen, duration, table
from scripts.test import redis_and_postgres

ROOT = Path(__file__).resolve().parent.parent
HEAD = ["database", "what", "size", "first", "p50", "p95"]


@dataclass(frozen=True)
class Filled:
    """What the process that filled the database says of it; the jobs are those of the project that is asked."""

    key: str
    session: str
    short: list[str]  # jobs of few steps
    long: list[str]  # of 100,000
    running: list[str]
    deep_job: str  # the last one on page 499
    deep_events: dict[str, str]  # of each long job an event in the middle
    model: str  # a fine-tuned one
    gigabytes: float


def main() -> None:
    wanted = _options()
    if wanted.child:
        print(json.dumps(fill(wanted.jobs, wanted.points)))
        return
    screen, rows = Screen(), []
    for name in wanted.databases:
        with database(name, wanted.keep) as env:
            began = time.monotonic()
            found = filled(env, wanted.jobs, wanted.points)
            screen.line(f"{name}: {found.gigabytes:.1f} GB, there after {duration(time.monotonic() - began)}")
            rows += asked(screen, name, env, found, wanted)
    screen.table(table(HEAD, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--databases", nargs="+", choices=["sqlite", "postgres"], default=["sqlite", "postgres"])
    for name, value in (("jobs", 100_000), ("points", 10_000_000), ("asks", 60)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", default="", help="what has this in its words")
    parser.add_argument("--keep", type=Path, help="folder for the filled databases, made where it is missing")
    parser.add_argument("child", nargs="*")
    return parser.parse_args()


@contextlib.contextmanager
def database(name: str, keep: Path | None) -> Iterator[dict[str, str]]:
    """The environment of a Hone with nothing in it, or with what an earlier run kept."""
    with contextlib.ExitStack() as open_until_then:
        folder = keep and keep / name
        home = folder or Path(open_until_then.enter_context(tempfile.TemporaryDirectory(prefix="hone-bench-")))
        home.mkdir(parents=True, exist_ok=True)
        env = os.environ | {
            "HONE_HOME": str(home),
            "DJANGO_SETTINGS_MODULE": "dashboard.settings",
            "HONE_LOG_LEVEL": "ERROR",
        }
        env.pop("HONE_DATABASE_URL", None)
        if name == "postgres":
            servers = redis_and_postgres(folder and folder / "servers")
            env["HONE_DATABASE_URL"] = open_until_then.enter_context(servers)["HONE_DATABASE_URL"]
        yield env


def filled(env: dict[str, str], jobs: int, points: int) -> Filled:
    told = Path(env["HONE_HOME"]) / "filled.json"
    if told.exists():
        subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity=0"], cwd=ROOT, env=env, check=True)
    else:
        command = [sys.executable, "-m", "benchmarks.load", f"--jobs={jobs}", f"--points={points}", "fill"]
        done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
        told.write_text(done.stdout.splitlines()[-1])
    return Filled(**json.loads(told.read_text()))


# ---- asking ----


def addresses(found: Filled) -> dict[str, list[str]]:
    """By what they are; those of the API begin with /v1."""
    jobs = "/v1/fine_tuning/jobs"
    return {
        "jobs": [jobs],
        "jobs, page 500": [f"{jobs}?after={found.deep_job}"],
        "jobs, 100 a page": [f"{jobs}?limit=100"],
        "jobs with metadata": [f"{jobs}?{urlencode({'metadata[team]': f'team-{n}'})}" for n in range(10)],
        "the one with metadata": [f"{jobs}?{urlencode({'metadata[number]': str(n)})}" for n in range(100, 160)],
        "a job": [f"{jobs}/{job}" for job in found.short],
        "a job of 100,000 steps": [f"{jobs}/{job}" for job in found.long],
        "a running job": [f"{jobs}/{job}" for job in found.running],
        "events": [f"{jobs}/{job}/events" for job in found.short],
        "events of 100,000": [f"{jobs}/{job}/events" for job in found.long],
        "events, 50,000 deep": [f"{jobs}/{job}/events?after={event}" for job, event in found.deep_events.items()],
        "checkpoints": [f"{jobs}/{job}/checkpoints" for job in found.short + found.long],
        "a model": [f"/v1/models/{quote(found.model, safe=':')}"],
        "models": ["/v1/models"],
        "page of jobs": ["/jobs/"],
        "page of jobs, the 200th": ["/jobs/?page=200"],
        "page of failed jobs": ["/jobs/?status=failed"],
        "page of jobs, searched": [f"/jobs/?q=bot-{n}" for n in range(60)],
        "page of a job": [f"/jobs/{job}/" for job in found.short],
        "page of a job, 100,000 steps": [f"/jobs/{job}/" for job in found.long],
        "page of a running job": [f"/jobs/{job}/" for job in found.running],
        "its curves, few steps": [f"/jobs/{job}/metrics.json" for job in found.short],
        "its curves, 100,000 steps": [f"/jobs/{job}/metrics.json" for job in found.long],
        "overview": ["/"],
        "page of models": ["/models/"],
    }


def asked(screen: Screen, name: str, env: dict[str, str], found: Filled, wanted: argparse.Namespace) -> list[list[str]]:
    """Rows of the table."""
    rows = []
    with daphne(env) as address:
        for what, paths in addresses(found).items():
            if wanted.only not in what:
                continue
            taken, size = times(address, found, list(islice(cycle(paths), wanted.asks)))
            ordered = sorted(taken)
            shown = [taken[0], ordered[len(ordered) // 2], ordered[int(0.95 * len(ordered))]]
            rows.append([name, what, f"{size / 1000:.0f} kB", *(f"{value:.0f} ms" for value in shown)])
            screen.line("  ".join(rows[-1]) + f"  load {os.getloadavg()[0]:.1f}")
    return rows


def times(address: str, found: Filled, paths: list[str]) -> tuple[list[float], int]:
    """Milliseconds of each, and the bytes of the last. Raises where one is not answered well."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
    headers = {"Authorization": f"Bearer {found.key}", "Cookie": f"sessionid={found.session}"}
    taken, size = [], 0
    for path in paths:
        began = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        size = len(answer.read())
        taken.append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            raise SystemExit(f"{path} answered {answer.status}")
    return taken, size


if __name__ == "__main__":
    main()
