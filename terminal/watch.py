"""`hone watch JOB`: progress, estimate and loss curve until it ends; plain lines where there is no terminal."""

import shutil
import sys
import time
from argparse import Namespace
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import openai

from terminal import curve
from terminal.client import REFUSED, own

FINAL = ("succeeded", "failed", "cancelled")
POLL_SECONDS = 1.0
EVENTS_AT_ONCE = 100
BAR = 24
LAST_EVENTS = 4


@dataclass
class Seen:
    """What the events have told so far. A step's figures may come twice: its validation is known later than itself."""

    training: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)  # by id what was told

    def take(self, event: Any) -> str:
        """The line that a log has of it; nothing where that is known."""
        told = self._figures(event.data or {}) if event.type == "metrics" else event.message
        if self.known.get(event.id) == told:
            return ""
        self.known[event.id] = told
        line = f"{datetime.fromtimestamp(event.created_at):%H:%M:%S}  {told}"
        if event.type != "metrics":
            self.lines.append(line)
        return line

    def _figures(self, data: dict[str, Any]) -> str:
        step, told = int(data.get("step") or 0), []
        whole = data.get("full_valid_loss")
        for name, value, kept in (
            ("training", data.get("train_loss"), self.training),
            ("validation", data.get("valid_loss") if whole is None else whole, self.validation),
        ):
            if value is not None:
                kept[step] = float(value)
                told.append(f"{name} loss {value:.4g}")
        return f"step {step:,}: {', '.join(told)}"


def add_to(commands: Any) -> None:
    parser = commands.add_parser("watch", help="progress and loss curve of a job, live", description=__doc__)
    parser.add_argument("job")
    parser.set_defaults(run=run)


def run(client: openai.OpenAI, asked: Namespace) -> int:
    return follow(client, asked.job)


def follow(client: openai.OpenAI, job_id: str, *, plain: bool = False) -> int:
    """Until it ends: 0 when it succeeded. Ctrl-C leaves the job running and says so."""
    live, seen, drawn = sys.stdout.isatty() and not plain, Seen(), 0
    try:
        while True:
            job = client.fine_tuning.jobs.retrieve(job_id)
            lines = [line for event in reversed(news(client, job_id, seen)) if (line := seen.take(event))]
            if live:
                drawn = redraw(picture(job, seen, *shutil.get_terminal_size()), drawn)
            else:
                print(*lines, sep="\n", end="\n" if lines else "", flush=True)
            if job.status in FINAL:
                return ended(job)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        print(f"\n{job_id} goes on; `hone watch {job_id}` looks at it again, `hone cancel {job_id}` stops it.")
        raise


def news(client: openai.OpenAI, job_id: str, seen: Seen) -> list[Any]:
    """The newest events first: one page of them, and further ones until what is known begins."""
    page, found = client.fine_tuning.jobs.list_events(job_id, limit=EVENTS_AT_ONCE), []
    while True:
        found += page.data
        if not page.has_next_page() or any(event.id in seen.known for event in page.data):
            return found
        page = page.get_next_page()


def ended(job: Any) -> int:
    if job.status == "succeeded":
        print(f"{job.id} succeeded: {job.fine_tuned_model}")
        return 0
    reason = f": {job.error.message}" if job.error and job.error.message else ""
    print(f"hone: {job.id} {job.status}{reason}", file=sys.stderr)
    return REFUSED


def picture(job: Any, seen: Seen, width: int, height: int) -> list[str]:
    """What stands on the screen, no line longer than it is wide."""
    hone = own(job, "hone") or {}
    step, total = hone.get("step") or 0, hone.get("total_steps") or 0
    share = step / total if total else 0.0
    head = [f"{job.id}  {job.model}  {job.status}"]
    if total:
        filled = round(share * BAR)
        left = f"  about {duration(job.estimated_finish - time.time())} left" if job.estimated_finish else ""
        head.append(f"{'█' * filled}{'░' * (BAR - filled)} {share:4.0%}  step {step:,} of {total:,}{left}")
    elif hone.get("status_text"):
        head.append(str(hone["status_text"]))
    training, validation = sorted(seen.training.items()), sorted(seen.validation.items())
    last = [f"training loss {training[-1][1]:.4g}"] if training else []
    last += [f"{curve.VALIDATION} validation loss {validation[-1][1]:.4g}"] if validation else []
    room = max(4, min(16, height - len(head) - LAST_EVENTS - 4))
    drawn = curve.draw(training, validation, min(width - 1, 100), room)
    lines = [*head, *(["   ".join(last)] if last else []), *drawn, *seen.lines[-LAST_EVENTS:]]
    return [line[: width - 1] for line in lines]


def redraw(lines: list[str], before: int) -> int:
    """In the place of the `before` lines that were drawn last; returns how many stand there now."""
    up = f"\x1b[{before}A" if before else ""
    print(up + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[0J", end="", flush=True)
    return len(lines)


def duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02} min"
