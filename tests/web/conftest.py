"""What tests of the screens share."""

import pytest


@pytest.fixture
def present(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every base model is on disk: the rows alone do."""
    monkeypatch.setattr("training.models.BaseModel.is_present", True)
