"""Eight columns in a real browser: folded, told apart word by word, voted on by keys, harmless whatever they answer.

The models of these columns are gone from the disk, so nothing is loaded; what they answered is stored.
"""

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser
HOSTILE = """# A heading

<script>window.broken = 1</script><img src=x onerror="window.broken = 2"><svg onload="window.broken = 3"></svg>
<iframe srcdoc="<script>parent.broken = 4</script>"></iframe><form action="https://evil.example"><input name=x></form>
<a href="javascript:window.broken=5">one</a>

[two](javascript:window.broken=6) [three](https://evil.example/page)
<a href="data:text/html,<script>1</script>">four</a> ![pixel](https://evil.example/pixel.png)
<table background="https://evil.example/back.png"><tr><td style="position:fixed;inset:0">five</td></tr></table>
<div id="playground" class="votebar" popover>six</div><base href="https://evil.example/">
<style>* {display: none}</style>
"""
ROWS = """
from accounts.models import Project
from playground.forms import Sampling
from playground.models import Comparison, Response, Turn
made = Comparison.objects.create(project=Project.objects.first(), settings=Sampling().model_dump(),
                                 columns=[{"model": f"gone-{number}"} for number in range(8)])
turn = Turn.objects.create(comparison=made, position=0, prompt="Why?")
for column in range(8):
    Response.objects.create(turn=turn, column=column, model=f"gone-{column}", text=TEXTS[column % 2], settings={})
print("made", made.pk)
"""


def compared(site: Any, *texts: str) -> str:
    """The address of a comparison of eight columns with these two answers in turn."""
    printed = site.manage("shell", "-c", f"TEXTS = {json.dumps(texts)}\n{ROWS}")
    found = re.search(r"made (cmp_\w+)", printed)
    assert found, printed
    return f"{site.url}/playground/{found[1]}/"


def widths(page: Page) -> list[float]:
    return [round(sheet.bounding_box()["width"]) for sheet in page.locator(".sheet").all()]  # type: ignore[index]


def test_eight_columns_fold_by_key_and_by_press_and_the_address_keeps_it(site: Any, page: Page) -> None:
    site.sign_in(page)
    address = compared(site, "The sky is blue.", "The sky is grey today.")
    page.goto(address)
    assert len(widths(page)) == 8 and min(widths(page)) >= 260
    page.keyboard.press("Escape")
    for number in (2, 3, 4, 5, 6, 7):
        page.keyboard.press(f"Shift+Digit{number}")
    assert widths(page)[1:7] == [44] * 6 and widths(page)[0] == widths(page)[7] > 400
    assert page.url == f"{address}?fold=B,C,D,E,F,G"
    cells = [round(cell.bounding_box()["width"]) for cell in page.locator(".cell").all()]  # type: ignore[index]
    assert cells == widths(page), "an answer does not stand under its head"
    page.reload()
    assert widths(page)[1:7] == [44] * 6
    unfold = page.get_by_role("button", name="Column B: fold or unfold")
    expect(unfold).to_have_attribute("aria-expanded", "false")
    unfold.focus()
    page.keyboard.press("Enter")
    expect(unfold).to_have_attribute("aria-expanded", "true")
    assert widths(page)[1] > 260 and "fold=C,D,E,F,G" in page.url


def test_a_vote_and_everything_else_go_by_keys_that_do_nothing_while_one_writes(site: Any, page: Page) -> None:
    site.sign_in(page)
    page.goto(compared(site, "The sky is blue.", "The sky is grey today."))
    page.get_by_label("Message", exact=True).fill("")
    page.keyboard.type("8tbdn?")
    expect(page.get_by_label("Message", exact=True)).to_have_value("8tbdn?")
    assert page.locator(".vote[aria-pressed]").count() == 0 and "diff=" not in page.url
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys-dialog")).to_contain_text("Fold that column, or unfold it")
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    page.wait_for_url(re.compile(r"\?diff=A$"))
    expect(page.get_by_label("Answer B").locator("del")).to_have_text("blue")
    expect(page.get_by_label("Answer B").locator("ins")).to_have_text("grey today")
    expect(page.get_by_label("Answer A").locator("ins")).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("8")
    expect(page.get_by_text("You chose H.")).to_be_visible()
    expect(page.get_by_label("Answer B").locator("del")).to_have_text("blue")  # the vote keeps how one looks
    page.keyboard.press("t")
    expect(page.get_by_text("You called it a tie.")).to_be_visible()
    page.keyboard.press("n")
    page.wait_for_url(re.compile(r"/playground/\?models="))


def test_a_hostile_answer_does_nothing_and_asks_nobody(site: Any, browser: Browser) -> None:
    page = browser.new_page()  # of its own: here the console may say what the page's policy refused
    site.sign_in(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.goto(compared(site, HOSTILE, "harmless"))
    answer = page.get_by_label("Answer A").locator(".answer__shown")
    expect(answer.get_by_role("heading", name="A heading")).to_be_visible()
    assert page.evaluate("window.broken") is None
    forbidden = "script, img, svg, iframe, form, input, style, base, [style], [id], [class], [popover], [background]"
    assert answer.locator(forbidden).count() == 0
    addresses = [link.get_attribute("href") for link in answer.locator("a[href]").all()]
    assert addresses == ["https://evil.example/page"]
    link = answer.get_by_role("link", name="three")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(link).to_have_attribute("title", "https://evil.example/page")
    page.goto(page.url + "?diff=B")
    expect(page.get_by_label("Answer A").locator("ins").first).to_be_visible()
    assert page.evaluate("window.broken") is None
    assert page.get_by_label("Answer A").locator(".answer__raw").locator(forbidden).count() == 0
    assert not [url for url in asked if "evil" in url]
    assert said == []
    page.close()


def test_what_is_pasted_wrongly_is_told_at_its_place(site: Any, page: Page) -> None:
    site.sign_in(page)
    page.goto(f"{site.url}/playground/?models={quote(site.base_model)}")
    switch = page.get_by_role("switch", name="Same seed in every column")
    expect(switch).to_be_checked()
    switch.uncheck(force=True)
    expect(page.get_by_text("A new seed each time")).to_be_visible()
    page.get_by_text("Tools and answer format").click()
    page.get_by_label("Tools", exact=False).last.fill('[{"type": "function",}]')
    page.get_by_label("Message", exact=True).fill("Hello")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#structure-fault")).to_contain_text("Tools: not JSON, line 1, column 22")
