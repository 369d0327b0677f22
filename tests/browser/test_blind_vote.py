"""A person judges blind on the real stack; until the vote nothing that reaches the browser names a model."""

import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Page, Response, WebSocket, expect

from tests import factories

pytestmark = [pytest.mark.browser, pytest.mark.vllm, pytest.mark.slow]
LOADING_MS = 240_000  # two vLLM servers start on a CPU
ANSWER_MS = 60_000
OTHER = "tiny-other"


@dataclass
class Wire:
    """Everything that reaches the browser while it listens: addresses, headers, bodies, websocket frames."""

    heard: list[tuple[str, str]] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("response", self._response)
        page.on("websocket", self._socket)

    def _response(self, response: Response) -> None:
        self.heard.append((response.url, f"{response.url} {response.headers}"))
        if 300 <= response.status < 400:
            return  # a redirect has no body
        kind = response.headers.get("content-type", "")
        if "text" in kind or "json" in kind or "javascript" in kind:
            self.heard.append((response.url, response.text()))

    def _socket(self, socket: WebSocket) -> None:
        self.heard.append((socket.url, socket.url))
        socket.on("framereceived", lambda frame: self.heard.append((socket.url, str(frame))))

    def names(self, *words: str) -> list[tuple[str, str]]:
        return [(url, word) for url, said in self.heard for word in words if word in said]


def test_a_blind_vote_names_nobody_until_it_is_cast(site: Any, page: Page) -> None:
    site.manage("add_model", str(factories.tiny_model(site.home / OTHER, seed=1)))
    names = (site.base_model, OTHER)
    site.sign_in(page)
    page.goto(f"{site.url}/playground/?models={','.join(names)}")
    for letter in "AB":
        expect(page.get_by_label(f"Column {letter}: move, settings, remove")).to_be_visible()
    expect(page.locator("[data-state].chip--ready")).to_have_count(2, timeout=LOADING_MS)
    page.get_by_text("Settings", exact=True).last.click()
    page.get_by_label("Longest answer").first.fill("24")

    page.get_by_role("button", name="Judge blind").click()
    page.wait_for_url(re.compile(r"/playground/blind/cmp_\w+/$"))
    wire = Wire()
    wire.listen(page)
    page.reload()  # every byte of the blind page, its scripts and its socket is heard
    page.get_by_label("Message", exact=True).fill("What is the capital of France?")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Which is better?")).to_be_visible(timeout=ANSWER_MS)
    for letter in "AB":
        expect(page.get_by_label(f"Answer {letter}")).to_be_visible()

    assert wire.names(*names) == []
    assert not any(name in page.content() or name in page.url for name in names)
    assert "tok/s" not in page.content()
    assert any("/ws/playground/" in url for url, _ in wire.heard), "the socket was not listened to"

    page.keyboard.press("Escape")
    page.keyboard.press("2")
    expect(page.get_by_text("You chose B.")).to_be_visible()
    for name in names:
        expect(page.locator(f".sheet__name[title='{name}']")).to_be_visible()
    expect(page.locator(".records tbody tr")).to_have_count(1)

    page.keyboard.press("n")
    page.wait_for_url(re.compile(r"/playground/blind/cmp_\w+/$"))
    expect(page.get_by_text("Names, colours and figures appear after your vote.")).to_be_visible()
    page.goto(f"{site.url}/playground/votes/")
    expect(page.get_by_role("link", name="What is the capital of France?")).to_be_visible()
