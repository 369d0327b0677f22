"""What DPO takes for "auto", what it refuses, and what it is expected to cost."""

import pytest

from tests.unit.test_engine_estimate import CPU, MODEL, facts
from training.engine import estimate as e
from training.engine.errors import EngineError
from training.engine.resolve import resolve
from training.engine.spec import Recipe, Resolved

DPO = Recipe(method="dpo")


def resolved(recipe: Recipe = DPO, rows: int = 120, data_format: str = "preference") -> Resolved:
    return resolve(recipe, facts(rows), MODEL, CPU, data_format=data_format)


def test_every_auto_of_a_dpo_job_has_a_number_and_a_reason() -> None:
    found = resolved()
    assert (found.method, found.beta, found.n_epochs, found.batch_size) == ("dpo", 0.1, 1, 4)
    assert "DPO paper" in found.reasons["beta"] and "DPO with LoRA" in found.reasons["learning_rate_multiplier"]
    supervised = resolved(Recipe(), data_format="chat")
    assert found.base_learning_rate == pytest.approx(supervised.base_learning_rate / 100)
    assert supervised.beta is None and "beta" not in supervised.reasons


@pytest.mark.parametrize(("rows", "epochs"), [(10, 3), (50, 2), (100, 1), (100_000, 1)])
def test_auto_epochs_over_pairs_are_one_and_more_only_for_few(rows: int, epochs: int) -> None:
    assert resolved(rows=rows).n_epochs == epochs


def test_a_beta_that_was_given_is_kept() -> None:
    found = resolved(Recipe(method="dpo", beta=0.5))
    assert found.beta == 0.5 and "beta" not in found.reasons


@pytest.mark.parametrize(
    ("recipe", "data_format", "param", "said"),
    [
        (Recipe(beta=0.1), "chat", "beta", "beta belongs to DPO"),
        (Recipe(), "preference", "training_file", "only DPO, learns from preferences"),
        (DPO, "chat", "training_file", "only DPO, learns from preferences"),
        (DPO, "completion", "training_file", "only DPO, learns from preferences"),
        (Recipe(method="dpo", packing="on"), "preference", "packing", "not packed"),
    ],
)
def test_what_does_not_go_with_the_method_is_refused(recipe: Recipe, data_format: str, param: str, said: str) -> None:
    with pytest.raises(EngineError, match=said) as refused:
        resolved(recipe, data_format=data_format)
    assert refused.value.param == param


def test_an_estimate_of_dpo_holds_both_answers_in_memory_and_the_pass_with_the_reference() -> None:
    pairs, chats = (
        resolved(Recipe(method="dpo", batch_size=2, n_epochs=3)),
        resolved(Recipe(batch_size=2), data_format="chat"),
    )
    expected = e.estimate(pairs, facts(), MODEL, CPU, facts(40))
    usual = e.estimate(chats, facts(), MODEL, CPU, facts(40))
    assert expected.memory_parts and usual.memory_parts and expected.seconds_parts and usual.seconds_parts
    assert expected.memory_parts.activations == 2 * usual.memory_parts.activations
    assert expected.memory_parts.weights == usual.memory_parts.weights  # no second copy of the model
    judged = expected.seconds_parts.start - usual.seconds_parts.start
    training = expected.seconds_parts.training - 180 * e.STEP_SECONDS["cpu"]
    assert judged == pytest.approx(
        training / 3 * (160 / 120) / 2
    )  # of an epoch, with the validation rows, forward only
