"""A blind campaign in three browsers at once: `python -m proofs.judging`.

Three contenders with planted strengths have answered 60 prompts; the answers are frozen. Three programs judge them
through the evaluators' link, each in a browser of its own, by keys alone, reading only what the page shows. It has to
hold that

- nothing that reaches a browser before the last vote names a model: page, address, headers, bodies;
- no frame that a browser draws shows one answer without the other;
- the ratings stand in the planted order, and the page's figures are those of the independent implementation in
  tests/unit/test_campaign_statistics.py on the same votes, to 1e-6.

Writes $HONE_HOME/proofs/judging-*.png. Talks to the Hone at HONE_URL (default: this machine's), or starts one.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from proofs import server
from proofs.screen import Screen, table
from proofs.screenshots import ROOT, SWITCHES, signed_in
from tests import factories
from tests.browser.test_blind_vote import Wire
from tests.unit.test_campaign_statistics import plainest_interval, plainest_strengths

STRENGTHS = {"A": 1.1, "B": 0.1, "C": -1.2}  # natural logarithms, of the voices in the answers' text
MODELS = {"A": "planted-quartz", "B": "planted-basalt", "C": "planted-gneiss"}
PROMPTS = 60
VOTES_PER_PAIR = 60
TIES = 0.15
PEOPLE = ("Ana", "Ben", "Cem")
PAUSE_SECONDS = 0.5  # an evaluator has at most 120 verdicts a minute
SAME = 1e-6

BEGUN = """
from django.db import transaction
from accounts.models import Project, User
from playground.campaigns import running
from tests.judging_cast import make_campaign
user = User.objects.first()
with transaction.atomic():  # the worker hears of it when it is answered
    made = make_campaign(Project.objects.first(), user, {models!r}, prompts={prompts}, votes_per_pair={votes})
print("begun", running.invite(campaign=made, user=user)[1], made.pk)
"""
COUNTED = """
import json
from playground.campaigns.findings import compute
from playground.campaigns.models import Assignment, Campaign
made = Campaign.objects.get(pk={campaign!r})
found, votes = compute(made), Assignment.objects.votes(made)
name = {{key: column["model"] for key, column in zip(made.matrix.contenders, made.matrix.columns, strict=True)}}
print("counted", json.dumps(dict(
    votes=[[each.prompt, name[each.first], name[each.second], each.point] for each in votes],
    repeats=[each.choice == each.repeat_of.choice for each in Assignment.objects.repeats(made)],
    ratings=[[name[each.name], each.rating, each.low, each.high] for each in found.ratings],
    pairs=[[name[each.first], name[each.second], each.interval.rate, each.interval.low, each.interval.high]
           for each in found.records],
)))
"""
# Looks at every frame that is drawn: whether one answer is seen while the other is not.
FRAMES = """(() => {
  window.frames_seen = 0; window.frames_uneven = 0;
  const seen = (side) => {
    const title = document.querySelector(`#title-${side}`), body = document.querySelector(`#${side}`);
    if (!title || !body) return false;
    return title.closest("article").getBoundingClientRect().height > 0 && body.textContent.trim() !== "";
  };
  const look = () => {
    const left = seen("left"), right = seen("right");
    if (left || right) window.frames_seen++;
    if (left !== right) window.frames_uneven++;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})()"""


@dataclass
class Person:
    """A program that judges: its page and what reached it."""

    name: str
    page: Page
    chance: Random
    wire: Wire = field(default_factory=Wire)
    voted: int = 0
    frames: int = 0
    uneven: int = 0
    seconds: list[float] = field(default_factory=list)  # of each vote, from the key to the next pair
    said: dict[frozenset[str], str] = field(default_factory=dict)  # both texts -> the one that was preferred, or a tie

    def come(self, link: str) -> None:
        self.page.add_init_script(FRAMES)
        self.wire.listen(self.page)
        self.page.goto(link)
        self.page.get_by_label("Your name").fill(self.name)
        self.page.get_by_role("button", name="Begin").click()
        self.page.wait_for_load_state()

    def vote(self) -> bool:
        """One pair; False: there is none left."""
        if not self.page.locator("#verdict").count():
            return False
        left, right = (self.page.locator(f"#{side}").inner_text() for side in ("left", "right"))
        while not self.page.evaluate("window.frames_seen"):
            time.sleep(0.02)
        self.frames += self.page.evaluate("window.frames_seen")
        self.uneven += self.page.evaluate("window.frames_uneven")
        begun, pair = time.monotonic(), self.page.locator("[name=pair]").input_value()
        self.page.keyboard.press(self.key(left, right))
        self.page.locator(f"[name=pair][value={pair}]").wait_for(state="detached")
        self.page.wait_for_load_state()
        self.seconds.append(time.monotonic() - begun)
        self.voted += 1
        return True

    def key(self, left: str, right: str) -> str:
        """What this person says of two texts; the same of the same two, whatever their sides."""
        both = frozenset((left, right))
        if both not in self.said:
            odds = STRENGTHS[voice(left)] - STRENGTHS[voice(right)]
            wins = self.chance.random() < 1 / (1 + math.exp(-odds))
            self.said[both] = "" if self.chance.random() < TIES else (left if wins else right)
        chosen = self.said[both]
        return "t" if not chosen else "1" if chosen == left else "2"


def voice(text: str) -> str:
    found = re.match(r"\W*Voice ([ABC]) on", text)
    assert found, text
    return found[1]


def main() -> None:
    screen = Screen()
    with server.find_or_start(screen) as hone, sync_playwright() as playwright:
        add_models()
        begun = re.search(
            r"begun (\S+) (\S+)",
            manage("shell", "-c", BEGUN.format(models=list(MODELS.values()), prompts=PROMPTS, votes=VOTES_PER_PAIR)),
        )
        assert begun
        token, campaign = begun.groups()
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=SWITCHES)
        with screen.part(f"{len(PEOPLE)} people judged"):
            people = judge(browser, f"{hone.url}/judge/{token}/", screen)
        check_blind(people, screen)
        counted = json.loads(re.search(r"counted (.*)", manage("shell", "-c", COUNTED.format(campaign=campaign)))[1])  # type: ignore[index]
        check_figures(counted, screen)
        photograph(browser, hone, campaign, screen)
        browser.close()
    screen.line("blind, in the planted order, and the figures are those of the independent implementation")


def manage(*words: str) -> str:
    env = {**os.environ, "HONE_HOME": str(server.home())}
    return subprocess.run(
        [sys.executable, "manage.py", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    ).stdout


def add_models() -> None:
    """Random weights that never answer here: their answers are rows."""
    for seed, name in enumerate(MODELS.values(), start=1):
        folder = server.home() / "proofs" / name
        if not folder.exists():
            manage("add_model", str(factories.tiny_model(folder, seed=seed)))


def judge(browser: Browser, link: str, screen: Screen) -> list[Person]:
    """All three at once, a vote each in turn, until nobody has a pair left."""
    sizes = ((1440, 900), (1024, 768), (390, 844))
    people = []
    for seed, (name, (width, height)) in enumerate(zip(PEOPLE, sizes, strict=True)):
        context = browser.new_context(viewport={"width": width, "height": height})
        people.append(Person(name, context.new_page(), Random(seed)))
        people[-1].come(link)
    pictures = server.home() / "proofs"
    for person in people:
        person.page.screenshot(path=pictures / f"judging-{person.name}.png")
    busy = list(people)
    while busy:
        begun = time.monotonic()
        busy = [person for person in busy if person.vote()]
        screen.status(f"{sum(person.voted for person in people)} judged")
        time.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - begun)))
    return people


def check_blind(people: list[Person], screen: Screen) -> None:
    rows = []
    for person in people:
        page = person.page
        found = person.wire.names(*MODELS.values())
        assert not found, f"{person.name} could read {found}"
        assert not any(name in page.url + page.content() for name in MODELS.values())
        assert person.uneven == 0, f"{person.name}: {person.uneven} frames with one answer only"
        middle = sorted(person.seconds)[len(person.seconds) // 2]
        rows.append(
            [person.name, f"{person.voted}", f"{len(person.wire.heard):,}", f"{person.frames:,}", f"{middle:.2f} s"]
        )
    names = ["evaluator", "votes with repeats", "texts heard, none names a model", "frames, all with both answers"]
    screen.table(table([*names, "key to next pair, median"], rows))


def check_figures(counted: dict[str, Any], screen: Screen) -> None:
    """Of the page's own functions against the plainest implementation, and against what was planted."""
    votes = [(first, second, point) for _, first, second, point in counted["votes"]]
    names = sorted(MODELS.values())
    plain = dict(zip(names, plainest_strengths(votes, names), strict=True))
    unit = 400 / math.log(10)
    worst = max(abs((rating - 1000) / unit - plain[name]) for name, rating, _, _ in counted["ratings"])
    for first, second, rate, low, high in counted["pairs"]:
        points = [(p, x if a == first else 1 - x) for p, a, b, x in counted["votes"] if {a, b} == {first, second}]
        worst = max(worst, *(abs(a - b) for a, b in zip((rate, low, high), plainest_interval(points), strict=True)))
    screen.table(
        table(
            ["model", "rating", "95 %"],
            [[name, f"{at:.0f}", f"{low:.0f} to {high:.0f}"] for name, at, low, high in counted["ratings"]],
        )
    )
    screen.table(
        table(
            ["pair", "win rate", "95 %", "planted"],
            [
                [f"{a} over {b}", f"{rate:.0%}", f"{low:.0%} to {high:.0%}", f"{expected(a, b):.0%}"]
                for a, b, rate, low, high in counted["pairs"]
            ],
        )
    )
    again = counted["repeats"]
    screen.line(f"{len(votes)} votes, {len(again)} repeats of which {sum(again)} said the same again")
    screen.line(f"largest difference from the independent implementation: {worst:.1e}")
    assert [name for name, *_ in counted["ratings"]] == list(MODELS.values()), "the ratings do not stand as planted"
    assert worst < SAME


def expected(one: str, other: str) -> float:
    """The planted point of `one` against `other`, a tie being half."""
    strength = {MODELS[each]: value for each, value in STRENGTHS.items()}
    wins = 1 / (1 + math.exp(strength[other] - strength[one]))
    return TIES / 2 + (1 - TIES) * wins


def photograph(browser: Browser, hone: server.Hone, campaign: str, screen: Screen) -> None:
    page = browser.new_page(storage_state=signed_in(browser, hone.url), viewport={"width": 1440, "height": 900})
    begun = time.monotonic()
    page.goto(f"{hone.url}/campaigns/{campaign}/results/")
    screen.line(f"results page after {time.monotonic() - begun:.2f} s: {page.locator('.finding').first.inner_text()}")
    page.screenshot(path=server.home() / "proofs" / "judging-results.png", full_page=True)


if __name__ == "__main__":
    main()
