"""A running job in a person's hands: saved, paused, resumed and stopped with the buttons of its page."""

import json

import pytest
from openai import OpenAI
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.factories import chat_rows

pytestmark = pytest.mark.browser
TRAINING_MS = 120_000


def test_a_running_job_is_saved_paused_resumed_and_stopped_from_its_page(site: Site, page: Page) -> None:
    key = (site.home / "api-key").read_text().strip()
    client = OpenAI(base_url=f"{site.url}/v1", api_key=key, max_retries=0)
    rows = "".join(json.dumps(row) + "\n" for row in chat_rows(4000))  # one long pass: nothing is saved before its end
    file = client.files.create(file=("many.jsonl", rows.encode()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model=site.base_model, training_file=file.id, hyperparameters={"n_epochs": 1, "batch_size": 1}
    )
    site.sign_in(page)
    page.goto(f"{site.url}/jobs/{job.id}/")
    head, checkpoints = page.locator("#job-head"), page.locator("#checkpoints tbody tr")

    save = head.get_by_role("button", name="Save now")
    expect(save).to_be_enabled(timeout=TRAINING_MS)
    expect(checkpoints).to_have_count(0)
    save.click()
    expect(checkpoints).to_have_count(1, timeout=TRAINING_MS)
    expect(head).to_contain_text("Running")

    head.get_by_role("button", name="Pause").click()
    resume = head.get_by_role("button", name="Resume")
    expect(resume).to_be_visible(timeout=TRAINING_MS)
    expect(checkpoints).to_have_count(2)
    step = head.locator(".figure__value").first
    paused_at = step.inner_text()

    resume.click()
    expect(head).to_contain_text("Running", timeout=TRAINING_MS)
    expect(step).not_to_have_text(paused_at, timeout=TRAINING_MS)

    head.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(head).to_contain_text("Cancelled", timeout=TRAINING_MS)
    expect(head.get_by_role("button", name="Resume")).to_have_count(0)
    expect(checkpoints.first).to_be_visible()
    assert client.fine_tuning.jobs.retrieve(job.id).status == "cancelled"
