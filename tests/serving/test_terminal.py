"""`hone compare` and `hone chat` with answers that stream."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from playground import vllm
from tests.fakes.vllm import fake_python
from tests.serving.conftest import Shelf

pytestmark = pytest.mark.django_db


@pytest.fixture
def hone(shelf: Shelf, tmp_path: Path) -> Iterator[Any]:
    base = shelf.base()
    plan = vllm.Plan(base.name, base.path, tmp_path / "vllm.log", lora_rank=16, context_tokens=512)
    server = vllm.VllmServer(plan, fake_python(tmp_path))
    server.start()
    server.wait_until_ready(20)

    def run(*words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        env = os.environ | {"HONE_URL": server.url, "HONE_API_KEY": "none", "COLUMNS": "90"}
        command = [sys.executable, "-m", "terminal.main", *words]
        where = {"cwd": settings.BASE_DIR, "env": env, "input": said}
        return subprocess.run(command, **where, capture_output=True, text=True, timeout=60, check=False)  # type: ignore[call-overload]

    yield run
    server.stop()


def test_two_answers_stand_beside_each_other_and_an_unknown_model_says_so(hone: Any) -> None:
    both = hone("compare", "tiny", "tiny", "--prompt", "one two three", "--max-tokens", "12")
    assert both.returncode == 0, both.stderr
    title, rule, first = both.stdout.splitlines()[:3]
    assert title.split() == ["tiny", "tiny"] and rule.count("─") == 88
    assert first[:44].strip() == first[46:].strip() != ""
    told = [json.loads(line) for line in hone("compare", "tiny", "none", "--prompt", "x", "--json").stdout.splitlines()]
    assert told[0]["text"] and not told[0]["error"] and told[1]["error"]


def test_a_conversation_goes_on_until_it_is_reset(hone: Any) -> None:
    done = hone("chat", "tiny", said="one two three\n/reset\none two three\n")
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("(a new conversation)")
    assert before.strip() == after.strip() != ""
    assert hone("chat", "none", said="hello\n").returncode == 1
