"""Every check and every test level this machine can run; `make test` calls it.

    checks    ruff, import contracts, missing migrations
    embedded  all tests on SQLite, the embedded queue and the unix-socket channel layer
    servers   the marked subset again on a real Redis and a real Postgres, started here for the run

Options after `--` go to pytest.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
POSTGRES_BINS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
CHECKS = [
    [str(BIN / "ruff"), "format", "--check", "."],
    [str(BIN / "ruff"), "check", "."],
    [str(BIN / "lint-imports")],
    [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
]

COUNTS = {"passed": 0.0, "failed": 0.0, "skipped": 0.0}  # of both profiles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks-only", action="store_true")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest")
    options = parser.parse_args()
    os.chdir(ROOT)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hone-check-") as home:
        failed = [command for command in CHECKS if not run(command, HONE_HOME=home)]
    if not options.checks_only:
        failed += tests(options.pytest)
    say(f"{(time.monotonic() - began) / 60:.1f} min in all; {'FAILED: ' + str(failed) if failed else 'all green'}")
    if not options.checks_only:
        print(", ".join(f"{number:.0f} {outcome}" for outcome, number in COUNTS.items()), flush=True)
    sys.exit(1 if failed else 0)


def tests(arguments: list[str]) -> list[list[str]]:
    """Both profiles; returns the commands that failed."""
    failed = []
    # the marked subset comes first: it is short
    # one broken part can fail hundreds of tests, each after its own time limit
    pytest = [sys.executable, "-m", "pytest", "--maxfail", "20", *arguments]
    servers = [*pytest, "-m", "servers"]
    if shutil.which("redis-server") and POSTGRES_BINS:
        say("the marked subset on Redis and Postgres")
        with redis_and_postgres() as environment:
            if not run(servers, **environment):
                failed.append(servers)
    else:
        say("SKIPPED: Redis and Postgres are not installed (Debian: apt install redis-server postgresql)")
    say("all tests on the embedded profile")
    return failed if run(pytest) else [*failed, pytest]


def run(command: list[str], **environment: str) -> bool:
    say(" ".join(command).replace(str(BIN) + "/", ""))
    with tempfile.NamedTemporaryFile("r") as report:
        environment["HONE_TEST_REPORT"] = report.name
        passed = subprocess.run(command, env={**os.environ, **environment}, check=False).returncode == 0
        for level in json.loads(report.read() or "{}").values():
            for outcome in COUNTS:
                COUNTS[outcome] += level[outcome]
    return passed


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


@contextlib.contextmanager
def redis_and_postgres(keep: Path | None = None) -> Iterator[dict[str, str]]:
    """Servers on free ports, fresh but where they are to keep what they hold in a folder; yields the two settings that
    point Hone at them."""
    folder = keep or Path(tempfile.mkdtemp(prefix="hone-servers-"))
    redis_port, postgres_port = free_port(), free_port()
    redis = subprocess.Popen(
        ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    # Postgres refuses to run as root
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data = folder / "postgres"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if not data.exists():
        data.mkdir(parents=True)
        if as_user:
            folder.chmod(0o755)
            shutil.chown(data, "postgres")
        initdb = [*as_user, str(POSTGRES_BINS[0] / "initdb"), "-D", str(data), "-U", "hone", "--auth=trust"]
        subprocess.run(initdb, check=True, **quiet)
    options = ["-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    server = [str(POSTGRES_BINS[0] / "postgres"), "-D", str(data), "-p", str(postgres_port), *options]
    postgres = subprocess.Popen([*as_user, *server], **quiet)
    try:
        wait_for(redis_port)
        wait_for(postgres_port)
        ready = [str(POSTGRES_BINS[0] / "pg_isready"), "-h", "127.0.0.1", "-p", str(postgres_port)]
        while subprocess.run(ready, check=False, **quiet).returncode:
            time.sleep(0.1)
        yield {
            "HONE_REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
            "HONE_DATABASE_URL": f"postgres://hone@127.0.0.1:{postgres_port}/postgres",
        }
    finally:
        for process in (redis, postgres):
            process.terminate()
            process.wait()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port} after {seconds:.0f} s")


if __name__ == "__main__":
    main()
