"""What must hold of every answer of the walk, of whoever was asked; a fault is a line of words."""

from collections.abc import Iterator
from typing import Final

from dashboard import walls
from proofs.walls.walk import OPEN_CALL, OUTSIDERS, Asked

REFUSALS: Final = (401, 403, 404, 405, 4401, 4403, 4404)
CARETAKERS: Final = {  # in the walk that is the owner
    *("new-project", "quotas", "change-quota", "remove-model", "remove-model-files"),
}
OPEN: Final = walls.WITHOUT_ROLE - {"welcome", "choose-project"} - CARETAKERS
ONESELF: Final = walls.CHANGES["reader"] | walls.WITHOUT_ROLE
NOT_A_READERS: Final = {name for names in walls.LOOKS.values() for name in names}
ASKS_A_MODEL: Final = ("/v1/chat/completions", "/v1/completions", "/v1/moderations")


def refused(asked: Asked, who: str) -> bool:
    return asked.answers[who] in REFUSALS or asked.to_sign_in.get(who, False)


def faults(found: list[Asked]) -> list[str]:
    """Empty when nothing crosses the wall and nobody does more, or a reader sees less, than is written down."""
    said = []
    for asked in found:
        rules = (_crossed, _outside, _shows_nothing, _caretakers, _key if asked.kind == "call" else _role)
        wrong = [words for rule in rules for words in rule(asked)]
        said += [f"{asked.method} {asked.route}: {words} {asked.answers}" for words in wrong]
    return said


def _crossed(asked: Asked) -> Iterator[str]:
    if asked.leaked:
        yield f"an outsider reads {asked.leaked}"
    if asked.reached:
        yield f"an outsider reaches {asked.reached}"
    if any(500 <= status < 600 for status in asked.answers.values()):
        yield "the server fails"


def _outside(asked: Asked) -> Iterator[str]:
    if asked.name in OPEN or asked.route == OPEN_CALL:
        return
    for who in OUTSIDERS:
        lets_strangers_in = who.startswith("stranger") and not asked.is_of_the_project
        if who in asked.answers and not lets_strangers_in and not refused(asked, who):
            yield f"{who} is let through"


def _shows_nothing(asked: Asked) -> Iterator[str]:
    """Where nobody finds anything, a stranger's 404 is no wall."""
    if asked.is_of_the_project and asked.is_there_for_nobody and asked.kind != "socket":
        yield "not even the owner finds what its address names"


def _caretakers(asked: Asked) -> Iterator[str]:
    if asked.name in CARETAKERS:
        yield from (f"{who} is let through" for who in asked.answers if who != "owner" and not refused(asked, who))


def _role(asked: Asked) -> Iterator[str]:
    """Of people of the project. A reader sees what the owner sees, and changes nothing but what is their own."""
    answers = asked.answers
    if asked.name in ONESELF or "reader" not in answers:
        return
    if asked.method == "GET":
        if answers["reader"] != (403 if asked.name in NOT_A_READERS else asked.most):
            yield "a reader does not see what is written down"
        return
    if answers["reader"] != 403:
        yield "a reader may change"
    if answers.get("evaluator", 403) != 403 and asked.name not in walls.CHANGES["evaluator"]:
        yield "an evaluator may change"
    if answers.get("member", 403) != 403 and asked.name in walls.CHANGES["owner"]:
        yield "a member may do what is an owner's"


def _key(asked: Asked) -> Iterator[str]:
    answers = asked.answers
    if asked.route == OPEN_CALL or "reader's" not in answers:
        return
    if asked.method in walls.SAFE_METHODS:
        if {answers["reader's"], answers["read"], answers["train"]} != {asked.most}:
            yield "keys that may read do not"
        if (answers["serve"] == 403) == asked.route.startswith("/v1/models"):
            yield "a key that only serves sees models and nothing else"
        return
    if {answers["reader's"], answers.get("read", 403)} != {403}:
        yield "a key that only reads may change"
    if "serve" in answers and {answers["serve"] != 403, answers["evaluator's"] != 403} != {asked.route in ASKS_A_MODEL}:
        yield "a key that only serves asks models and nothing else"
