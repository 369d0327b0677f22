"""What several devices do with the weights of a job, decided before the start, and what each of them then holds."""

import pytest

from tests.unit.test_engine_estimate import MODEL, facts
from training.engine.errors import InvalidRecipe
from training.engine.estimate import estimate
from training.engine.memory import OWN_BYTES, held_bytes, state_bytes
from training.engine.resolve import resolve
from training.engine.spec import DeviceFacts, ModelFacts, Recipe

EIGHT_B = ModelFacts(
    name="eight",
    parameters=8_000_000_000,
    hidden_size=4096,
    intermediate_size=14336,
    layers=32,
    vocabulary=128_000,
    heads=32,
    kv_heads=8,
    context_length=8192,
    linear_modules=["q_proj"],
)
FULL = Recipe(adaptation="full")


def gpus(count: int) -> DeviceFacts:
    return DeviceFacts(kind="cuda", name="NVIDIA H100", count=count, memory_bytes=80 << 30, free_bytes=78 << 30)


def test_all_weights_are_kept_where_they_fit_and_shared_out_where_not() -> None:
    small, large = (resolve(FULL, facts(), model, gpus(4)) for model in (MODEL, EIGHT_B))
    assert small.sharding == "data_parallel" and "on each of 4 devices" in small.reasons["sharding"]
    assert large.sharding == "fsdp" and "would take about" in large.reasons["sharding"]
    adapter = resolve(Recipe(), facts(), EIGHT_B, gpus(4))
    assert adapter.sharding == "data_parallel" and "they fit" in adapter.reasons["sharding"]


def test_a_job_with_one_device_shares_nothing_out_and_says_how_to_give_it_more() -> None:
    alone = resolve(FULL, facts(), EIGHT_B, gpus(1))
    assert alone.sharding == "data_parallel" and "HONE_DEVICES_PER_JOB" in alone.reasons["sharding"]
    assert not estimate(alone, facts(), EIGHT_B, gpus(1)).fits


def test_what_is_asked_for_is_done_and_needs_no_reason() -> None:
    asked = resolve(Recipe(sharding="fsdp"), facts(), MODEL, gpus(2))
    assert asked.sharding == "fsdp" and "sharding" not in asked.reasons


@pytest.mark.parametrize(
    ("recipe", "words"),
    [({"lora_variant": "dora"}, "DoRA adapters"), ({"modules_to_save": ["norm"]}, "modules trained in full")],
)
def test_what_cannot_be_shared_out_is_refused_by_name_and_never_chosen(recipe: dict, words: str) -> None:
    with pytest.raises(InvalidRecipe, match=f"{words}.*data_parallel or auto") as refused:
        resolve(Recipe.model_validate(recipe | {"sharding": "fsdp"}), facts(), EIGHT_B, gpus(4))
    assert refused.value.param == "sharding"
    chosen = resolve(Recipe.model_validate(recipe), facts(), EIGHT_B, gpus(4))
    assert chosen.sharding == "data_parallel" and words in chosen.reasons["sharding"]


def test_each_device_holds_its_slice_and_what_is_whole_during_a_pass() -> None:
    parameters, ends = EIGHT_B.parameters, 2 * 128_000 * 4096
    together = (ends + 2 * (parameters - ends) // 32) * 2
    assert held_bytes(EIGHT_B, 0, "bfloat16", "none", 4) == parameters * 2 // 4 + together
    assert held_bytes(EIGHT_B, parameters, "bfloat16", "none", 4) == parameters * 2 // 4 + 2 * together  # and gradients
    shared = resolve(FULL, facts(), EIGHT_B, gpus(4))
    parts = estimate(shared, facts(), EIGHT_B, gpus(4)).memory_parts
    assert parts and parts.optimizer == state_bytes(parameters, "bfloat16") // 4
    assert parts.weights == parameters * 2 // 4 + 2 * together and parts.own == OWN_BYTES


def test_more_devices_need_less_each_and_the_estimate_names_them() -> None:
    shared = resolve(FULL, facts(), EIGHT_B, gpus(4))
    four, eight = (estimate(shared, facts(), EIGHT_B, gpus(count)) for count in (4, 8))
    assert eight.memory_bytes < four.memory_bytes and eight.seconds < four.seconds
    assert (four.device, eight.device) == ("4 × NVIDIA H100", "8 × NVIDIA H100")
