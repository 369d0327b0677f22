"""Three people judge in three browsers on the real stack; nothing that reaches them names a model."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import factories
from tests.browser.test_blind_vote import Wire

pytestmark = pytest.mark.browser
OTHER = "tiny-judged"
MADE = """
from django.db import transaction
from accounts.models import Project, User
from playground.campaigns import running
from tests.judging_cast import make_campaign
with transaction.atomic():  # the worker hears of it when it is answered
    made = make_campaign(Project.objects.first(), User.objects.first(), {models!r}, prompts=3, tags=["too long"])
print("token", running.invite(campaign=made, user=User.objects.first())[1], made.pk)
"""
COUNTED = """
import json
from playground.campaigns.models import Assignment, Campaign
votes = Assignment.objects.votes(Campaign.objects.get(pk={campaign!r}))
print("votes", json.dumps([[each.evaluator.name, each.verdict, each.tags] for each in votes]))
"""


# What a screen reader says, in this order.
READ = """
- banner:
  - progressbar "Judged"
- main:
  - 'heading "Pair 1 of 3: which answer is better?" [level=1]'
  - status
  - region "What was asked":
    - paragraph: /Question \\d/
  - article "Answer 1":
    - heading "Answer 1" [level=2]
    - paragraph
  - article "Answer 2":
    - heading "Answer 2" [level=2]
    - paragraph
  - form "Your verdict":
    - group: /Say why/
    - group "Which answer is better?":
      - button "1 Answer 1 is better"
      - button "T Tie"
      - button "B Both bad"
      - button "2 Answer 2 is better"
"""
TAB_STOPS = ["Skip to content", "Keys", "What was asked", "Say why", "left", "tie", "both_bad", "right"]


def tab_stops(page: Page, count: int) -> list[str]:
    """What the tab key comes to, from the top of the page."""
    stops = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(count):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate("""() => {
          const at = document.activeElement;
          return at.value || at.getAttribute("aria-label") || at.textContent.trim().split(" (")[0];
        }""")
        )
    return stops


def come(page: Page, link: str, name: str) -> Wire:
    wire = Wire()
    wire.listen(page)
    page.goto(link)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Begin").click()
    expect(page.get_by_role("heading", name="Pair 1 of")).to_be_attached()
    return wire


def test_three_people_judge_blind_by_keys_alone(site: Any, page: Page, browser: Browser) -> None:
    site.manage("add_model", str(factories.tiny_model(site.home / OTHER, seed=1)))
    names = [site.base_model, OTHER]
    made = re.search(r"token (\S+) (\S+)", site.manage("shell", "-c", MADE.format(models=names)))
    assert made
    token, campaign = made.groups()
    link = f"{site.url}/judge/{token}/"
    contexts = [browser.new_context(viewport={"width": 390, "height": 844}) for _ in range(2)]
    pages = [page, *(context.new_page() for context in contexts)]
    wires = [come(each, link, name) for each, name in zip(pages, ("Ana", "Ben", "Cem"), strict=True)]

    for each in pages:  # all three hold an open pair before the first votes
        expect(each.get_by_role("article", name="Answer 1").locator("strong")).to_be_visible()
    expect(page.locator("body")).to_match_aria_snapshot(READ)
    assert tab_stops(page, len(TAB_STOPS)) == TAB_STOPS
    for each, key in zip(pages, "1tb", strict=True):
        each.keyboard.press(key)
        expect(each.get_by_role("status")).to_contain_text("Vote stored. Pair 2 of")
    page.keyboard.press("u")
    expect(page.get_by_role("status")).to_contain_text("Your last vote is open again. Pair 1 of")
    page.keyboard.press("c")
    page.get_by_label("Comment").fill("12")
    page.keyboard.press("Escape")
    page.get_by_text("too long").click()
    page.keyboard.press("2")
    expect(page.get_by_role("heading", name="Pair 2 of")).to_be_attached()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()

    said = site.manage("shell", "-c", COUNTED.format(campaign=campaign))
    votes = json.loads(re.search(r"votes (\[.*\])", said)[1])  # type: ignore[index]
    assert sorted(votes) == [["Ana", "right", ["too long"]], ["Ben", "tie", []], ["Cem", "both_bad", []]]
    assert [wire.names(*names) for wire in wires] == [[], [], []]
    assert all(each.evaluate("document.documentElement.scrollWidth <= innerWidth") for each in pages)
    for context in contexts:
        context.close()
