"""`hone jobs`, `hone cancel|pause|resume JOB`."""

from argparse import Namespace
from datetime import datetime
from typing import Any

import openai

from terminal.client import own

VERBS = {"cancel": "stop a job; its checkpoints stay", "pause": "save and leave the device", "resume": "go on"}


def add_to(commands: Any) -> None:
    parser = commands.add_parser("jobs", help="list jobs, the newest first")
    parser.add_argument("--limit", type=int, default=20)
    parser.add_argument("--json", action="store_true", help="a job object a line")
    parser.set_defaults(run=run)
    for verb, words in VERBS.items():
        parser = commands.add_parser(verb, help=words)
        parser.add_argument("job")
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=act, verb=verb)


def run(client: openai.OpenAI, asked: Namespace) -> int:
    found = client.fine_tuning.jobs.list(limit=asked.limit).data
    for job in found:
        print(job.to_json(indent=None) if asked.json else line(job))
    if not found and not asked.json:
        print("No job yet. Make one: hone train FILE --model MODEL")
    return 0


def line(job: Any) -> str:
    hone = own(job, "hone") or {}
    made = f"{datetime.fromtimestamp(job.created_at):%Y-%m-%d %H:%M}"
    steps = f"{hone['step']:,}/{hone['total_steps']:,}" if hone.get("total_steps") else ""
    return f"{job.id}  {job.status:16} {steps:>11}  {made}  {job.fine_tuned_model or job.model}"


def act(client: openai.OpenAI, asked: Namespace) -> int:
    job = getattr(client.fine_tuning.jobs, asked.verb)(asked.job)
    words = (own(job, "hone") or {}).get("status_text") or ""
    print(job.to_json(indent=None) if asked.json else f"{job.id}  {job.status}  {words}".rstrip())
    return 0
