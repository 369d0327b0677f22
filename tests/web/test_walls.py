"""Nothing is visible across projects, and nobody does more than their role or key says: every route, by everybody."""

import pytest

from dashboard import walls
from proofs.server import ROOT
from proofs.walls import table
from proofs.walls.walk import OPEN_CALL, Asked

OPEN = walls.WITHOUT_ROLE - {"welcome", "choose-project"}
ONESELF = walls.CHANGES["reader"] | walls.WITHOUT_ROLE


def refused(asked: Asked, who: str) -> bool:
    return asked.answers[who] in (401, 403, 404, 4401, 4403, 4404) or asked.to_sign_in.get(who, False)


@pytest.mark.parametrize("kind", table.PARTS)
@pytest.mark.django_db(transaction=True)
def test_every_page_call_and_socket_answers_rightly_to_everybody(kind: str) -> None:
    """One walk for all that is asked of it, because it makes some thousand requests."""
    found = table.asked_everything(kind)
    nothing_crosses_the_wall(found)
    outsiders_get_nothing(found)
    readers_see_all_and_change_nothing(found)
    keys_do_what_their_scope_says(found)
    message = "docs/walls.md is out of date: python -m proofs.walls"
    assert table.part(kind, found) in (ROOT / "docs" / "walls.md").read_text(), message


def nothing_crosses_the_wall(found: list[Asked]) -> None:
    assert not [(asked.method, asked.route, asked.leaked) for asked in found if asked.leaked]
    assert not [(asked.method, asked.route, asked.reached) for asked in found if asked.reached]
    assert not [
        (asked.method, asked.route, asked.answers) for asked in found if max(asked.answers.values()) in range(500, 600)
    ]


def outsiders_get_nothing(found: list[Asked]) -> None:
    for asked in found:
        if asked.name in OPEN or asked.route == OPEN_CALL:
            continue
        visitor, stranger = ("no key", "stranger's") if asked.kind == "call" else ("visitor", "stranger")
        assert refused(asked, visitor), (asked.method, asked.route, asked.answers)
        if asked.is_of_the_project:
            assert refused(asked, stranger), (asked.method, asked.route, asked.answers)


def readers_see_all_and_change_nothing(found: list[Asked]) -> None:
    for asked in found:
        if asked.kind != "page" or asked.name in ONESELF:
            continue
        told = (asked.method, asked.route, asked.answers)
        if asked.method == "GET":
            looks = {name for names in walls.LOOKS.values() for name in names}
            assert asked.answers["reader"] == (403 if asked.name in looks else asked.most), told
        else:
            assert asked.answers["reader"] == 403, told
            assert asked.answers["evaluator"] == 403 or asked.name in walls.CHANGES["evaluator"], told


def keys_do_what_their_scope_says(found: list[Asked]) -> None:
    for asked in found:
        if asked.kind != "call" or asked.route == OPEN_CALL:
            continue
        told = (asked.method, asked.route, asked.answers)
        if asked.method in walls.SAFE_METHODS:
            assert asked.answers["reader's"] == asked.answers["read"] == asked.answers["train"] == asked.most, told
            assert (asked.answers["serve"] == 403) != asked.route.startswith("/v1/models"), told
        else:
            assert asked.answers["reader's"] == asked.answers["read"] == 403, told
            asks = asked.route in ("/v1/chat/completions", "/v1/completions", "/v1/moderations")
            assert (asked.answers["serve"] != 403) == asks == (asked.answers["evaluator's"] != 403), told
