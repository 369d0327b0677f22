"""The light rows of the table of clients with the SDK that is installed here; `python -m proofs.clients` runs all rows
with every SDK of the table."""

import pytest

import proofs.clients.rows  # noqa: F401 - the rows enter themselves
from proofs.clients.rows.stage import ROWS, Stage
from proofs.clients.told import NotInThisSdk
from tests.api.conftest import Server

NAMES = ("key", "member_key", "stranger_key", "project", "stranger_project")


@pytest.fixture(scope="module")
def stage(server: Server) -> Stage:
    return Stage(server.url, {name: getattr(server, name) for name in NAMES})


@pytest.mark.parametrize("row", [row for row in ROWS if row.light], ids=lambda row: row.name)
def test_the_official_sdk_gets_what_openai_would_give(stage: Stage, row):
    try:
        row.check(stage)
    except NotInThisSdk:
        pytest.skip("not in this SDK")
