"""Every page in every state as a picture: `python -m proofs.gallery FOLDER [--only job-*,models] [--sizes 390,1024]`.

Seeds a Hone of its own in a folder that is thrown away, starts only its web process, and photographs each page whole,
light and dark. Prints the pictures, and beside them what the browser's console or a page that scrolls sideways says.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Error, Page, sync_playwright

from proofs.screenshots import ROOT, SWITCHES

SIZES = {1440: 900, 1024: 768, 390: 844}
SEED = "import django; django.setup(); from proofs.gallery import seed; seed.main()"
# what is done on a page before its picture: the picture's name, the page, the deeds
DEEDS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "palette": ("overview", [("key", "Control+k"), ("wait", "[role=option]")]),
    "keys": ("overview", [("key", "?"), ("wait", "#keys-dialog[open]")]),
    "device": ("overview", [("click", ".device-strip"), ("wait", "#device-title")]),
    "confirm": ("settings", [("click", "#keys .button--danger"), ("wait", "#confirm[open]")]),
    "picker": ("playground-two", [("click", "[data-open=picker]"), ("wait", "#picker[open]")]),
    "playground-folds": ("playground-two", [("click", "#system-fold summary"), ("click", "#settings-fold summary")]),
    "new-job-refused": ("rerun", [("fill", "#id_n_epochs=99"), ("click", ".job-aside__go"), ("wait", "#faults")]),
    "new-job-all": ("rerun", [("click", "#group-adapter summary"), ("wait", "#answer .figure")]),
    "dataset-menu": ("dataset-ticket-train.jsonl", [("click", ".title-line details.menu summary")]),
    "checkpoint-menu": ("job-done", [("click", "#checkpoints details.menu summary")]),
    "jobs-marked": ("jobs", [("click", "#jobs input[name=ids]"), ("wait", ".selection-bar")]),
    "prompts": ("job-done", [("click", "#film [data-open=edit-prompts]"), ("wait", "#edit-prompts[open]")]),
    "new-job-prompts": (
        "rerun",
        [("click", ".film-choice label:has-text('Write them')"), ("wait", "#id_pinned_prompts:visible")],
    ),
    "rename": ("job-done", [("click", ".title-line details.menu summary"), ("click", "[data-open=rename-job]")]),
}
# the same of the project that holds datasets of every sort
DATA_DEEDS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "upload-goes-on": ("list", [("hold", "**/chunks?*"), ("choose", "parcels.jsonl"), ("wait", "[data-upload]")]),
    "upload-interrupted": ("list", [("break", "**/chunks?*"), ("choose", "parcels.jsonl"), ("wait", "[data-upload]")]),
    "upload-refused": (
        "list",
        [("refuse", "**/datasets/uploads"), ("choose", "parcels.jsonl"), ("wait", ".upload--bad")],
    ),
    "upload-dropped": ("list", [("drag", "#drop"), ("wait", "#drop:not([hidden])")]),
    "upload-ways": ("list", [("click", ".title-line details.menu summary"), ("wait", ".menu__panel")]),
    "menu": ("chat", [("click", ".title-line details.menu summary"), ("wait", ".rename-form")]),
    "delete": ("chat-versions", [("click", "[aria-label='Delete version 1']"), ("wait", "#confirm[open]")]),
    "estimate-unfolded": ("chat-used", [("wait", "#estimate-line"), ("click", "#estimate summary")]),
    "rows-filters": ("chat-rows", [("click", ".rows-search summary"), ("wait", ".rows-filters")]),
    "split-counted": ("chat-split", [("click", "#split form .button"), ("wait", "#counts")]),
    "repairs-refused": (
        "no-system-prompt-problems",
        [("click", "[value=system_prompt]"), ("click", "#repairs .button"), ("wait", "#repairs .notice")],
    ),
    "safety-decided": (
        "private-safety",
        [("click", ".safety__kinds [value=redact]"), ("wait", ".safety__kinds [aria-pressed=true]")],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", default="*", help="patterns of names such as job-*, with commas")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--schemes", default="light,dark")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with a_site() as (url, seeded), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=SWITCHES)
        for who, them in seeded.items():
            photograph(browser, url, who, them, options)
        browser.close()


@contextmanager
def a_site() -> Iterator[tuple[str, Any]]:
    """The web process on seeded rows, with the addresses to look at; nothing trains and nothing serves."""
    with tempfile.TemporaryDirectory(prefix="hone-") as home:
        env = {**os.environ, "HONE_HOME": home, "HONE_OFFLINE": "1", "DJANGO_SETTINGS_MODULE": "dashboard.settings"}
        seeded = subprocess.run(
            [sys.executable, "-c", SEED], cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True
        ).stdout
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command = [
            sys.executable,
            "-m",
            "dashboard.serve_web",
            "-b",
            "127.0.0.1",
            "-p",
            port,
            "dashboard.asgi:application",
        ]
        with (
            (Path(home) / "web.log").open("w") as log,
            subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log) as web,
        ):
            try:
                await_answer(f"http://127.0.0.1:{port}/sign-in/")
                yield f"http://127.0.0.1:{port}", json.loads(seeded.splitlines()[-1])
            finally:
                web.terminate()


def await_answer(url: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")


def photograph(browser: Browser, url: str, who: str, seeded: dict[str, Any], options: argparse.Namespace) -> None:
    shots: dict[str, tuple[str, list[tuple[str, str]]]] = {name: (path, []) for name, path in seeded["pages"].items()}
    for name, (page, deeds) in {"full": DEEDS, "data": DATA_DEEDS}.get(who, {}).items():
        shots[name] = (seeded["pages"][page], deeds)
    for scheme in options.schemes.split(","):
        for width in map(int, options.sizes.split(",")):
            size = {"width": width, "height": SIZES.get(width, 900)}
            context = browser.new_context(color_scheme=scheme, viewport=size, reduced_motion="reduce")
            if seeded["cookie"]:
                context.add_cookies([{"name": "sessionid", "value": seeded["cookie"], "url": url}])
            for name, (path, deeds) in shots.items():
                if any(fnmatch(f"{who}-{name}", f"*{pattern}") for pattern in options.only.split(",")):
                    picture = options.out / f"{who}-{name}-{width}-{scheme}.png"
                    print(picture.name, *shoot(context.new_page(), f"{url}{path}", deeds, picture), flush=True)
            context.close()


def shoot(page: Page, address: str, deeds: list[tuple[str, str]], picture: Path) -> set[str]:
    """Takes the picture, even where a deed fails: what stands there tells more than none. Returns what was wrong."""
    said: set[str] = set()
    page.on("console", lambda message: said.add(message.text) if message.type == "error" else None)
    try:
        page.goto(address, timeout=120_000)
        page.wait_for_timeout(500)  # charts draw and cards fill after the first paint
        for deed, what in deeds:
            do(page, deed, what)
    except Error as problem:
        said.add(str(problem).splitlines()[0])
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.screenshot(path=picture, full_page=not deeds)
    page.close()
    return said | ({f"scrolls sideways by {wide} px"} if wide > 0 else set())


def do(page: Page, deed: str, what: str) -> None:
    if deed == "key":
        page.keyboard.press(what)
    elif deed == "fill":
        page.fill(*what.split("=", 1))
    elif deed == "click":
        page.locator(what).first.click(timeout=4000)
    elif deed == "choose":
        content = b'{"messages": []}\n' * 200_000
        page.set_input_files("#upload-input", {"name": what, "mimeType": "text/plain", "buffer": content})
    elif deed == "hold":  # such a request is never answered
        page.route(what, lambda route: None)
    elif deed == "break":
        page.route(what, lambda route: route.abort())
    elif deed == "refuse":
        said = {"error": "parcels.jsonl has no room on this server's disk. Delete files or jobs, then try again."}
        page.route(what, lambda route: route.fulfill(status=507, json=said))
    elif deed == "drag":
        page.evaluate("it => { document.querySelector(it).hidden = false; }", what)
    else:
        page.locator(what).first.wait_for(timeout=6000)
    page.wait_for_timeout(250)


if __name__ == "__main__":
    main()
