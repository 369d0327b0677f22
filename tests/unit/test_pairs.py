"""Votes to numbers, against published and hand-computed figures."""

import pytest

from playground.statistics.pairs import Ballot, Pair, pairs, sentence
from playground.statistics.shares import votes_until_decided, wilson


# Newcombe, Statistics in Medicine 17 (1998), table I, method 3 (score interval without continuity correction)
@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_newcombes_table(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson(successes, trials)
    assert round(interval.low, 4) == low
    assert round(interval.high, 4) == high


def test_fourteen_to_six_is_seventy_per_cent_between_48_and_85() -> None:
    interval = wilson(14, 20)
    assert (interval.rate, round(interval.low, 2), round(interval.high, 2)) == (0.7, 0.48, 0.85)
    assert not interval.decided


@pytest.mark.parametrize(("successes", "trials"), [(1, 0), (3, 2), (-1, 2)])
def test_what_is_no_share_is_refused(successes: float, trials: int) -> None:
    with pytest.raises(ValueError, match="is not a share"):
        wilson(successes, trials)


def test_a_win_over_two_others_says_nothing_about_those_two() -> None:
    found = pairs([Ballot(("a", "b", "c"), best="a")])
    assert found == [Pair("a", "b", wins=1), Pair("a", "c", wins=1)]


def test_a_tie_counts_half_for_every_pair_and_all_bad_is_a_tie_that_is_remembered() -> None:
    found = pairs([Ballot(("a", "b")), Ballot(("b", "a"), both_bad=True), Ballot(("b", "a"), best="b")])
    assert found == [Pair("b", "a", wins=1, ties=2, both_bad=1)]
    assert found[0].interval and found[0].interval.rate == pytest.approx(2 / 3)


def test_the_order_of_columns_does_not_matter() -> None:
    assert pairs([Ballot(("a", "b"), "a"), Ballot(("b", "a"), "a")]) == [Pair("a", "b", wins=2)]


def test_one_model_twice_is_no_pair() -> None:
    assert pairs([Ballot(("a", "a"), best="a")]) == []


def test_the_pair_with_most_votes_comes_first() -> None:
    found = pairs([Ballot(("a", "b"), "a"), Ballot(("c", "d"), "c"), Ballot(("c", "d"), "c")])
    assert [(pair.first, pair.second) for pair in found] == [("c", "d"), ("a", "b")]


def test_the_wanted_votes_are_those_at_which_the_interval_first_excludes_one_half() -> None:
    # 70 %: z²/(4·0.04) = 24.01, so 25 votes; 20 are cast
    assert votes_until_decided(0.7, 20) == 5
    assert wilson(0.7 * 25, 25).decided and not wilson(0.7 * 24, 24).decided


def test_even_odds_and_tiny_differences_promise_nothing() -> None:
    assert votes_until_decided(0.5, 10) is None
    assert votes_until_decided(0.501, 10) is None


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (Pair("A", "B"), "No votes yet on A against B."),
        (Pair("A", "B", wins=3), "A against B: 3–0. Not enough votes to say anything yet."),
        (Pair("A", "B", wins=5), "A is better than B: 5–0 (100 %, 95 % interval 57–100 %)."),
        (
            Pair("A", "B", wins=14, losses=6),
            "A leads B 14–6 (70 %, 95 % interval 48–85 %). Not decided: at this share about 5 more votes would "
            "decide it, and more if the share moves towards even.",
        ),
        (
            Pair("A", "B", wins=5, losses=5, ties=1),
            "No difference to be seen between A and B: 5–5 with 1 tie (50 %, 95 % interval 25–75 %).",
        ),
    ],
)
def test_the_finding_is_said_in_words_with_its_uncertainty(pair: Pair, said: str) -> None:
    assert sentence(pair) == said
