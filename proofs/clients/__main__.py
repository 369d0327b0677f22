"""Do programs written for OpenAI run against Hone unchanged? A table of rows and clients.

    python -m proofs.clients [--only "openai 3.54.0"] [--share]

Starts one Hone with a tiny random model, the real trainer and the real vLLM, in a folder of its own; installs three
versions of OpenAI's Python SDK, its Node SDK, litellm and wandb, each in an environment of its own (kept for the next
time); runs the rows in each and writes docs/clients.md. With --share a job that one SDK has trained is looked at by the
next, which trains it no more: quicker. Exits 1 when a row failed.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from proofs.clients import environments
from proofs.clients.tables import Told, write
from proofs.screen import Screen, duration
from proofs.server import ROOT, Hone, NoServer, home, started

ROWS_SECONDS = 3600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=environments.NAMES, help="some of the columns")
    parser.add_argument("--share", action="store_true", help="train each job once, for all SDKs")
    options = parser.parse_args()
    screen, cache = Screen(), home() / "proofs" / "clients"
    os.environ["HONE_HOME"] = str(cache / "home")
    os.environ["HONE_STARTER"] = "0"
    try:
        with started(screen) as hone:
            told = run_all(screen, hone, cache, options.only or list(environments.NAMES), options.share)
    except NoServer as error:
        screen.line(str(error))
        return 1
    screen.line(write(told, options.share, whole=not options.only))
    return 1 if any(each.failed for each in told) else 0


def run_all(screen: Screen, hone: Hone, cache: Path, names: list[str], share: bool) -> list[Told]:
    """The keys of the first program are those of all that look at its jobs."""
    from tests.factories import tiny_model

    folder = tiny_model(home() / "models" / "tiny")
    keys, told = cast(folder), []
    for number, name in enumerate(names):
        own = cast(folder) if number and name.startswith("openai") and not share else keys
        with screen.part(f"{name}: rows run"):
            told += run_rows(screen, hone, cache, name, own)
    return told


def cast(folder: Path) -> str:
    """Keys of two new projects, as JSON."""
    command = [sys.executable, "-m", "proofs.clients.cast", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def run_rows(screen: Screen, hone: Hone, cache: Path, name: str, keys: str) -> list[Told]:
    try:
        command, place = environments.command_of(name, cache / "environments")
    except environments.NotInstalled as error:
        screen.line(f"{name}: {error}")
        return [Told(name, "installed", str(error))]
    env = {**os.environ, "HONE_URL": hone.url, "HONE_KEYS": keys}
    process = subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ending = threading.Timer(ROWS_SECONDS, process.kill)
    ending.start()
    try:
        return follow(screen, process, name)
    finally:
        ending.cancel()  # or this process would wait for it


def follow(screen: Screen, process: "subprocess.Popen[str]", name: str) -> list[Told]:
    """Its rows as they come. One that dies on the way has a row that says so."""
    told: list[Told] = []
    complaints: list[str] = []
    assert process.stdout and process.stderr
    reading = threading.Thread(target=lambda: complaints.extend(process.stderr or ()), daemon=True)
    reading.start()
    for line in process.stdout:
        if line.startswith('{"row"'):
            said = json.loads(line)
            told.append(Told(name, said["row"], said["said"]))
            screen.line(f"  {said['row']}: {said['said'] or 'passed'} ({duration(said['seconds'])})")
    if process.wait():
        reading.join(5)
        told.append(Told(name, "ran to its end", "".join(complaints)[-300:] or f"exit status {process.returncode}"))
    return told


if __name__ == "__main__":
    sys.exit(main())
