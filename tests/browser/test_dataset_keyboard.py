"""Filters of rows, the queue of finds and the hub without a mouse: reachable, seen, answered; the focus is kept."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Site
from tests.browser.test_phone import in_the_site

pytestmark = pytest.mark.browser
MAKE = """
import json
from accounts.models import Project
from tests.factories import chat_row
from training import files
rows = [chat_row(f"Order {n}?", f"Order {n} is done.") for n in range(12)]
for n in (2, 5, 8):
    rows[n] = chat_row(f"Order {n}? Write to ada.{n}@firm.org", "Done.")
content = "".join(json.dumps(row) + "\\n" for row in rows)
print(files.create_file(Project.objects.first(), None, "keys.jsonl", "fine-tune", content.encode()).pk)
"""
AWAY = """
from training import files
from training.models import DatasetFile
for file in DatasetFile.objects.filter(filename="keys.jsonl"):
    files.delete(file)
"""


@pytest.fixture
def address(site: Site, page: Page) -> Iterator[str]:
    """Of a dataset with three e-mail addresses in it."""
    file_id = in_the_site(site, MAKE).strip()
    site.sign_in(page)
    yield f"{site.url}/datasets/{file_id}/"
    in_the_site(site, AWAY)


def reach(page: Page, wanted: Locator, presses: int = 40) -> None:
    """By Tab alone; whatever has the focus on the way shows it."""
    expect(wanted).to_be_visible()
    for _ in range(presses):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        assert focused.evaluate("it => it.matches(':focus-visible')"), "the focus cannot be seen"
        if wanted.evaluate("it => it === document.activeElement"):
            return
    raise AssertionError(f"{wanted} is not reached by {presses} presses of Tab")


def test_rows_are_searched_and_filtered_by_keyboard(page: Page, address: str) -> None:
    page.goto(f"{address}?tab=rows")
    search = page.get_by_role("searchbox", name="Words in the rows")
    page.locator("#tabs a[aria-current]").focus()
    reach(page, search)
    page.keyboard.type("firm.org")
    page.keyboard.press("Enter")
    expect(page.locator(".rows-looked")).to_contain_text("3 hits")
    more = page.locator(".rows-search summary")
    page.get_by_role("searchbox").focus()
    reach(page, more, 4)
    page.keyboard.press("Space")
    longer = page.get_by_label("Longer than")
    reach(page, longer, 6)
    page.keyboard.type("9999")
    page.keyboard.press("Enter")
    expect(page.locator("#rows")).to_contain_text("holds all of this")
    page.locator(".rows-search summary").focus()
    chip = page.locator(".rows-chips a").last
    reach(page, chip, 12)
    page.keyboard.press("Enter")
    expect(page.locator(".rows-looked")).to_contain_text("3 hits")


def test_finds_are_decided_by_keyboard_and_the_focus_stays_in_the_queue(page: Page, address: str) -> None:
    page.goto(f"{address}?tab=safety")
    verbs = page.get_by_role("group", name="E-mail address in line 3")
    page.get_by_role("link", name="Undecided").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("show=open"))
    redact = verbs.get_by_role("button", name="Redact")
    page.get_by_role("link", name="Dropped").focus()
    reach(page, redact, 6)
    page.keyboard.press("Space")
    expect(verbs).to_have_count(0)  # it is decided, so the next one has come up
    following = page.get_by_role("group", name="E-mail address in line 6").get_by_role("button", name="Redact")
    expect(following).to_be_focused()
    assert following.evaluate("it => it.matches(':focus-visible')")

    page.goto(f"{address}?tab=safety")
    all_of_them = page.get_by_role("group", name="All of the kind E-mail address")
    page.locator("#tabs a[aria-current]").focus()
    reach(page, all_of_them.get_by_role("button", name="Keep"), 8)
    page.keyboard.press("Enter")
    keep = all_of_them.get_by_role("button", name="Keep")
    expect(keep).to_have_attribute("aria-pressed", "true")
    expect(keep).to_be_focused()
    reach(page, page.get_by_role("button", name="Make a new version"), 12)


def test_the_focus_outlives_a_part_that_is_drawn_anew(page: Page, address: str) -> None:
    """While a worker looks through the rows, the tab is asked for again and again."""
    page.goto(f"{address}?tab=safety")
    part = page.locator("#safety")
    button = page.get_by_role("group", name="E-mail address in line 6").get_by_role("button", name="Drop row")
    button.focus()
    with page.expect_response(re.compile("/safety")):
        part.evaluate("""it => htmx.ajax("GET", location.pathname + "safety", {target: it, swap: "morph:outerHTML"})""")
    expect(button).to_be_focused()


def test_the_hub_is_asked_by_keyboard(site: Site, page: Page, address: str) -> None:
    page.goto(f"{site.url}/datasets/")
    more = page.locator(".title-line summary")
    more.focus()
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name="From the Hugging Face hub")
    reach(page, link, 4)
    page.keyboard.press("Escape")
    expect(link).to_be_hidden()
    expect(more).to_be_focused()
    page.keyboard.press("Space")
    reach(page, link, 4)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Dataset on the Hugging Face hub")).to_be_focused()
    page.keyboard.type("openai/gsm8k")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("upload it from your disk")
    expect(page.get_by_label("Dataset on the Hugging Face hub")).to_be_focused()
