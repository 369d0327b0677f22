"""No outsider gets in anywhere and no reader changes anything: every route there is. `python -m proofs.walls` asks
everybody, looks too, and smuggles ids; docs/walls.md is what it saw."""

import re

import pytest

from proofs.server import ROOT
from proofs.walls import table, verdict
from proofs.walls.cast import outsiders_and_a_reader
from proofs.walls.walk import Asked

OUT_OF_DATE = "docs/walls.md is out of date: python -m proofs.walls"


@pytest.mark.django_db(transaction=True)
def test_every_page_call_and_socket_refuses_outsiders_and_what_a_reader_would_change_and_is_documented() -> None:
    """One walk for all that is asked of it, because it makes hundreds of requests."""
    found = table.asked_everything(*table.PARTS, of=outsiders_and_a_reader)
    assert verdict.faults(found) == []
    written = set(re.findall(r"^\| ([A-Z]+) `(.+?)` \|", (ROOT / "docs" / "walls.md").read_text(), re.MULTILINE))
    assert {asked.route for asked in found} == {route for _, route in written}, OUT_OF_DATE
    calls = {(asked.method, asked.route) for asked in found if asked.kind == "call"}
    assert calls == {row for row in written if row[1].startswith("/v1/")}, OUT_OF_DATE


def test_what_is_wrong_is_said_of_whom_and_where() -> None:
    seen = Asked("page", "POST", "/jobs/<job_id>/<action>", "act-on-job", "/jobs/1/delete", {"job_id": "1"})
    seen.answers = {"owner": 302, "reader": 302, "stranger": 200, "visitor": 302}
    seen.to_sign_in = {"visitor": True}
    seen.leaked = {"stranger": {"zanzibar"}}
    said = "\n".join(verdict.faults([seen]))
    assert said.count("POST /jobs/<job_id>/<action>: ") == 3
    assert "stranger is let through" in said and "a reader may change" in said and "reads {'stranger'" in said
    assert "visitor is let through" not in said
