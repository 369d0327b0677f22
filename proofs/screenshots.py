"""Pictures of the real site with the sample job, for the README and for looking at: `make screenshots`.

Talks to the Hone at HONE_URL (default: this machine's), or starts one; runs the ticket demo when there is no finished
job; asks base and checkpoints one question in the playground; writes those of docs/img/*.png that a document shows.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from openai import OpenAI
from playwright.sync_api import Browser, Page, expect, sync_playwright

from proofs import server
from proofs.screen import Screen

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"]
SWITCHES += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WIDE, PHONE = (1440, 900), (390, 844)
ANSWER_MS = 600_000


def main() -> None:
    with server.find_or_start(Screen()) as hone:
        with_a_finished_job(hone)
        photograph(hone.url)


def with_a_finished_job(hone: server.Hone) -> None:
    client = OpenAI(base_url=hone.api, api_key=hone.key)
    jobs = client.fine_tuning.jobs.list(limit=100).data
    if not any(":ticket:" in (job.fine_tuned_model or "") for job in jobs):
        subprocess.run([sys.executable, "-m", "proofs.demo"], env={**os.environ, "HONE_URL": hone.url}, check=True)


def photograph(url: str) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=SWITCHES)
        state = signed_in(browser, url)
        page = browser.new_page(storage_state=state, viewport={"width": 1440, "height": 900})
        addresses = pages_to_show(page, url)
        for name, (address, (width, height)) in addresses.items():
            context = browser.new_context(
                storage_state=state, color_scheme="light", viewport={"width": width, "height": height}
            )
            shown = context.new_page()
            shown.goto(address)
            shown.wait_for_timeout(1500)  # charts draw after the first paint
            shown.screenshot(path=IMAGES / f"{name}.png")
            print(f"{name}.png")
            context.close()
        browser.close()


def signed_in(browser: Browser, url: str) -> dict:
    """The cookies of a person who followed a fresh one-time link."""
    command = [sys.executable, "manage.py", "sign_in_link"]
    env = {**os.environ, "HONE_HOME": str(server.home())}
    printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    token = re.search(r"/link/([\w-]+)/", printed)
    assert token, printed
    page = browser.new_page()
    page.goto(f"{url}/link/{token[1]}/")
    state = page.context.storage_state()
    page.close()
    return state


def pages_to_show(page: Page, url: str) -> dict[str, tuple[str, tuple[int, int]]]:
    """Name of each picture, its address and the size of its window; asks one question in the playground on the way."""
    page.goto(f"{url}/jobs/?status=succeeded&q=ticket")  # whose held-out message is asked
    job = page.locator("a[href^='/jobs/ftjob-']").first.get_attribute("href")
    page.goto(f"{url}/datasets/")
    dataset = page.get_by_role("link", name="ticket-train.jsonl").first.get_attribute("href")
    page.goto(f"{url}{job}")
    assert job and dataset
    for box in page.locator("#checkpoints tbody").get_by_role("checkbox").all()[:2]:
        box.check()
    page.get_by_role("button", name="Open side by side").click()
    playground = asked(page)
    return {
        "job-light": (f"{url}{job}", WIDE),
        "dataset-light": (f"{url}{dataset}?tab=tokens#tabs", WIDE),
        "dataset-tokens-light-phone": (f"{url}{dataset}rows/1", PHONE),
        "playground-light": (playground, WIDE),
    }


def asked(page: Page) -> str:
    """Sends a held-out message to every column; returns the address that reopens the comparison."""
    states = page.locator(".sheets__heads [data-state]")
    for index in range(states.count()):
        expect(states.nth(index)).to_have_text("Ready", timeout=ANSWER_MS)
    held_out = (ROOT / "training" / "samples" / "ticket" / "heldout.jsonl").read_text().splitlines()
    system, message = (each["content"] for each in json.loads(held_out[3])["messages"])
    page.locator("#system-fold summary").click()
    page.get_by_label("System prompt", exact=True).fill(system)
    page.locator("#system-fold summary").click()
    page.locator("#settings-fold summary").click()
    page.get_by_label("Longest answer").first.fill("64")
    page.locator("#settings-fold summary").click()
    page.get_by_label("Message", exact=True).fill(message)
    page.get_by_role("button", name="Send").click()
    figures = page.locator(".turn .cell [data-figures]")
    expect(figures).to_have_count(states.count(), timeout=ANSWER_MS)
    for index in range(states.count()):
        expect(figures.nth(index)).to_contain_text("tok/s", timeout=ANSWER_MS)
    page.get_by_role("button", name=re.compile("^2 ?B is better")).click()
    expect(page.locator(".cell--won")).to_have_count(1)
    return page.url


if __name__ == "__main__":
    main()
