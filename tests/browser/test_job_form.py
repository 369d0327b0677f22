"""The job form in a real browser: its groups by keyboard, live faults with links, the film strip's choice."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site

pytestmark = pytest.mark.browser
ANSWER_MS = 20_000  # for the card, on a loaded machine


def test_groups_open_by_keyboard_and_tell_what_is_set_and_wrong_while_one_types(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/jobs/new/")
    group = page.locator("#group-adapter")
    line, wrong = group.locator(".job-group__said"), group.locator(".job-group__wrong")
    expect(line).to_have_text("which weights learn, and how many")
    group.locator("summary").focus()
    page.keyboard.press("Enter")
    page.get_by_label("LoRA rank").fill("8")
    expect(line).to_have_text("1 set: LoRA rank")
    page.get_by_label("LoRA rank").fill("nan")
    expect(wrong).to_have_text("1 to correct", timeout=ANSWER_MS)
    expect(page.get_by_label("LoRA rank")).to_have_attribute("aria-invalid", "true")
    group.locator("summary").click()
    page.locator("#answer").get_by_role("link", name="LoRA rank").click()
    expect(page.get_by_label("LoRA rank")).to_be_focused()
    page.get_by_label("LoRA rank").fill("")
    expect(wrong).to_be_hidden(timeout=ANSWER_MS)
    expect(page.locator("#answer .faults")).to_have_count(0)
    group.get_by_text("Full weights", exact=True).click()
    expect(page.get_by_label("LoRA rank")).to_be_hidden()
    expect(line).to_have_text("1 set: Weights")


def test_prompts_of_ones_own_are_asked_for_only_where_they_are_chosen(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/jobs/new/")
    expect(page.get_by_label("Pinned prompts")).to_be_hidden()
    choice = page.get_by_role("radiogroup", name="Watch it learn")
    choice.get_by_role("radio", name="A few validation rows").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Pinned prompts")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Pinned prompts")).to_be_hidden()
    expect(page.get_by_text("Nothing is asked, and nothing is loaded for it.")).to_be_visible()
