"""Settings for experts: which pairs are refused before the start and why, and what they do to memory and disk."""

from pathlib import Path

import pytest

from tests.factories import tiny_model
from tests.unit.test_engine_estimate import CPU, MODEL, facts
from training.engine import estimate as e
from training.engine import experts
from training.engine.errors import InvalidRecipe
from training.engine.facts import StartFacts, read_model_facts
from training.engine.memory import plan_memory, state_bytes, weight_bytes
from training.engine.resolve import resolve
from training.engine.spec import DeviceFacts, Recipe

GPU = DeviceFacts(kind="cuda", name="a GPU", memory_bytes=80 << 30, free_bytes=70 << 30)
TIED = MODEL.model_copy(update={"tied_embeddings": True})


@pytest.mark.parametrize(
    ("asked", "param", "words"),
    [
        ({"quantization": "4bit"}, "quantization", "needs an NVIDIA GPU.*This device is a CPU"),
        ({"optimizer": "adamw_8bit"}, "optimizer", "needs an NVIDIA GPU.*This device is a CPU"),
        ({"adaptation": "full", "lora_variant": "dora"}, "lora_variant", "no meaning for full weights"),
        ({"adaptation": "full", "modules_to_save": ["norm"]}, "modules_to_save", "no meaning for full weights"),
        ({"adaptation": "full", "quantization": "4bit"}, "quantization", "NVIDIA GPU"),
        ({"modules_to_save": ["q_proj"]}, "modules_to_save", "q_proj gets an adapter"),
    ],
)
def test_what_cannot_work_here_is_refused_by_field_before_the_start(asked: dict, param: str, words: str) -> None:
    with pytest.raises(InvalidRecipe, match=words) as refused:
        resolve(Recipe.model_validate(asked), facts(), MODEL, CPU)
    assert refused.value.param == param


def test_a_module_to_train_in_full_that_the_model_lacks_is_refused_with_those_it_has(tmp_path: Path) -> None:
    model = read_model_facts(tiny_model(tmp_path / "m"), "tiny")
    for asked in (["nope"], ["norm", "nope"], ["model.nope"]):
        with pytest.raises(
            InvalidRecipe, match=r"no module named .*nope to.*Choose among: .*input_layernorm"
        ) as refused:
            resolve(Recipe(modules_to_save=asked), facts(), model, CPU)
        assert refused.value.param == "modules_to_save"
    assert "lm_head" not in str(refused.value) and "embed_tokens" not in str(refused.value), "they are one matrix"
    for name in ("norm", "model.norm", "input_layernorm"):
        assert resolve(Recipe(modules_to_save=[name]), facts(), model, CPU).modules_to_save == [name]


def test_on_a_gpu_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "find_spec", lambda name: None)
    with pytest.raises(InvalidRecipe, match="pip install bitsandbytes"):
        resolve(Recipe(quantization="4bit"), facts(), MODEL, GPU)


def test_on_a_gpu_four_bits_go_with_lora_but_not_with_what_is_saved_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "find_spec", lambda name: object())
    resolved = resolve(Recipe(quantization="4bit", optimizer="adamw_8bit"), facts(), MODEL, GPU)
    assert (resolved.quantization, resolved.optimizer) == ("4bit", "adamw_8bit")
    for asked in ({"lora_variant": "dora"}, {"modules_to_save": ["norm"]}):
        with pytest.raises(InvalidRecipe, match="cannot be merged without loss") as refused:
            resolve(Recipe.model_validate({"quantization": "4bit", **asked}), facts(), MODEL, GPU)
        assert refused.value.param == "quantization"
    with pytest.raises(InvalidRecipe, match="no meaning for full weights"):
        resolve(Recipe(quantization="4bit", adaptation="full"), facts(), MODEL, GPU)


def test_stopping_early_needs_a_validation_set() -> None:
    recipe = Recipe(stop_metric="full_valid_loss")
    with pytest.raises(InvalidRecipe, match="Choose a validation file or a share") as refused:
        resolve(recipe, facts(), MODEL, CPU)
    assert refused.value.param == "stop_metric"
    assert resolve(recipe, facts(), MODEL, CPU, valid=facts(rows=10)).stop_metric == "full_valid_loss"


def test_one_of_two_tied_matrices_is_not_trained_alone() -> None:
    with pytest.raises(InvalidRecipe, match="one matrix"):
        resolve(Recipe(modules_to_save=["lm_head"]), facts(), TIED, CPU)
    assert resolve(Recipe(modules_to_save=["lm_head"]), facts(), MODEL, CPU).modules_to_save == ["lm_head"]


@pytest.mark.parametrize("asked", [{"lora_variant": "dora"}, {"modules_to_save": ["norm"]}])
def test_what_is_saved_merged_cannot_learn_beside_a_checkpoints_adapter(asked: dict) -> None:
    start = StartFacts("lora", 8, 64, ("k_proj", "q_proj"))
    with pytest.raises(InvalidRecipe, match="cannot learn beside one"):
        resolve(Recipe.model_validate(asked), facts(), MODEL, CPU, start=start)
    assert resolve(Recipe.model_validate(asked), facts(), MODEL, CPU, start=StartFacts("full"))


def test_continuing_takes_the_kind_of_the_adapter_with_its_shape() -> None:
    start = StartFacts("lora", 8, 64, ("k_proj", "q_proj"), "rslora")
    resolved = resolve(Recipe(), facts(), MODEL, CPU, start=start)
    assert (resolved.lora_variant, resolved.lora_r) == ("rslora", 8)
    other = resolve(Recipe(lora_variant="lora"), facts(), MODEL, CPU, start=start)
    assert "beside it" in other.reasons["adaptation"]


def test_a_merged_checkpoint_says_so_and_takes_the_disk_of_full_weights() -> None:
    plain, dora = (resolve(Recipe(lora_variant=kind), facts(), MODEL, CPU) for kind in ("lora", "dora"))
    assert "saved as full weights" in dora.reasons["adaptation"] and not plain.saves_merged
    disks = [e.estimate(resolved, facts(), MODEL, CPU) for resolved in (plain, dora)]
    assert disks[1].disk_bytes - disks[0].disk_bytes > 0.9 * dora.n_epochs * MODEL.parameters * 2
    assert any("full weights" in warning for warning in disks[1].warnings)


def test_four_bits_and_eight_bits_by_hand() -> None:
    """Of 1,000 parameters 2 x 100 are embedding and output layer: (800 x (1/2 + 1/64) + 200 x 2) bytes."""
    small = MODEL.model_copy(update={"parameters": 1000, "vocabulary": 25, "hidden_size": 4})
    assert weight_bytes(small, "bfloat16", "4bit") == round(800 * 0.515625) + 400
    assert weight_bytes(small, "bfloat16") == 2000
    assert [state_bytes(10, "bfloat16", kind) for kind in ("adamw", "adamw_8bit")] == [180, 120]


def test_gradient_checkpointing_is_resolved_by_memory_and_obeyed_when_asked() -> None:
    tight = CPU.model_copy(update={"free_bytes": 3 << 30})
    long = facts(length=4096)
    assert resolve(Recipe(), long, MODEL, CPU).gradient_checkpointing == "off"
    resolved = resolve(Recipe(), long, MODEL, tight)
    assert resolved.gradient_checkpointing == "on" and "does not fit" in resolved.reasons["gradient_checkpointing"]
    sizes = (MODEL, 5_000_000, "bfloat16", 4096, 4, tight)
    assert not plan_memory(*sizes, "off").checkpoint_activations
    assert plan_memory(MODEL, 5_000_000, "bfloat16", 64, 4, CPU, "on").checkpoint_activations


def test_validations_between_the_epochs_take_time() -> None:
    recipe, valid = Recipe(n_epochs=1, batch_size=4), facts(rows=40)
    often = recipe.model_copy(update={"validate_every_steps": 5})
    rest = [
        e.estimate(resolve(asked, facts(), MODEL, CPU), facts(), MODEL, CPU, valid).seconds_parts.rest
        for asked in (recipe, often)
    ]
    assert rest[1] > 2 * (rest[0] - 1)
