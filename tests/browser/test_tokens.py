"""The tokens of a row in a browser: by keyboard alone, and on a phone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_phone import in_the_site

pytestmark = pytest.mark.browser
MAKE = """
import json
from accounts.models import Project
from tests.factories import chat_row
from training import files
rows = [chat_row(f"Order {n}?", f"Order {n} is done, thank you.") for n in range(12)]
content = "".join(json.dumps(row) + "\\n" for row in rows).encode()
print(files.create_file(Project.objects.first(), None, "tokens.jsonl", "fine-tune", content).pk)
"""
AWAY = """
from training import files
from training.models import DatasetFile
for file in DatasetFile.objects.filter(filename="tokens.jsonl"):
    files.delete(file)
"""


@pytest.fixture
def file_id(site: Site) -> Iterator[str]:
    """Twelve short rows; gone afterwards."""
    yield in_the_site(site, MAKE).strip()
    in_the_site(site, AWAY)


@pytest.mark.parametrize("width", [1440, 390])
def test_tokens_are_walked_through_by_keyboard_and_nothing_scrolls_sideways(
    site: Site, page: Page, file_id: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    site.sign_in(page)
    page.goto(f"{site.url}/datasets/{file_id}/?tab=rows")
    page.get_by_role("link", name="Tokens", exact=True).press("Enter")
    tokens, says = page.locator("[data-tokens]").first, page.locator(".tok-says")
    tokens.focus()
    expect(says).to_contain_text('"<|im_start|>": token 1, id 1, weight 0')
    page.keyboard.press("ArrowRight")
    expect(says).to_contain_text("token 2,")
    page.keyboard.press("ArrowDown")
    expect(says).not_to_contain_text("token 2,")
    page.keyboard.press("End")
    expect(says).to_contain_text("1 line break")
    page.keyboard.press("ArrowLeft")
    expect(says).to_contain_text('"<|im_end|>"')
    expect(says).to_contain_text("weight 1, trained on, special token")
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.get_by_label("cut at").fill("12")
    page.keyboard.press("Enter")
    expect(page.locator(".tok-cut").first).to_have_text("cut here")
    assert "max_length=12" in page.url and "view=tokens" in page.url
