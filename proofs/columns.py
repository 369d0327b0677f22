"""Eight columns at once in a browser: `python -m proofs.columns`.

Base model, three checkpoints of each of two jobs on it (made here where there are none), all from one vLLM, and an
external OpenAI-compatible server, which is a second process. Sends messages to 1, 2, 4 and 8 columns, each count
several times, with messages that no cache knows, and prints wall time and time to the first token as the browser saw
them.
Writes $HONE_HOME/proofs/columns-*.png. Talks to the Hone at HONE_URL (default: this machine's), or starts one.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openai import OpenAI
from playwright.sync_api import Page, sync_playwright

from proofs import demo, server
from proofs.screen import Screen, table
from proofs.screenshots import ROOT, SWITCHES, signed_in
from tests import stand_in

COUNTS = (1, 2, 4, 8)
ROUNDS = 5
EPOCHS = 3
ROWS = 24  # of the sample task, in the jobs that are made here
MAX_TOKENS = 32
READY_MS = 900_000
ANSWER_MS = 600_000
SUBJECTS = (
    "a parcel",
    "an invoice",
    "a password",
    "a router",
    "a refund",
    "a seat",
    "a bill",
    "a screen",
    "a key",
    "a line",
)

# Times in ms after the press, as the page shows them: of each column's first text, and when all have ended.
WATCH = """() => {
  const begun = performance.now(), first = {};
  window.watched = new Promise((done) => {
    const look = () => {
      const cells = [...document.querySelectorAll(".turn:last-child .cell")];
      for (const cell of cells)
        if (cell.querySelector(".answer__raw").textContent && !(cell.dataset.column in first))
          first[cell.dataset.column] = performance.now() - begun;
      const root = document.querySelector("#playground").classList;
      if (root.contains("playground--running")) window.ran = true;
      else if (window.ran) { observer.disconnect(); window.ran = false; done({first, all: performance.now() - begun}); }
    };
    const observer = new MutationObserver(look);
    const all = {subtree: true, childList: true, characterData: true, attributes: true};
    observer.observe(document.querySelector("#playground"), all);
  });
}"""


@dataclass
class Measured:
    """One message to some columns; seconds."""

    wall: float
    first: list[float]  # of each column
    tokens: int


def main() -> None:
    screen = Screen()
    with server.find_or_start(screen) as hone, stand_in.standing() as external:
        client = OpenAI(base_url=hone.api, api_key=hone.key)
        models = [demo.BASE, *checkpoints(client, screen), add_external(external)]
        measured = watch(hone, screen, models)
    screen.heading(
        f"Columns at once, {MAX_TOKENS} tokens each, median of {ROUNDS} messages; {os.cpu_count()} CPU cores"
    )
    names = ["columns", "all done", "first token, median", "first token, last column", "tokens/s of all"]
    screen.table(table(names, [row(count, rounds) for count, rounds in measured.items()]))
    keep = server.home() / "proofs" / "columns.json"
    keep.write_text(
        json.dumps({count: [vars(each) for each in rounds] for count, rounds in measured.items()}, indent=1)
    )


def row(count: int, rounds: list[Measured]) -> list[str]:
    walls = statistics.median(each.wall for each in rounds)
    middle = statistics.median(statistics.median(each.first) for each in rounds)
    last = statistics.median(max(each.first) for each in rounds)
    speed = statistics.median(each.tokens / each.wall for each in rounds)
    return [str(count), f"{walls:.2f} s", f"{middle:.2f} s", f"{last:.2f} s", f"{speed:.1f}"]


# ---- who answers ----


def checkpoints(client: OpenAI, screen: Screen) -> list[str]:
    """Three epochs of each of two jobs, oldest first."""
    found: list[str] = []
    for task in ("ticket", "tone"):
        job = next((job for job in client.fine_tuning.jobs.list(limit=100).data if is_one(client, job, task)), None)
        job_id = job.id if job else train(client, screen, task)
        rows = list(client.fine_tuning.jobs.checkpoints.list(job_id))[::-1]
        found += [each.fine_tuned_model_checkpoint for each in rows[:EPOCHS]]
    return found


def is_one(client: OpenAI, job: Any, task: str) -> bool:
    if job.status != "succeeded" or f":{task}-columns:" not in (job.fine_tuned_model or ""):
        return False
    return len(list(client.fine_tuning.jobs.checkpoints.list(job.id))) >= EPOCHS


def train(client: OpenAI, screen: Screen, task: str) -> str:
    """The id of a short job on the first rows of a sample task."""
    lines = (demo.SAMPLES / task / "train.jsonl").read_bytes().splitlines(keepends=True)
    file = client.files.create(file=(f"{task}-columns.jsonl", b"".join(lines[:ROWS])), purpose="fine-tune")
    client.files.wait_for_processing(file.id, poll_interval=0.2)
    job = client.fine_tuning.jobs.create(
        model=demo.BASE,
        training_file=file.id,
        suffix=f"{task}-columns",
        seed=42,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": 4}}},
        extra_body={"lora": demo.LORA},
    )
    with screen.part(f"{job.id} on {ROWS} rows of {task}"):
        job = demo.follow(client, screen, job)
    if job.status != "succeeded":
        raise demo.DemoFailed(f"{job.id} {job.status}")
    return job.id


def add_external(external: stand_in.StandIn) -> str:
    """The stand-in's model as a row of the first project; returns the name of its column."""
    code = (
        "from accounts.models import Project; from playground.external.models import ExternalModel as E\n"
        f"e = E(project=Project.objects.first(), name='Stand-in {external.base_url[-8:-3]}', model='parrot',"
        f" base_url={external.base_url!r})\ne.keep_key({stand_in.KEY!r}); e.save(); print('made', e.pk)"
    )
    command = [sys.executable, "manage.py", "shell", "-c", code]
    env = {**os.environ, "HONE_HOME": str(server.home())}
    printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    found = re.search(r"made (ext_\w+)", printed)
    assert found, printed
    return found[1]


# ---- in the browser ----


def watch(hone: server.Hone, screen: Screen, models: list[str]) -> dict[int, list[Measured]]:
    pictures = server.home() / "proofs"
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=SWITCHES)
        state = signed_in(browser, hone.url)
        page = browser.new_page(storage_state=state, viewport={"width": 1440, "height": 900})
        subjects = iter(SUBJECTS * 10)
        with screen.part("all eight loaded and proven"):
            open_columns(page, hone.url, models)
            ask(page, "Hello")  # not measured: the first request of each adapter is slow
        measured = {}
        for count in COUNTS:
            # the external one is the last: among eight it is one
            open_columns(page, hone.url, models[:count])
            measured[count] = [
                ask(page, f"{number}. Write to support about {next(subjects)}.") for number in range(ROUNDS)
            ]
            screen.line(f"{count} columns: {', '.join(f'{each.wall:.2f} s' for each in measured[count])}")
        photograph(page, pictures)
        browser.close()
    return measured


def open_columns(page: Page, url: str, models: list[str]) -> None:
    page.goto(f"{url}/playground/?models={quote(','.join(models), safe=',:')}")
    ready = page.locator(".sheet .chip--ready, .sheet .chip--external")
    ready.nth(len(models) - 1).wait_for(timeout=READY_MS)
    page.locator("#settings-fold summary").click()
    page.locator("[data-setting=max_tokens]").fill(str(MAX_TOKENS))
    page.locator("#settings-fold summary").click()


def send(page: Page, message: str) -> None:
    page.get_by_label("Message", exact=True).fill(message)
    page.evaluate(WATCH)
    page.keyboard.press("Control+Enter")


def ask(page: Page, message: str) -> Measured:
    """Each message in a comparison of its own, so that no column has a history."""
    if page.locator("[data-new-prompt]:visible").count():
        page.locator("[data-new-prompt]").click()
        page.wait_for_url(re.compile(r"models="))
        page.locator(".sheet").first.wait_for()
    send(page, message)
    page.set_default_timeout(ANSWER_MS)
    times = page.evaluate("window.watched")
    figures = page.locator(".turn:last-child [data-figures]").all_inner_texts()
    faults = [text for text in page.locator(".turn:last-child [data-error]").all_inner_texts() if text]
    assert not faults, faults
    assert len(times["first"]) == len(figures), f"only {len(times['first'])} of {len(figures)} columns spoke"
    tokens = sum(int(found[1]) for text in figures if (found := re.search(r"· (\d+) tokens?\b", text)))
    return Measured(times["all"] / 1000, [value / 1000 for value in times["first"].values()], tokens)


def photograph(page: Page, folder: Path) -> None:
    """Eight columns while they answer, all and with five folded, and when they have ended."""
    page.locator("[data-new-prompt]").click()
    page.locator(".turns__none").wait_for()
    send(page, "My parcel is late. Please write one friendly sentence about it.")
    page.locator(".cell--running .answer__shown > *").nth(4).wait_for(timeout=ANSWER_MS)
    page.screenshot(path=folder / "columns-streaming.png")
    page.keyboard.press("Escape")
    for number in (2, 3, 5, 6, 7):
        page.keyboard.press(f"Shift+Digit{number}")
    page.screenshot(path=folder / "columns-folded.png")
    page.evaluate("window.watched")
    page.wait_for_selector(".votebar")
    page.screenshot(path=folder / "columns-ended.png")


if __name__ == "__main__":
    main()
