"""Shares, strengths and agreement, against published figures, independent code and planted truths."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from playground.statistics.agreement import alpha, consistency, kappa, kappa_interval, position_bias
from playground.statistics.shares import clustered, student_t, wilson
from playground.statistics.strengths import Judgement, log_strengths, rate

# American League East, 1987: wins of the row over the column (A. Agresti, Categorical Data Analysis, 2002, table 10.10)
TEAMS = ["Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore"]
WINS = [
    [0, 7, 9, 7, 7, 9, 11],
    [6, 0, 7, 5, 11, 9, 9],
    [4, 6, 0, 7, 7, 8, 12],
    [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6],
    [2, 4, 1, 3, 1, 7, 0],
]
PUBLISHED = [1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0]  # ibid., with Baltimore at 0

# Four coders, twelve units, "." for none (K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011, part C)
KRIPPENDORFF = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]


def test_strengths_agree_with_agrestis_table() -> None:
    found = log_strengths(np.array([WINS], dtype=float), prior=0)[0]
    assert [round(each - found[-1], 2) for each in found] == PUBLISHED


@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_strengths_are_those_of_a_general_optimiser(prior: float) -> None:
    chance = np.random.default_rng(3)
    wins = chance.integers(1, 12, (5, 5)) + chance.choice([0, 0.5], (5, 5))
    np.fill_diagonal(wins, 0)

    def loss(logs: np.ndarray) -> float:
        odds = logs[:, None] - logs[None, :]
        middling = np.logaddexp(0, logs) + np.logaddexp(0, -logs)
        return float((wins * np.logaddexp(0, -odds)).sum() + prior / 2 * middling.sum())

    best = optimize.minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-10}).x
    assert log_strengths(wins[None], prior)[0] == pytest.approx(best - best.mean(), abs=1e-6)


def test_one_that_never_lost_has_a_rating_and_a_lonely_vote_a_wide_interval() -> None:
    found = rate([Judgement("a", "b", 1.0, prompt) for prompt in range(3)])
    assert [each.name for each in found] == ["a", "b"]
    assert math.isfinite(found[0].high) and found[0].rating > 1000 > found[1].rating
    assert rate([]) == []


def test_ratings_find_a_planted_order_and_their_intervals_hold_it() -> None:
    truth = {"strong": 1.0, "middle": 0.0, "weak": -1.0}
    found = rate(simulated(truth, prompts=60, seed=5))
    assert [each.name for each in found] == ["strong", "middle", "weak"]
    for each in found:
        assert each.low < 1000 + 400 / math.log(10) * truth[each.name] < each.high


def simulated(truth: dict[str, float], prompts: int, seed: int) -> list[Judgement]:
    chance = np.random.default_rng(seed)
    pairs = [(one, other) for one in truth for other in truth if one < other]
    return [
        Judgement(one, other, float(chance.random() < 1 / (1 + math.exp(truth[other] - truth[one]))), prompt)
        for prompt in range(prompts)
        for one, other in pairs
    ]


def test_votes_on_one_prompt_count_for_less_than_votes_on_many() -> None:
    alone = clustered([(prompt, point) for prompt in range(40) for point in [float(prompt % 4 > 0)]])
    together = clustered([(prompt, float(prompt % 4 > 0)) for prompt in range(8) for _ in range(5)])
    assert alone and together and alone.rate == together.rate == 0.75
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_single_votes_have_wilsons_interval_and_ties_make_it_narrower() -> None:
    assert clustered([(n, float(n < 28)) for n in range(40)]) == wilson(28, 40)
    ties = clustered([(n, 0.5 if n < 30 else float(n % 2)) for n in range(40)])
    assert ties and ties.high - ties.low < 0.7 * (wilson(20, 40).high - wilson(20, 40).low)


def test_without_votes_there_is_no_interval_and_unanimous_votes_are_not_certain() -> None:
    assert clustered([]) is None
    found = clustered([(prompt, 1.0) for prompt in range(10)])
    assert found and found.high == 1 and found.low == pytest.approx(wilson(10, 10).low)


@pytest.mark.parametrize("people", [1, 3])
@pytest.mark.parametrize("tie_share", [0.0, 0.3])
@pytest.mark.parametrize("planted", [0.5, 0.65, 0.8])
def test_intervals_hold_a_planted_win_rate_in_95_per_cent_of_campaigns(
    planted: float, tie_share: float, people: int
) -> None:
    """Of 1,000. Three people agree more on a prompt than chance would have them; one person judges more prompts."""
    prompts = 60 // people
    chance = np.random.default_rng(11)
    held = 0
    for _ in range(1000):
        taste = chance.beta(planted * 4, (1 - planted) * 4, prompts)  # of each prompt: votes on it lean the same way
        votes = chance.random((prompts, people)) < taste[:, None]
        tied = chance.random((prompts, people)) < tie_share
        points = np.where(tied, 0.5, votes)
        rate_meant = tie_share / 2 + (1 - tie_share) * planted
        found = clustered([(prompt, float(point)) for prompt in range(prompts) for point in points[prompt]])
        held += bool(found and found.low <= rate_meant <= found.high)
    assert 930 <= held <= 970, held


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 10, 30, 200])
def test_students_quantile_is_scipys(degrees: int) -> None:
    assert student_t(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_agreement_is_that_of_krippendorffs_example() -> None:
    rows = [line.split() for line in KRIPPENDORFF]
    units = [[row[unit] for row in rows if row[unit] != "."] for unit in range(12)]
    assert alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_agreement_that_cannot_be_told_is_none() -> None:
    assert alpha([]) is None and alpha([["a"], ["b"]]) is None and alpha([["a", "a"], ["a", "a"]]) is None
    assert alpha([["a", "a"], ["b", "b"]]) == 1
    assert alpha([{"Ann": "a", "Bo": "b"}, {"Ann": "b", "Bo": "a"}]) < 0


def test_planted_repeats_and_sides_are_told_with_their_intervals() -> None:
    assert consistency([]) is None and position_bias([]) is None
    same = consistency([("left", "left")] * 9 + [("left", "tie")])
    assert same and same.rate == 0.9
    bias = position_bias([1.0] * 45 + [0.0] * 15)
    assert bias and bias.decided and bias.rate == 0.75


def test_kappa_is_that_of_the_textbook_and_its_interval_holds_a_planted_one() -> None:
    """50 applications read by two people (J. L. Fleiss's and Cohen's form; the worked example of most textbooks)."""
    said = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert kappa(said) == pytest.approx(0.4)
    assert kappa([]) is None and kappa([("a", "a")] * 3) is None and kappa_interval([("one", "a", "b")]) is None
    held = 0
    for seed in range(60):
        chance = np.random.default_rng(seed)
        truth = chance.choice(["a", "b"], 150)
        other = np.where(chance.random(150) < 0.8, truth, np.where(truth == "a", "b", "a"))
        found = kappa_interval([(n // 2, str(truth[n]), str(other[n])) for n in range(150)], rounds=200, seed=seed)
        assert found
        held += found[0] <= 0.6 <= found[1]
    assert held >= 53, held
