"""Scores of answers by a program, and the difference of two contenders on the same prompts."""

import json
import time

import numpy as np
import pytest

from accounts.errors import ApiError
from playground.matrix.scores import Score, checked, score_of
from playground.patterns import TooSlow
from playground.statistics.paired import difference, mean_score

PERSON = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}}}


def scored(kind: str, answer: str, expected: str = "", **given: object) -> float | None:
    return score_of(checked(Score.model_validate({"kind": kind, **given})), answer, expected)


def test_exact_forgives_space_around_and_case_only_when_told() -> None:
    assert scored("exact", " Paris\n", "Paris") == 1
    assert scored("exact", "paris", "Paris") == 0
    assert scored("exact", "STRASSE", "Straße", ignore_case=True) == 1
    assert scored("exact", "Rome", "Paris", value="Rome") == 1, "its own value stands above what is expected"


def test_contains_and_similarity() -> None:
    assert scored("contains", "It is Paris.", "Paris") == 1
    assert scored("contains", "It is paris.", "Paris") == 0
    assert scored("similarity", "abcd", "abcd") == 1
    assert scored("similarity", "abcd", "abxy") == 0.5
    assert scored("similarity", "abcd", "wxyz") == 0


@pytest.mark.parametrize("kind", ["exact", "contains", "similarity"])
def test_without_anything_expected_there_is_no_score(kind: str) -> None:
    assert scored(kind, "anything") is None


def test_a_pattern_is_searched_for() -> None:
    assert scored("regex", "order 4711", value=r"\b\d{4}\b") == 1
    assert scored("regex", "ORDER", value="order") == 0
    assert scored("regex", "ORDER", value="order", ignore_case=True) == 1


@pytest.mark.parametrize("pattern", [r"(a|aa)+$", r"(?:a{1,1000}){1,1000}b"])
def test_a_catastrophic_pattern_is_given_up(pattern: str) -> None:
    began = time.process_time()
    with pytest.raises(TooSlow):
        scored("regex", "a" * 3000 + "!", value=pattern)
    assert time.process_time() - began < 10


def test_a_catastrophic_pattern_in_a_schema_is_given_up_too() -> None:
    schema = json.dumps({"type": "string", "pattern": r"^(a|aa)+$"})
    with pytest.raises(TooSlow):
        scored("schema", json.dumps("a" * 3000 + "!"), value=schema)


@pytest.mark.parametrize(
    ("answer", "fits"),
    [('{"name": "Ann"}', 1), ('{"name": "ann"}', 0), ('{"name": 3}', 0), ("{}", 0), ("not JSON", 0), ("[" * 9000, 0)],
)
def test_an_answer_fits_a_schema_as_a_whole(answer: str, fits: int) -> None:
    assert scored("schema", answer, value=json.dumps(PERSON)) == fits


def test_without_a_schema_any_json_will_do() -> None:
    assert scored("schema", "[1, 2]") == 1
    assert scored("schema", "```json\n[1]\n```") == 0


def test_a_schema_fetches_nothing_and_one_that_never_ends_fits_nothing() -> None:
    assert scored("schema", "{}", value='{"$ref": "http://127.0.0.1:9/schema.json"}') == 0
    assert scored("schema", "{}", value='{"$ref": "#"}') == 0


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("regex", "", "Write the pattern"),
        ("regex", "(", "not a regular expression"),
        ("schema", "{", "not JSON"),
        ("schema", "3", "not a JSON schema|is an object"),
        ("schema", '{"type": "persons"}', "not a JSON schema"),
        ("schema", '{"properties": {"a": {"patternProperties": {}}}}', "patternProperties"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(kind: str, value: str, said: str) -> None:
    with pytest.raises(ApiError, match=said):
        scored(kind, "", value=value)


# ---- two contenders on the same prompts ----


def test_the_difference_is_taken_prompt_by_prompt() -> None:
    found = difference([(1, 0)] * 30 + [(0, 1)] * 5 + [(1, 1)] * 40 + [(0, 0)] * 25)
    assert found and (found.wins, found.losses, found.same) == (30, 5, 65)
    assert found.mean == 0.25 and found.decided
    # Bonett and Price by hand: (31 - 6) / 102 ± t(101) · sqrt((37/102 - (25/102)²) / 102)
    assert found.low == pytest.approx(25 / 102 - 1.98373 * ((37 / 102 - (25 / 102) ** 2) / 102) ** 0.5, abs=1e-4)


def test_a_few_prompts_that_all_came_out_alike_claim_nothing() -> None:
    same = difference([(1, 1)] * 4)
    won = difference([(1, 0)] * 3)
    assert same and same.mean == 0 and same.low < -0.3 < 0.3 < same.high
    assert won and not won.decided
    assert difference([]) is None and mean_score([]) is None


@pytest.mark.parametrize("count", [12, 60])
def test_the_interval_covers_a_planted_difference(count: int) -> None:
    """Scores that go along with each other, as two models' do; 2,000 draws tell the share to within one per cent."""
    chance = np.random.default_rng(7)
    covered = 0
    for _ in range(2000):
        hard = chance.random(count)
        ours, theirs = hard < 0.7, hard + 0.1 * chance.standard_normal(count) < 0.5
        found = difference(zip(ours.astype(float), theirs.astype(float), strict=True))
        assert found
        covered += found.low <= PLANTED <= found.high
    assert covered / 2000 >= 0.945


def _planted() -> float:
    """The mean difference of the draws above, to 0.0005."""
    chance = np.random.default_rng(1)
    hard = chance.random(4_000_000)
    return float((hard < 0.7).mean() - (hard + 0.1 * chance.standard_normal(len(hard)) < 0.5).mean())


PLANTED = _planted()
