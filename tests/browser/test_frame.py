"""The frame in a real browser: no accessibility faults, nothing wider than the screen, everything by keyboard."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Site

pytestmark = pytest.mark.browser
PAGES = [
    "/",
    "/datasets/",
    "/jobs/",
    "/jobs/new/",
    "/models/",
    "/playground/",
    "/campaigns/",
    "/campaigns/new/",
    "/settings/",
    "/no-such-page/",
]
SERIOUS = {"serious", "critical"}


def axe_source() -> str:
    found = importlib.util.find_spec("axe_core_python")
    if not found or not found.origin:
        pytest.skip("no axe-core (pip install axe-core-python)")
    return next(Path(found.origin).parent.rglob("axe.min.js")).read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_accessibility_fault(site: Site, browser: Browser, scheme: Any) -> None:
    source = axe_source()
    # axe must be put into the page, which the page's own policy forbids; the policy is tested by every other test
    context = browser.new_context(color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
    page = context.new_page()
    faults: list[str] = []
    page.goto(f"{site.url}/sign-in/")
    faults += _faults(page, source, "/sign-in/")
    site.sign_in(page)
    for address in PAGES:
        page.goto(f"{site.url}{address}")
        faults += _faults(page, source, address)
    context.close()
    assert not faults, "\n".join(faults)


def _faults(page: Page, source: str, address: str) -> list[str]:
    page.evaluate(source)
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations)")
    return [
        f"{address} {each['id']}: {each['nodes'][0]['html'][:160]}" for each in violations if each["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_no_page_is_wider_than_the_screen(site: Site, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    site.sign_in(page)
    for address in PAGES[:-1]:
        page.goto(f"{site.url}{address}")
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{address} is {too_wide} px too wide at {width}"


def test_everything_is_a_few_keys_away(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Control+k")
    box = page.get_by_role("combobox", name="Search")
    expect(box).to_be_focused()
    box.fill(site.base_model)
    expect(page.get_by_role("option", name=site.base_model).first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/models/#{site.base_model}")
    page.wait_for_load_state()  # keys are heard once the page's script runs
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()


def test_the_theme_is_kept_in_this_browser(site: Site, page: Page) -> None:
    page.emulate_media(color_scheme="light")
    site.sign_in(page)
    page.goto(f"{site.url}/")
    root = page.locator("html")
    page.get_by_role("button", name="Theme: system").click()
    expect(root).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Theme: light").click()
    expect(root).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(root).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Theme: dark").click()
    expect(root).not_to_have_attribute("data-theme", "dark")


def test_the_device_strip_opens_what_the_machine_does(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/")
    page.locator(".device-strip").click()
    dialog = page.get_by_role("dialog", name="This machine")
    expect(dialog.get_by_text("Trains on")).to_be_visible()
    expect(dialog.get_by_text("web", exact=True)).to_be_visible()


def test_a_dangerous_press_asks_first_and_names_the_thing(site: Site, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/settings/")
    page.get_by_label("Name", exact=True).fill("throw-away")
    page.get_by_role("button", name="Make key").click()
    expect(page.locator("#secret")).to_contain_text("sk-hone-")
    row = page.get_by_role("row", name="throw-away")
    row.get_by_role("button", name="Revoke").click()
    question = page.get_by_role("dialog", name="Revoke “throw-away”?")
    question.get_by_role("button", name="Keep").click()
    expect(row).to_be_visible()
    row.get_by_role("button", name="Revoke").click()
    question.get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
