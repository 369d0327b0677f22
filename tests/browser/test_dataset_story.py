"""A broken file becomes one that a job can train on, in the browser, by keyboard where it has a key."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Site
from tests.browser.test_phone import in_the_site

pytestmark = pytest.mark.browser
PLACES = ("Lyon", "Turin", "Graz", "Oslo", "Porto", "Ghent", "Leeds", "Bilbao")
COPIES, BROKEN = 3, 2
AWAY = """
from training import files
from training.models import DatasetFile
for file in DatasetFile.objects.filter(filename__startswith="parcels"):
    files.delete(file)
"""


def rows() -> str:
    """24 rows that are not alike; three of them stand there again, and in two somebody called the assistant a bot."""
    made = []
    for number in range(24):
        place, word = PLACES[number % 8], chr(97 + number) * 6
        question = f"Where is the {word} that I sent to {place}?"
        answer = f"{place} has it: {' '.join(f'{word}{step}' for step in range(12))}."
        made.append([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])
    made += made[:COPIES]
    for messages in made[4 : 4 + BROKEN]:
        messages[1]["role"] = "bot"
    return "".join(json.dumps({"messages": messages}) + "\n" for messages in made)


@pytest.fixture
def broken(site: Site, tmp_path: Path) -> Iterator[Path]:
    """What the story makes of it is gone afterwards."""
    path = tmp_path / "parcels.jsonl"
    path.write_text(rows())
    yield path
    in_the_site(site, AWAY)


def press(place: Locator) -> None:
    """By keyboard: it can have the focus, shows it, and answers to Enter."""
    place.focus()
    expect(place).to_be_focused()
    assert place.evaluate("it => it.matches(':focus-visible')"), "the focus cannot be seen"
    place.press("Enter")


def test_a_broken_file_is_repaired_looked_at_cleaned_split_and_taken_to_a_job(
    site: Site, page: Page, broken: Path
) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/datasets/")
    page.locator("#upload-input").set_input_files(broken)
    expect(page.locator(".verdict")).to_contain_text("27 rows, 2 problems: not ready", timeout=20_000)
    expect(page.get_by_role("link", name="Train with this")).to_have_count(0)

    # the repair is seen as a difference before it is made
    expect(page.locator("#problems-title")).to_contain_text("Problems")
    press(page.get_by_role("link", name="Repair it"))
    expect(page.get_by_label("Rename roles to those that are known")).to_be_checked()
    press(page.get_by_role("button", name="Show what would change"))
    difference = page.get_by_role("article", name="Line 5")
    expect(difference.locator("del")).to_have_text("bot")
    expect(difference.locator("ins")).to_have_text("assistant")
    press(page.get_by_role("button", name="Make version 2"))
    expect(page.locator(".verdict")).to_contain_text("27 rows, ready")
    expect(page.locator(".title-line")).to_contain_text("version 2")

    # a row as the model reads it
    press(page.get_by_role("link", name="Rows", exact=True))
    press(page.get_by_role("link", name="Tokens", exact=True))
    press(page.locator("#line-5 .sample__line a"))
    expect(page.get_by_role("heading", name="Line 5")).to_be_visible()
    tokens = page.locator("[data-tokens]")
    tokens.focus()
    page.keyboard.press("End")
    expect(page.locator(".tok-says")).to_contain_text("token")
    expect(page.locator(".tok-run--trained").first).to_be_visible()

    # copies are found, shown and removed
    page.get_by_role("navigation", name="Rows").get_by_role("link", name="Next").press("Enter")
    expect(page.get_by_role("heading", name="Line 6")).to_be_visible()
    press(page.locator(".title-line").get_by_role("link", name="parcels.jsonl"))
    press(page.get_by_role("link", name="Repeats"))
    expect(page.locator("#found")).to_contain_text(f"{COPIES} groups")
    expect(page.locator("#pair-1")).to_contain_text("line 25")
    press(page.get_by_role("button", name="Show what would go"))
    press(page.get_by_role("button", name=f"Remove {COPIES} rows"))
    expect(page.locator(".verdict")).to_contain_text("24 rows, ready")

    # two files, and the job form with one of them
    press(page.get_by_role("link", name="Split"))
    page.get_by_label("or rows").fill("4")
    press(page.get_by_role("button", name="Show what each would hold"))
    expect(page.locator("#counts")).to_contain_text("20")
    press(page.get_by_role("button", name="Make two new files"))
    expect(page.get_by_role("status").filter(has_text="parcels-train.jsonl (20 rows)")).to_be_visible()
    press(page.get_by_role("link", name="parcels-train.jsonl"))
    address = page.url
    press(page.get_by_role("link", name="Train with this"))
    expect(page).to_have_url(re.compile("/jobs/new/"))
    file_id = address.split("/datasets/")[1].split("/")[0]
    expect(page.get_by_label("Training file")).to_have_value(file_id)


def test_a_menu_and_a_question_close_by_escape_and_give_the_focus_back(site: Site, page: Page, broken: Path) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/datasets/")
    page.locator("#upload-input").set_input_files(broken)
    expect(page.locator(".verdict")).to_contain_text("not ready", timeout=20_000)
    more = page.locator(".title-line summary")
    press(more)
    expect(page.get_by_role("button", name="Rename", exact=True)).to_be_visible()
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Rename", exact=True)).to_be_hidden()
    expect(more).to_be_focused()

    page.goto(f"{page.url.split('?')[0]}?tab=versions")
    delete = page.get_by_role("button", name="Delete version 1")
    press(delete)
    question = page.get_by_role("dialog", name="Delete version 1?")
    expect(question.get_by_role("button", name="Keep")).to_be_focused()
    page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(delete).to_be_focused()
