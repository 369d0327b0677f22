"""The main job as a person does it, on the real stack: database, queue, websocket, trainer process, vLLM, browser."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Site

pytestmark = [pytest.mark.browser, pytest.mark.vllm]
TRAINING_MS = 120_000
LOADING_MS = 300_000  # vLLM starts and proves each checkpoint


def rows(count: int) -> str:
    """Chat rows with a pattern that a tiny model can learn."""
    lines = []
    for number in range(count):
        question, answer = f"What comes after {number}?", f"After {number} comes {number + 1}."
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        lines.append(json.dumps({"messages": messages}))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "counting.jsonl"
    path.write_text(rows(48))
    return path


def replace_a_request_while_typing(page: Page) -> None:
    """An estimate that is not answered gives way to the next one; the console, which ends the test, says nothing."""
    estimate = "**/jobs/new/estimate"
    held: list[Route] = []
    page.route(estimate, lambda route: route.continue_() if held else held.append(route))
    with page.expect_request(estimate):
        page.get_by_label("Epochs").fill("1")
    with page.expect_event("requestfailed"):
        page.get_by_label("Epochs").fill("2")
    page.unroute(estimate)


def test_from_the_sign_in_link_to_the_rerun(site: Site, page: Page, dataset: Path):
    # the printed link signs the owner in and asks for a password
    page.goto(site.link)
    page.get_by_label("E-mail").fill("owner@example.com")
    page.get_by_label("Password").fill("a long enough password")
    page.get_by_role("button", name="Set password").click()
    expect(page).to_have_url(f"{site.url}/")

    # upload
    page.get_by_role("link", name="Datasets").first.click()
    page.locator("#upload-input").set_input_files(dataset)
    expect(page).to_have_url(re.compile("/datasets/file-"), timeout=20_000)
    expect(page.get_by_text("48 rows, ready")).to_be_visible()

    # the form: everything on auto but the epochs
    page.get_by_role("link", name="Train with this").click()
    page.get_by_label("Base model").select_option(label="tiny-llama")
    page.get_by_text("Split off", exact=False).first.click()
    page.get_by_label("Suffix").fill("counting")
    replace_a_request_while_typing(page)
    page.get_by_label("Epochs").fill("3")
    expect(page.locator("#auto-batch_size")).to_contain_text("auto is")
    expect(page.locator("#answer")).to_contain_text("Steps")
    page.get_by_role("button", name="Create job").click()

    # the job page lives until every epoch has its checkpoint, without a reload
    expect(page).to_have_url(re.compile(r"/jobs/ftjob-\w+/"))
    job_address = page.url
    expect(page.locator("#job-head")).to_contain_text("Succeeded", timeout=TRAINING_MS)
    checkpoints = page.locator("#checkpoints tbody tr")
    expect(checkpoints).to_have_count(3)
    for index in range(3):
        expect(checkpoints.nth(index)).to_contain_text("ft:tiny-llama:hone:counting:")
        expect(checkpoints.nth(index).locator("td").nth(4)).to_have_text(re.compile(r"\d\.\d+"))
    expect(page.locator("[data-chart=loss] canvas").first).to_be_visible()

    # base and all three epochs side by side, answered by one vLLM server
    for index in range(3):
        checkpoints.nth(index).get_by_role("checkbox").check()
    page.get_by_role("button", name="Open side by side").click()
    expect(page).to_have_url(re.compile("/playground/"))
    heads = page.locator(".sheets__heads [data-state]")
    expect(heads).to_have_count(4)
    for index in range(4):
        expect(heads.nth(index)).to_have_text("Ready", timeout=LOADING_MS)
    page.locator("#settings-fold summary").click()
    page.get_by_label("Longest answer").first.fill("12")
    page.get_by_label("Message", exact=True).fill("What comes after 7?")
    page.get_by_role("button", name="Send").click()
    cells = page.locator(".turn .cell")
    expect(cells).to_have_count(4)
    for index in range(4):
        expect(cells.nth(index).locator("[data-figures]")).to_contain_text("tok/s", timeout=60_000)
    page.get_by_role("button", name=re.compile("^2 ?B is better")).click()
    expect(page.locator(".cell--won")).to_have_count(1)

    # rerun with one value changed
    page.goto(job_address)
    page.get_by_role("link", name="Rerun").first.click()
    expect(page.get_by_label("Epochs")).to_have_value("3")
    page.get_by_label("Epochs").fill("1")
    expect(page.locator("#changed-summary")).to_contain_text("epochs")
    page.get_by_role("button", name="Start the rerun").click()
    expect(page.locator("#job-head")).to_contain_text("Succeeded", timeout=TRAINING_MS)
    page.goto(f"{page.url.split('?')[0]}?tab=lineage")
    page.get_by_role("link", name="compare").first.click()
    expect(page).to_have_url(re.compile("/jobs/compare/"))
    expect(page.get_by_text("Epochs", exact=False).first).to_be_visible()
