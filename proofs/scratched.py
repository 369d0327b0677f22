"""A new model from scratch, made on the Models page as a person does it, and stories in a small language for it."""

import os
import random
import re
import subprocess
import sys
import time

import httpx2
from openai import OpenAI

from proofs.scratch import SEED, story
from proofs.server import ROOT, Hone, home

SHAPE = {"layers": "4", "width": "128", "vocabulary": "800", "context": "512"}
MAKE_SECONDS = 120


def stories(count: int) -> list[str]:
    """No two alike."""
    chance, found = random.Random(SEED), dict[str, None]()
    while len(found) < count:
        found[story(chance)] = None
    return list(found)


def make_from_scratch(hone: Hone, client: OpenAI, file_id: str) -> str:
    """The new model's name, once a worker has made it."""
    name = f"little-{time.strftime('%H%M%S')}"
    with httpx2.Client(base_url=hone.url, follow_redirects=True, timeout=60) as browser:
        browser.get(sign_in_path()).raise_for_status()
        page = browser.get("/models/scratch")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token, "no form on /models/scratch"
        fields = SHAPE | {"file": file_id, "name": name, "csrfmiddlewaretoken": token[1]}
        browser.post("/models/scratch", data=fields, headers={"Referer": f"{hone.url}/"}).raise_for_status()
    deadline = time.monotonic() + MAKE_SECONDS
    while name not in [model.id for model in client.models.list()]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} was not made within {MAKE_SECONDS} s; see the Models page.")
        time.sleep(0.5)
    return name


def sign_in_path() -> str:
    """Of a fresh one-time link."""
    environment = {**os.environ, "HONE_HOME": str(home())}
    command = [sys.executable, "manage.py", "sign_in_link"]
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    token = re.search(r"/link/[\w-]+/", printed)
    assert token, printed
    return token[0]
