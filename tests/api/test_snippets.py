"""The code of the docs, run as a reader would: against a real Hone, from the top of the page to its end."""

from pathlib import Path

import pytest

from tests import snippets
from tests.api.conftest import Server


@pytest.mark.parametrize("path", snippets.pages(), ids=lambda path: path.stem)
def test_the_code_of_a_page_runs_from_top_to_bottom(
    path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    exec(snippets.program(path, model="tiny", asking=False), {"__name__": "__main__"})
