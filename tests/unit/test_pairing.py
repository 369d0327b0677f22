"""Which pair an evaluator sees next: balance, information, repeats."""

from collections import Counter
from random import Random

import numpy as np
import pytest

from playground.statistics.pairing import Draw, Plan, Rule, Shown, Tally, gains, next_pair, tally

NAMES = ["a", "b", "c"]


def plan(prompts: int = 20, wanted: int = 20, rule: Rule = "balanced", names: list[str] = NAMES) -> Plan:
    return Plan(dict.fromkeys(range(prompts), names), wanted, rule)


def campaign(wanted: Plan, people: int, seed: int = 0, strengths: dict[str, float] | None = None) -> list[Shown]:
    """Everybody in turn until nobody is asked any more."""
    chance, so_far, everything = Random(seed), Tally(), []
    busy = list(range(people))
    while busy:
        for person in list(busy):
            draw = next_pair(wanted, so_far, person, chance)
            if draw is None:
                busy.remove(person)
                continue
            strength = strengths or {}
            odds = np.exp(strength.get(draw.right, 0.0) - strength.get(draw.left, 0.0))
            point = float(chance.random() < 1 / (1 + odds))
            shown = Shown(person, draw.prompt, draw.left, draw.right, point, draw.repeat)
            so_far.add(shown)
            everything.append(shown)
    return everything


@pytest.mark.parametrize("rule", ["balanced", "informative"])
def test_nobody_sees_a_pair_twice_but_for_the_planted_repeats_with_sides_swapped(rule: Rule) -> None:
    found = campaign(plan(rule=rule, wanted=40), people=3)
    for person in range(3):
        own = [each for each in found if each.evaluator == person]
        fresh = [(each.prompt, each.pair) for each in own if not each.repeat]
        repeats = [(place, each) for place, each in enumerate(own) if each.repeat]
        assert len(fresh) == len(set(fresh)) > 30
        assert len(repeats) == len({(each.prompt, each.pair) for _, each in repeats})
        assert len(fresh) // 10 - 1 <= len(repeats) <= len(fresh) // 10
        for place, again in repeats:
            before = next(n for n, each in enumerate(own) if (each.prompt, each.pair) == (again.prompt, again.pair))
            assert place - before > 6
            assert (own[before].left, own[before].right) == (again.right, again.left)


def test_balanced_gives_each_pair_prompt_and_side_its_share_and_then_ends() -> None:
    fresh = [each for each in campaign(plan(wanted=20), people=3) if not each.repeat]
    assert Counter(each.pair for each in fresh) == {("a", "b"): 20, ("a", "c"): 20, ("b", "c"): 20}
    cells = Counter((each.prompt, each.pair) for each in fresh)
    assert set(cells.values()) <= {1, 2} and len(cells) > 48
    for pair in (("a", "b"), ("a", "c"), ("b", "c")):
        assert 7 <= sum((each.left, each.right) == pair for each in fresh) <= 13


def test_people_meet_on_some_prompts_so_that_their_agreement_can_be_told() -> None:
    fresh = [each for each in campaign(plan(prompts=60, wanted=40), people=3) if not each.repeat]
    cells = Counter((each.prompt, each.pair) for each in fresh)
    assert 8 <= sum(votes > 1 for votes in cells.values()) <= 30


def test_one_who_has_seen_everything_is_asked_no_more() -> None:
    fresh = [each for each in campaign(plan(prompts=4, wanted=20), people=1) if not each.repeat]
    assert len(fresh) == 4 * 3


def test_a_contender_that_joins_later_is_drawn_first() -> None:
    earlier = campaign(plan(wanted=20), people=2)
    wanted, so_far, chance = plan(wanted=20, names=[*NAMES, "new"]), tally(earlier), Random(1)
    for rule in ("balanced", "informative"):
        wanted = Plan(wanted.answers, 20, rule)
        for _ in range(10):
            draw = next_pair(wanted, so_far, "somebody else", chance)
            assert draw and "new" in (draw.left, draw.right)


def test_an_answer_that_is_missing_is_not_asked_about() -> None:
    partly = Plan({"one": ["a", "b"], "two": ["a", "b", "c"], "three": ["a"]}, 10)
    found = campaign(partly, people=1)
    assert {(each.prompt, each.pair) for each in found} == {
        ("one", ("a", "b")),
        ("two", ("a", "b")),
        ("two", ("a", "c")),
        ("two", ("b", "c")),
    }


def test_what_is_shown_and_not_judged_yet_counts_so_that_two_people_go_to_two_places() -> None:
    wanted = plan(prompts=3, wanted=3)
    chance, so_far = Random(3), Tally()
    for person in range(9):
        draw = next_pair(wanted, so_far, person, chance)
        assert draw
        so_far.add(Shown(person, draw.prompt, draw.left, draw.right))
    assert set(so_far.of_pair.values()) == {3} and len(so_far.of_cell) >= 7
    assert next_pair(wanted, so_far, "late", chance) is None


def test_informative_votes_go_where_the_outcome_is_open() -> None:
    names = ["best", "good", "poor", "worst"]
    found = campaign(
        plan(prompts=60, wanted=30, rule="informative", names=names),
        people=4,
        strengths={"best": 4.0, "good": 3.6, "poor": -3.6, "worst": -4.0},
    )
    votes = Counter(each.pair for each in found if not each.repeat)
    assert sum(votes.values()) == 6 * 30
    assert min(votes["best", "good"], votes["poor", "worst"]) > 2 * max(votes["best", "worst"], votes["best", "poor"])
    assert min(votes.values()) >= 5


def test_what_a_vote_teaches_is_what_it_takes_from_the_covariance() -> None:
    """By brute force: the determinant of the information with one more expected vote."""
    chance = np.random.default_rng(5)
    names = ["a", "b", "c", "d"]
    pairs = [(one, other) for one in names for other in names if one < other]
    points = {(one, other): float(chance.integers(1, 9)) for one in names for other in names if one != other}
    found = gains(points, pairs)
    wins = np.array([[points.get((one, other), 0.0) for other in names] for one in names])

    def information(logs: np.ndarray, extra: tuple[int, int] | None = None) -> np.ndarray:
        games = wins + wins.T
        if extra:
            games[extra] += 1
            games[extra[::-1]] += 1
        p = 1 / (1 + np.exp(logs[None, :] - logs[:, None]))
        middling = 1 / (1 + np.exp(-logs))
        weight = games * p * p.T
        return np.diag(weight.sum(axis=1) + 0.5 * middling * (1 - middling)) - weight

    from scipy import optimize

    def loss(logs: np.ndarray) -> float:
        odds = logs[:, None] - logs[None, :]
        prior = np.logaddexp(0, logs) + np.logaddexp(0, -logs)
        return float((wins * np.logaddexp(0, -odds)).sum() + 0.25 * prior.sum())

    logs = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9}).x
    before = np.linalg.det(information(logs))
    for one, other in pairs:
        after = np.linalg.det(information(logs, (names.index(one), names.index(other))))
        assert found[one, other] == pytest.approx(after / before - 1, rel=1e-5)


def test_the_same_seed_draws_the_same() -> None:
    wanted = plan(rule="informative")
    assert campaign(wanted, people=2, seed=4) == campaign(wanted, people=2, seed=4)
    assert campaign(wanted, people=2, seed=4) != campaign(wanted, people=2, seed=5)


def test_ten_thousand_votes_do_not_slow_the_next_draw() -> None:
    names = [f"model {number}" for number in range(8)]
    wanted = plan(prompts=500, wanted=1000, rule="informative", names=names)
    chance = Random(8)
    so_far = tally(
        Shown(n % 20, n % 500, *chance.sample(names, 2), point=chance.choice([0, 0.5, 1.0])) for n in range(10_000)
    )
    assert isinstance(next_pair(wanted, so_far, 3, chance), Draw)
