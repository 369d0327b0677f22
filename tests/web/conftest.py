"""What tests of the screens share."""

from collections.abc import Iterator

import pytest
from django.test import Client

from tests.fakes import openai_data, openai_platform
from tests.fakes.openai_platform import Platform


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every base model is on disk: the rows alone do."""
    monkeypatch.setattr("training.models.BaseModel.is_present", True)


@pytest.fixture
def api(client: Client, api_key: str) -> Client:
    """A program with the owner's key."""
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {api_key}"
    return client


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """An organisation at a stand-in of OpenAI's platform, and a key to it."""
    monkeypatch.setenv("OPENAI_API_KEY", openai_platform.KEY)
    with openai_platform.running(openai_data.organisation()) as platform:
        yield platform
